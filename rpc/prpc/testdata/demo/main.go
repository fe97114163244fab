package main

import (
	"context"
	"fmt"
	"net"

	"github.com/packetstream/packetstream/rpc/prpc"
)

func totals(ctx context.Context, s *prpc.Stream) (total int, err error) {
	for n, err := range prpc.Messages[int](ctx, s) {
		if total += n; err != nil || s.Send(ctx, total) != nil {
			return total, err
		}
	}
	return total, nil
}

func count(ctx context.Context, s *prpc.Stream, to int) (err error) {
	for n := 1; n <= to && err == nil; n++ {
		err = s.Send(ctx, n)
	}
	return err
}

func greet(ctx context.Context, r *prpc.Request) (string, error) {
	name, err := prpc.Invoke[string](ctx, r.Conn(), "name") // asks the caller
	return "hello " + name, err
}

func main() {
	listener, err := net.Listen("tcp", "localhost:0")
	if err == nil {
		fmt.Printf("ws://%s/\n", listener.Addr())
		err = prpc.Serve(context.Background(), listener, prpc.Tree{"totals": totals, "count": count, "greet": greet}, nil)
	}
	fmt.Println(err)
}
