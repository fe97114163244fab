// Command host starts a helper, has it greet somebody, and answers what it asks.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

const greet, ask = 1, 2

func main() {
	mux := pconn.NewMux()
	mux.HandleFunc(ask, func(context.Context, *pconn.Request) (pconn.Reply, error) { return pconn.Text("Monday"), nil })
	ctx, opts := context.Background(), &endpoint.StartOptions{Conn: pconn.Options{Handler: mux}}
	child, err := endpoint.Start(ctx, exec.Command(os.Args[1]), opts)
	if err != nil {
		log.Fatal(err)
	}
	defer child.Close()
	resp, err := child.Do(ctx, pconn.Request{Type: greet, Payload: []byte("Ada")})
	fmt.Println(string(resp.Payload), err)
}
