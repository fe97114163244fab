package ws_test

import (
	"context"
	"fmt"
	"log"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/endpoint/ws"
	"github.com/packetstream/packetstream/pconn"
)

// A program that wants WebSockets adds them to the endpoints that it understands.
func ExampleSchemes() {
	ctx, stop := context.WithCancel(context.Background())
	l, err := ws.WS{URL: "ws://127.0.0.1:0/packets"}.Listen(ctx)
	if err != nil {
		log.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- l.Serve(ctx, &pconn.Options{Handler: pconn.HandlerFunc(echo)}) }()

	schemes := append(endpoint.Builtin(), ws.Schemes()...)
	e, err := schemes.Parse("ws://" + l.Addr().String() + "/packets")
	if err != nil {
		log.Fatal(err)
	}
	conn, err := e.Dial(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	resp, err := conn.Do(ctx, pconn.Request{Payload: []byte("through a WebSocket")})
	fmt.Println(string(resp.Payload), err)
	stop()
	fmt.Println(<-served, conn.Wait())
	// Output:
	// through a WebSocket <nil>
	// <nil> <nil>
}
