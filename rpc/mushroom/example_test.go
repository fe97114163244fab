package mushroom_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"

	"github.com/packetstream/packetstream/rpc/mushroom"
)

// Arithmetic is an object whose methods are served.
type Arithmetic struct{}

// RpcAdd is called as "add".
func (Arithmetic) RpcAdd(numbers []int) int {
	sum := 0
	for _, n := range numbers {
		sum += n
	}
	return sum
}

// RpcDivide is called as "divide".
func (Arithmetic) RpcDivide(numbers [2]int) (int, error) {
	if numbers[1] == 0 {
		return 0, &mushroom.RPCError{Data: "division by zero"}
	}
	return numbers[0] / numbers[1], nil
}

func Example() {
	methods, err := mushroom.NewMethods(Arithmetic{}, mushroom.DefaultPrefix, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	server, err := mushroom.NewServer(&mushroom.ServerOptions{Dispatcher: methods})
	if err != nil {
		fmt.Println(err)
		return
	}
	listener := httptest.NewServer(server)
	defer listener.Close()

	ctx := context.Background()
	session, err := mushroom.Dial(ctx, listener.URL, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	sum, err := mushroom.Call[int](ctx, session, "add", []int{1, 2, 3})
	fmt.Println(sum, err)

	_, err = session.Request(ctx, "divide", []int{1, 0})
	var failed *mushroom.RequestError
	if errors.As(err, &failed) {
		fmt.Printf("%s\n", failed.Data)
	}

	session.Close()
	<-session.Done()
	fmt.Println(server.Shutdown(ctx))
	// Output:
	// 6 <nil>
	// "division by zero"
	// <nil>
}

// The server calls its client, from the handler of a request of the client's.
func Example_bothWays() {
	var atServer, atClient mushroom.Registry
	atServer.Register("greet", func(ctx context.Context, r *mushroom.Request) (any, error) {
		name, err := mushroom.Call[string](ctx, r.Session, "name", nil)
		return "hello " + name, err
	})
	atClient.Register("name", func(context.Context, *mushroom.Request) (any, error) { return "Ada", nil })

	server, _ := mushroom.NewServer(&mushroom.ServerOptions{Dispatcher: &atServer})
	listener := httptest.NewServer(server)
	defer listener.Close()
	ctx := context.Background()
	session, err := mushroom.Dial(ctx, listener.URL, &mushroom.DialOptions{
		Transports: []string{mushroom.TransportPoll}, Dispatcher: &atClient,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(mushroom.Call[string](ctx, session, "greet", nil))
	session.Close()
	<-session.Done()
	server.Shutdown(ctx)
	// Output: hello Ada <nil>
}

// A server beside other handlers, that pages of one origin may use.
func ExampleNewServer() {
	server, err := mushroom.NewServer(&mushroom.ServerOptions{
		Path:    "/rpc/",
		Origins: []string{"https://example.com"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/rpc/", server)
	mux.Handle("/mushroom.js", http.FileServerFS(mushroom.Web()))
	// http.ListenAndServe("localhost:8080", mux)
}

// The same conversation over any stream: here a pipe in memory, elsewhere a subprocess's.
func ExampleNewStream() {
	left, right := net.Pipe()
	methods, _ := mushroom.NewMethods(Arithmetic{}, mushroom.DefaultPrefix, "")
	served, _ := mushroom.NewStream(left, &mushroom.StreamOptions{Dispatcher: methods})
	session, _ := mushroom.NewStream(right, nil)
	fmt.Println(mushroom.Call[int](context.Background(), session, "add", []int{20, 22}))
	session.Close()
	<-session.Done()
	<-served.Done()
	// Output: 42 <nil>
}
