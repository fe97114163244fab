package pconn_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/pconn"
)

// A server that may open files opens one for a client that may not. Both ends are in this process.
func ExampleReply_WithFiles() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "greeting")
	if err := os.WriteFile(path, []byte("hello from a file"), 0o600); err != nil {
		log.Fatal(err)
	}
	open := func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		f, err := os.Open(string(req.Payload))
		if err != nil {
			return pconn.None(), pconn.Errorf("%w", err)
		}
		return pconn.None().WithFiles(f), nil // which closes it
	}
	l, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	client := connected(net.Dial("unix", l.Addr().String()))(&pconn.Options{MaxFiles: 1})
	defer client.Close()
	server := connected(l.Accept())(&pconn.Options{Handler: pconn.HandlerFunc(open)})
	defer server.Close()

	resp, err := client.Do(context.Background(), pconn.Request{Payload: []byte(path)})
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Files[0].Close()
	b, err := io.ReadAll(resp.Files[0])
	fmt.Println(string(b), err)
	// Output: hello from a file <nil>
}

// connected makes a connection of a socket; package endpoint does so with more care.
func connected(nc net.Conn, err error) func(*pconn.Options) *pconn.Conn {
	return func(opts *pconn.Options) *pconn.Conn {
		if err != nil {
			log.Fatal(err)
		}
		opts.CloseInput = true
		c, err := pconn.New(bufio.OwnInput(nc), bufio.OwnOutput(nc), opts)
		if err != nil {
			log.Fatal(err)
		}
		return c
	}
}
