//go:build linux

package pool_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/endpoint/pool"
	"github.com/packetstream/packetstream/pconn"
)

// A child that has ended is followed by another. What was under way fails with its exit status, unless it may be asked
// twice; a new call waits for the new child.
func Example_restart() {
	ctx := context.Background()
	p, err := pool.Start(ctx, command("helper"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	_, err = p.Do(ctx, pconn.Request{Type: typeExit, Flags: 3})
	var exit *endpoint.ExitError
	if errors.As(err, &exit) {
		fmt.Println("the child ended with status", exit.Code)
	}
	resp, err := p.Do(ctx, pconn.Request{Payload: []byte("hello again"), Idempotent: true})
	fmt.Println(string(resp.Payload), err)
	// Output:
	// the child ended with status 3
	// hello again <nil>
}

// Several children share the calls. A new version of their program takes the place of the old one without a lost
// call.
func Example_pool() {
	ctx := context.Background()
	p, err := pool.Start(ctx, command("helper"), &pool.Options{Size: 4})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	var results []*pconn.Result
	for i := range 8 {
		r, err := p.Submit(ctx, pconn.Request{Payload: fmt.Append(nil, i)})
		if err != nil {
			log.Fatal(err)
		}
		results = append(results, r)
	}
	fmt.Println(p.Replace(ctx))
	for _, r := range results {
		resp, err := r.Wait(ctx)
		fmt.Print(string(resp.Payload), " ", err, "; ")
	}
	// Output:
	// <nil>
	// 0 <nil>; 1 <nil>; 2 <nil>; 3 <nil>; 4 <nil>; 5 <nil>; 6 <nil>; 7 <nil>;
}
