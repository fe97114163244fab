package links_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/packetstream/packetstream/rpc/links"
)

// shout answers each message in capitals.
func shout(ctx context.Context, op *links.Operation) error {
	for {
		message, err := op.Recv(ctx)
		if errors.Is(err, io.EOF) {
			return op.Complete(links.Closing{})
		}
		if err != nil {
			return err
		}
		if err := op.Send(ctx, []byte(strings.ToUpper(string(message)))); err != nil {
			return err
		}
	}
}

// open makes an end on one side of a byte stream.
func open(stream io.ReadWriteCloser, side int, servicer links.Servicer) (*links.End, *links.Conn) {
	conn, err := links.NewConn(links.StreamCarrier(stream), &links.ConnOptions{Side: side})
	if err != nil {
		panic(err)
	}
	end := links.NewEnd(servicer, &links.EndOptions{AutoGrant: 32, ServiceEnds: true})
	if err := end.Start(); err != nil {
		panic(err)
	}
	links.Join(end, conn)
	return end, conn
}

func Example() {
	a, b := net.Pipe()
	service, far := open(b, 1, links.ServicerFunc(shout))
	invoker, near := open(a, 0, nil)

	ctx := context.Background()
	op, err := invoker.Operate(ctx, links.Opening{Group: "words", Method: "shout"})
	if err != nil {
		panic(err)
	}
	for _, word := range []string{"tickets", "please"} {
		if err := op.Send(ctx, []byte(word)); err != nil {
			panic(err)
		}
		answer, err := op.Recv(ctx)
		fmt.Println(string(answer), err)
	}
	_ = op.Complete(links.Closing{})
	_, err = op.Recv(ctx)
	fmt.Println(err)

	<-invoker.Stop(0)
	near.Close()
	far.Close()
	<-service.Stop(0)
	// Output:
	// TICKETS <nil>
	// PLEASE <nil>
	// EOF
}
