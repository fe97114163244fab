package forward_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/endpoint/forward"
	"github.com/packetstream/packetstream/pconn"
)

// A web server is reached through the other end of a connection, which allows just that.
func Example() {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	defer web.Close()
	to := web.Listener.Addr().String()
	// The other end would be a program somewhere else.
	near, far, err := pconn.Pipe(nil, &pconn.Options{StreamHandler: &forward.Server{Dial: forward.Rules{to}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer far.Close()
	defer near.Close()

	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			return forward.Dial(ctx, near, endpoint.TCP{Addr: addr})
		},
	}}
	resp, err := client.Get(web.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Println(string(body), err)
	// Output: hello <nil>
}
