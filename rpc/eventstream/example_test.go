package eventstream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"strings"

	"github.com/packetstream/packetstream/rpc/eventstream"
)

// listenLocal and serveExample spare the examples what they are not about.
func listenLocal() net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	return l
}

func serveExample(mux *eventstream.Mux) (address string, stop func()) {
	l := listenLocal()
	s := &eventstream.Server{Handler: mux}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	return l.Addr().String(), func() { _ = s.Close(); <-done }
}

// A client that calls an operation, and tells an application's error from others.
func Example_client() {
	mux := eventstream.NewMux()
	mux.HandleCall("Greet", greet)
	address, stop := serveExample(mux)
	defer stop()

	ctx := context.Background()
	client, err := eventstream.Dial(ctx, "tcp", address, &eventstream.Options{
		ConnectPayload: []byte(`{"authToken":"secret"}`),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	reply, err := client.Call(ctx, "Greet", &eventstream.Message{
		Headers: eventstream.Headers{eventstream.String("language", "en")},
		Payload: []byte("Ada"),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", reply.Payload)

	_, err = client.Call(ctx, "Greet", nil)
	var failure *eventstream.ApplicationError
	if errors.As(err, &failure) {
		fmt.Printf("refused: %s\n", failure.Payload)
	}
	// Output:
	// hello Ada
	// refused: who?
}

func greet(_ context.Context, request *eventstream.Message) (*eventstream.Message, error) {
	if len(request.Payload) == 0 {
		return nil, &eventstream.ApplicationError{Payload: []byte("who?")}
	}
	return &eventstream.Message{Payload: append([]byte("hello "), request.Payload...)}, nil
}

// A server that looks at who connects, serves an operation and shuts down when its work is done.
func Example_server() {
	mux := eventstream.NewMux()
	mux.HandleCall("Greet", greet)
	server := &eventstream.Server{
		Handler: mux,
		Connect: func(_ context.Context, r *eventstream.ConnectRequest) {
			if string(r.Message().Payload) != "secret" {
				_ = r.Reject(nil, []byte("who are you?"))
				return
			}
			_ = r.Accept(nil, nil)
		},
	}
	l := listenLocal()
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()

	ctx := context.Background()
	_, err := eventstream.Dial(ctx, "tcp", l.Addr().String(), nil)
	fmt.Println(err)
	client, err := eventstream.Dial(ctx, "tcp", l.Addr().String(), &eventstream.Options{ConnectPayload: []byte("secret")})
	if err != nil {
		log.Fatal(err)
	}
	reply, err := client.Call(ctx, "Greet", &eventstream.Message{Payload: []byte("Ada")})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", reply.Payload)

	fmt.Println(server.Shutdown(ctx))
	fmt.Println(<-served)
	fmt.Println(errors.Is(client.Wait(ctx), eventstream.ErrPeerClosed))
	// Output:
	// eventstream: connection rejected: "who are you?"
	// hello Ada
	// <nil>
	// eventstream: server closed
	// true
}

// A stream from the server to the client: a subscription, which the server ends by returning. A client that has had
// enough closes the stream, which ends the handler's context.
func Example_streamFromServer() {
	mux := eventstream.NewMux()
	mux.HandleFunc("Countdown", func(ctx context.Context, s *eventstream.ServerStream) error {
		for _, text := range []string{"3", "2", "1"} {
			if err := s.Send(ctx, &eventstream.Message{Payload: []byte(text)}); err != nil {
				return err
			}
		}
		return nil
	})
	address, stop := serveExample(mux)
	defer stop()

	ctx := context.Background()
	client, err := eventstream.Dial(ctx, "tcp", address, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	stream, err := client.OpenStream(ctx, "Countdown", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer stream.Close()
	for {
		m, err := stream.Recv(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", m.Payload)
	}
	// Output:
	// 3
	// 2
	// 1
}

// A stream from the client to the server: an upload, at whose end the client says so in a way that the two have
// agreed on, since a stream that is terminated can no longer be answered.
func Example_streamToServer() {
	mux := eventstream.NewMux()
	mux.HandleFunc("Join", func(ctx context.Context, s *eventstream.ServerStream) error {
		var words []string
		for {
			m, err := s.Recv(ctx)
			if err != nil {
				return err
			}
			if len(m.Payload) == 0 {
				break
			}
			words = append(words, string(m.Payload))
		}
		return s.Send(ctx, &eventstream.Message{
			Flags:   eventstream.FlagTerminateStream,
			Payload: []byte(strings.Join(words, " ")),
		})
	})
	address, stop := serveExample(mux)
	defer stop()

	ctx := context.Background()
	client, err := eventstream.Dial(ctx, "tcp", address, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	stream, err := client.OpenStream(ctx, "Join", &eventstream.Message{Payload: []byte("one")})
	if err != nil {
		log.Fatal(err)
	}
	defer stream.Close()
	for _, word := range []string{"more", "time", ""} {
		if err := stream.Send(ctx, &eventstream.Message{Payload: []byte(word)}); err != nil {
			log.Fatal(err)
		}
	}
	m, err := stream.Recv(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", m.Payload)
	// Output:
	// one more time
}

// The form with callbacks, as programs for the AWS Common Runtime have it.
func ExampleNewConn() {
	mux := eventstream.NewMux()
	mux.HandleCall("Greet", greet)
	address, stop := serveExample(mux)
	defer stop()

	transport, err := net.Dial("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	conn, err := eventstream.NewConn(transport, &eventstream.ConnHandler{
		Setup: func(c *eventstream.ClientConn) {
			_ = c.SendProtocolMessage(&eventstream.Message{
				Type:    eventstream.MessageTypeConnect,
				Headers: eventstream.Headers{eventstream.String(":version", eventstream.Version)},
			}, nil)
		},
		ProtocolMessage: func(c *eventstream.ClientConn, m *eventstream.Message) {
			fmt.Println(m.Type, m.Flags)
			stream := c.NewStream(&eventstream.ContinuationHandler{
				Message: func(_ *eventstream.Continuation, m *eventstream.Message) { fmt.Printf("%s\n", m.Payload) },
				Closed: func(*eventstream.Continuation, error) {
					fmt.Println("stream closed")
					// Callbacks must not wait for the end; Close itself does not.
					_ = c.Close()
				},
			})
			_ = stream.Activate("Greet", &eventstream.Message{Payload: []byte("Ada")}, nil)
		},
		Shutdown: func(_ *eventstream.ClientConn, reason error) { fmt.Println("shutdown", reason) },
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	<-conn.Done()
	// Output:
	// CONNECT_ACK 1
	// hello Ada
	// stream closed
	// shutdown <nil>
}
