//go:build linux

package endpoint_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os/exec"
	"time"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

// A program starts a helper and calls it. This one is the package's own test.
func ExampleStart() {
	ctx := context.Background()
	child, err := endpoint.Start(ctx, childtest.Command("serve"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer child.Close()
	resp, err := child.Do(ctx, pconn.Request{Payload: []byte("Ada")})
	fmt.Println(string(resp.Payload), err)
	// Output: Ada <nil>
}

// What a child says last is in the error of every call that waited for it.
func ExampleExitError() {
	ctx := context.Background()
	cmd := exec.Command("sh", "-c", "echo out of paper >&2; exit 3")
	cmd.Stderr = io.Discard // or where it is to go; the error has the end of it anyway
	child, err := endpoint.Start(ctx, cmd, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer child.Close()
	_, err = child.Do(ctx, pconn.Request{})
	var exit *endpoint.ExitError
	if errors.As(err, &exit) {
		fmt.Printf("exit status %d: %s", exit.Code, exit.Stderr)
	}
	// Output: exit status 3: out of paper
}

// A child that heeds neither the end of its input nor SIGTERM is killed, in bounded time, and it is told what ended it
// and what it used up.
func ExampleStop() {
	ctx := context.Background()
	cmd := exec.Command("sh", "-c", `trap "echo not now >&2" TERM; while :; do :; done`)
	cmd.Stderr = io.Discard
	child, err := endpoint.Start(ctx, cmd, &endpoint.StartOptions{Stop: endpoint.Stop{
		EOF: 200 * time.Millisecond, Term: 500 * time.Millisecond, Kill: time.Second,
	}})
	if err != nil {
		log.Fatal(err)
	}
	child.Close()
	exit := child.Exit()
	fmt.Println(exit.Step, "-", exit.Signal, "-", exit.CPU > 0, exit.Memory > 0)
	fmt.Printf("%s", exit.Stderr)
	// Output:
	// SIGKILL - killed - true true
	// not now
}

// A helper serves on its standard input and output.
func ExampleServeStdio() {
	mux := pconn.NewMux()
	mux.HandleFunc(1, func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		return pconn.Text("hello " + string(req.Payload)), nil
	})
	if err := endpoint.ServeStdio(context.Background(), &pconn.Options{Handler: mux}); err != nil {
		log.Fatal(err)
	}
}

// Listening at a port that the system chooses, and connecting to it.
func ExampleListen() {
	ctx, stop := context.WithCancel(context.Background())
	l, err := endpoint.Listen(ctx, "tcp:127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- l.Serve(ctx, &pconn.Options{Handler: pconn.HandlerFunc(echo)}) }()

	conn, err := endpoint.Dial(ctx, "tcp:"+l.Addr().String(), nil)
	if err != nil {
		log.Fatal(err)
	}
	resp, err := conn.Do(ctx, pconn.Request{Payload: []byte("over the network")})
	fmt.Println(string(resp.Payload), err)

	stop() // what was asked is answered still
	fmt.Println(<-served, conn.Wait())
	// Output:
	// over the network <nil>
	// <nil> <nil>
}
