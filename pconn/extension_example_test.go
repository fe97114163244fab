package pconn_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/packetstream/packetstream/pconn"
)

// Metadata goes both ways, an error has a code and details, and the caller's deadline is the handler's.
func ExampleMetadata() {
	handler := func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		if req.Metadata.Text("user") != "ada" {
			return pconn.None(), pconn.NewError(403, "not allowed", pconn.Field{Key: "needed", Value: []byte("ada")})
		}
		_, ok := ctx.Deadline()
		fmt.Println("has a deadline:", ok)
		var md pconn.Metadata
		md.AddText("server", "one")
		return pconn.Text("welcome").WithMetadata(md), nil
	}
	here, there, err := pconn.Pipe(nil, &pconn.Options{Handler: pconn.HandlerFunc(handler)})
	if err != nil {
		log.Fatal(err)
	}
	defer there.Close()
	defer here.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	for _, user := range []string{"ada", "bob"} {
		var md pconn.Metadata
		md.AddText("user", user)
		resp, err := here.Do(ctx, pconn.Request{Metadata: md})
		var remote *pconn.RemoteError
		if errors.As(err, &remote) {
			fmt.Println(remote.Code, remote.Text(), "needed:", remote.Details.Text("needed"))
			continue
		}
		fmt.Println(string(resp.Payload), "from", resp.Metadata.Text("server"))
	}
	// Output:
	// has a deadline: true
	// welcome from one
	// 403 not allowed needed: ada
}
