package pconn_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"

	"github.com/packetstream/packetstream/pconn"
)

// A stream is a net.Conn. Its other end is taken by a handler.
func ExampleConn_OpenStream() {
	streams := pconn.NewStreamMux()
	streams.HandleFunc("upper", func(_ context.Context, s *pconn.Stream) error {
		text, err := io.ReadAll(s)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(s, "%d bytes from %s", len(text), s.Metadata()[0].Value)
		return err
	})
	client, server, err := pconn.Pipe(nil, &pconn.Options{StreamHandler: streams})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	defer client.Close()

	s, err := client.OpenStream(context.Background(), "upper", pconn.Metadata{{Key: "who", Value: []byte("Ada")}})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	fmt.Fprint(s, "hello")
	s.CloseWrite()
	answer, err := io.ReadAll(s)
	fmt.Println(string(answer), err)
	// Output: 5 bytes from Ada <nil>
}

// HTTP over the connection: http.Serve takes the Listener, http.Transport the DialContext.
func ExampleConn_DialContext() {
	client, server, err := pconn.Pipe(nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	defer client.Close()

	listener, err := server.Listen("")
	if err != nil {
		log.Fatal(err)
	}
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s of %s", r.URL.Path, r.Host)
	})}
	go web.Serve(listener)
	defer web.Close()

	transport := &http.Transport{DialContext: client.DialContext}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("http://helper/greeting")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Println(string(body), err)
	// Output: /greeting of helper <nil>
}

// A stream of messages keeps their boundaries.
func ExampleStream_Messages() {
	client, server, err := pconn.Pipe(nil, &pconn.Options{StreamHandler: pconn.StreamHandlerFunc(
		func(ctx context.Context, s *pconn.Stream) error {
			m := s.Messages(0)
			for message, err := range m.All(ctx) {
				if err != nil {
					return err
				}
				if err := m.Send(ctx, append(message, '!')); err != nil {
					return err
				}
			}
			return nil
		})})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	defer client.Close()

	ctx := context.Background()
	m, err := client.OpenMessages(ctx, "", nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, word := range []string{"one", "", "three"} {
		if err := m.Send(ctx, []byte(word)); err != nil {
			log.Fatal(err)
		}
	}
	m.Stream.CloseWrite()
	for message, err := range m.All(ctx) {
		fmt.Printf("%q %v\n", message, err)
	}
	// Output:
	// "one!" <nil>
	// "!" <nil>
	// "three!" <nil>
}

var _ net.Listener = (*pconn.Listener)(nil)
