//go:build linux

package share_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/endpoint/pool"
	"github.com/packetstream/packetstream/endpoint/share"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

// Two children serve whoever connects to a socket, and ask back those who ask them.
func Example() {
	ctx := context.Background()
	helper := func() *exec.Cmd { return childtest.Command("serve") }
	children, err := share.Start(ctx, helper, &share.Options{Pool: pool.Options{Size: 2}, AskBack: true})
	if err != nil {
		log.Fatal(err)
	}
	defer children.Close()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := endpoint.Listen(ctx, "unix:"+filepath.Join(dir, "s"))
	if err != nil {
		log.Fatal(err)
	}
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- l.Serve(serving, children.Serving(nil)) }()

	for _, name := range []string{"Ada", "Grace"} {
		conn, err := endpoint.Dial(ctx, "unix:"+filepath.Join(dir, "s"), &pconn.Options{Handler: pconn.HandlerFunc(
			func(context.Context, *pconn.Request) (pconn.Reply, error) { return pconn.Text(name), nil })})
		if err != nil {
			log.Fatal(err)
		}
		// The helper's handler makes a request with the metadata share.Back(req.Metadata), and answers what it gets.
		resp, err := conn.Do(ctx, pconn.Request{Type: typeBack})
		fmt.Println(string(resp.Payload), err, conn.Close())
	}
	stop()
	fmt.Println(<-served)
	// Output:
	// Ada <nil> <nil>
	// Grace <nil> <nil>
	// <nil>
}
