package prpc_test

import (
	"context"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/packetstream/packetstream/rpc/prpc"
	"github.com/stretchr/testify/require"
)

// benchPair returns a client whose server echoes, over a WebSocket on loopback TCP.
func benchPair(b *testing.B) *prpc.Conn {
	b.Helper()
	methods, err := prpc.NewTree(prpc.Tree{
		"echo": func(v any) any { return v },
		"duplex": func(ctx context.Context, s *prpc.Stream) error {
			for message, err := range s.All(ctx) {
				if err == nil {
					err = s.Send(ctx, message)
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	})
	require.NoError(b, err)
	handler := prpc.NewServer(&prpc.Options{Methods: methods})
	server := httptest.NewServer(handler)
	c, err := prpc.Dial(b.Context(), wsURL(server), nil)
	require.NoError(b, err)
	b.Cleanup(func() {
		_ = c.Close()
		_ = handler.Close()
		server.Close()
	})
	return c
}

func wsURL(s *httptest.Server) string { return "ws" + strings.TrimPrefix(s.URL, "http") + "/" }

var benchPayload = []byte("sixteen bytes ok")

func BenchmarkUnary1(b *testing.B) {
	c := benchPair(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Call(b.Context(), "echo", benchPayload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnary64(b *testing.B) { inFlight(b, benchPair(b)) }

// BenchmarkBiStream is one stream in lockstep.
func BenchmarkBiStream(b *testing.B) {
	c := benchPair(b)
	call, err := c.Start(b.Context(), prpc.BiStream, "duplex")
	require.NoError(b, err)
	defer call.Cancel()
	b.ReportAllocs()
	for b.Loop() {
		if err := call.Stream().Send(b.Context(), benchPayload); err != nil {
			b.Fatal(err)
		}
		if _, err := call.Stream().Recv(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareEcho is the floor for one call in flight: a message back and
// forth on the same WebSocket library, without anything else.
func BenchmarkBareEcho(b *testing.B) {
	server := httptest.NewServer(bareEcho())
	defer server.Close()
	ctx := context.Background()
	ws, _, err := websocket.Dial(ctx, wsURL(server), nil)
	require.NoError(b, err)
	defer func() { _ = ws.CloseNow() }()
	// As large as the call's messages.
	message := make([]byte, 32)
	b.ReportAllocs()
	for b.Loop() {
		if err := ws.Write(ctx, websocket.MessageBinary, message); err != nil {
			b.Fatal(err)
		}
		if _, _, err := ws.Read(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkByteStream64 is BenchmarkUnary64 over TCP without a WebSocket.
func BenchmarkByteStream64(b *testing.B) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	defer func() { _ = listener.Close() }()
	accepted := make(chan net.Conn, 1)
	go func() {
		if conn, err := listener.Accept(); err == nil {
			accepted <- conn
		}
	}()
	dialed, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(b, err)
	methods, err := prpc.NewTree(prpc.Tree{"echo": func(v any) any { return v }})
	require.NoError(b, err)
	c, _ := join(b, prpc.NewByteStream(dialed, 0), prpc.NewByteStream(<-accepted, 0), nil, &prpc.Options{Methods: methods})
	inFlight(b, c)
}

// inFlight keeps 64 calls in flight.
func inFlight(b *testing.B, c *prpc.Conn) {
	b.Helper()
	b.ReportAllocs()
	b.SetParallelism(64 / max(1, gomaxprocs()))
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Call(context.Background(), "echo", benchPayload); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
