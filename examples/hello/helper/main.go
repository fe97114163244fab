// Command helper answers greetings on its standard input and output.
package main

import (
	"context"
	"log"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

const greet, ask = 1, 2

func main() {
	mux := pconn.NewMux()
	mux.HandleFunc(greet, func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		day, err := req.Conn.Do(ctx, pconn.Request{Type: ask, Payload: []byte("which day is it?")})
		return pconn.Text("hello " + string(req.Payload) + ", happy " + string(day.Payload)), err
	})
	if err := endpoint.ServeStdio(context.Background(), &pconn.Options{Handler: mux}); err != nil {
		log.Fatal(err)
	}
}
