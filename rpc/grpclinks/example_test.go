package grpclinks_test

import (
	"context"
	"fmt"
	"net"

	hellopb "google.golang.org/grpc/examples/helloworld/helloworld"

	"github.com/packetstream/packetstream/rpc/grpclinks"
	"github.com/packetstream/packetstream/rpc/links"
)

func Example() {
	a, b := net.Pipe() // or the two pipes of a process, by links.Duplex
	far, _ := links.NewConn(links.StreamCarrier(b), &links.ConnOptions{Side: 1})
	near, _ := links.NewConn(links.StreamCarrier(a), nil)

	server := grpclinks.NewServer(nil)
	hellopb.RegisterGreeterServer(server, greeter{})
	served := make(chan error)
	go func() { served <- server.Serve(far) }()

	cc := grpclinks.NewClientConn(near, nil)
	reply, err := hellopb.NewGreeterClient(cc).SayHello(context.Background(), &hellopb.HelloRequest{Name: "Ada"})
	fmt.Println(reply.GetMessage(), err)

	cc.Close()
	near.Close()
	fmt.Println(<-served)
	far.Close()
	// Output:
	// Hello Ada <nil>
	// <nil>
}
