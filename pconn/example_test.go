package pconn_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"

	"github.com/packetstream/packetstream/pconn"
)

// Types of the requests in the examples. They are the application's.
const (
	greet = iota
	add
)

// Two ends in memory: one asks, the other answers.
func Example() {
	server := &pconn.Options{Handler: pconn.HandlerFunc(
		func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
			return pconn.Text("hello " + string(req.Payload)), nil
		})}
	client, peer, err := pconn.Pipe(nil, server)
	if err != nil {
		log.Fatal(err)
	}
	defer peer.Close()
	defer client.Close()

	resp, err := client.Do(context.Background(), pconn.Request{Type: greet, Payload: []byte("Ada")})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(resp.Payload))
	// Output: hello Ada
}

// Several requests are made before the first answer is waited for.
func ExampleConn_Submit() {
	client, peer, err := pconn.Pipe(nil, &pconn.Options{Handler: pconn.HandlerFunc(
		func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
			return pconn.Text(strings.ToUpper(string(req.Payload))), nil
		})})
	if err != nil {
		log.Fatal(err)
	}
	defer peer.Close()
	defer client.Close()

	ctx := context.Background()
	var results []*pconn.Result
	for _, word := range []string{"one", "two", "three"} {
		r, err := client.Submit(ctx, pconn.Request{Payload: []byte(word)})
		if err != nil {
			log.Fatal(err)
		}
		results = append(results, r)
	}
	for _, r := range results {
		resp, err := r.Wait(ctx)
		fmt.Println(string(resp.Payload), err)
	}
	// Output:
	// ONE <nil>
	// TWO <nil>
	// THREE <nil>
}

// A Mux has a handler for each type. Typed handlers and calls have values instead of payloads, here by JSON.
func ExampleMux() {
	type numbers struct{ A, B int }

	mux := pconn.NewMux()
	mux.HandleFunc(greet, func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		return pconn.Reply{}, pconn.Errorf("I do not know %s", req.Payload)
	})
	mux.Handle(add, pconn.Typed(func(_ context.Context, n numbers) (int, error) {
		return n.A + n.B, nil
	}))
	client, peer, err := pconn.Pipe(nil, &pconn.Options{Handler: mux})
	if err != nil {
		log.Fatal(err)
	}
	defer peer.Close()
	defer client.Close()

	ctx := context.Background()
	sum, err := pconn.Call[numbers, int](ctx, client, add, numbers{2, 3})
	fmt.Println(sum, err)

	_, err = client.Do(ctx, pconn.Request{Type: greet, Payload: []byte("Ada")})
	var remote *pconn.RemoteError
	if errors.As(err, &remote) {
		fmt.Printf("rejected: %s\n", remote.Payload)
	}
	// Output:
	// 5 <nil>
	// rejected: I do not know Ada
}

// A channel is a second set of requests on the same connection, with a handler of its own.
func ExampleConn_Channel() {
	const control = 1
	status := pconn.HandlerFunc(func(context.Context, *pconn.Request) (pconn.Reply, error) {
		return pconn.Text("all is well"), nil
	})
	client, peer, err := pconn.Pipe(nil, &pconn.Options{Channels: map[uint64]pconn.Handler{control: status}})
	if err != nil {
		log.Fatal(err)
	}
	defer peer.Close()
	defer client.Close()

	ch, err := client.Channel(control, nil)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	resp, err := ch.Do(ctx, pconn.Request{})
	fmt.Println(string(resp.Payload), err)
	// Output: all is well <nil>
}

// Shutdown waits for what is outstanding. The other end learns of it and has nothing to do.
func ExampleConn_Shutdown() {
	client, peer, err := pconn.Pipe(nil, &pconn.Options{Handler: pconn.HandlerFunc(
		func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
			return pconn.Bytes(req.Payload), nil
		})})
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	r, err := client.Submit(ctx, pconn.Request{Payload: []byte("still answered")})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.Shutdown(ctx))
	resp, err := r.Wait(ctx)
	fmt.Println(string(resp.Payload), err)
	fmt.Println(peer.Wait(), peer.Err())
	_, err = client.Do(ctx, pconn.Request{})
	fmt.Println(err)
	// Output:
	// <nil>
	// still answered <nil>
	// <nil> pconn: connection closed by the peer
	// pconn: connection closed
}
