package eventstream_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/packetstream/packetstream/internal/eventstreamtest"
	"github.com/packetstream/packetstream/rpc/eventstream"
)

// benchmarkConn connects to the interop service over loopback.
func benchmarkConn(b *testing.B, network string) *eventstream.ClientConn {
	b.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = b.TempDir() + "/s"
	}
	l, err := net.Listen(network, address)
	if err != nil {
		b.Fatal(err)
	}
	s := eventstreamtest.New()
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(l) })
	b.Cleanup(func() { _ = s.Close(); serving.Wait() })
	c, err := eventstream.Dial(context.Background(), network, l.Addr().String(), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	return c
}

// BenchmarkCall is one echo call, by callers that take turns.
func BenchmarkCall(b *testing.B) {
	for _, size := range []int{16, 4 << 10, 64 << 10} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%dB/callers=%d", size, callers), func(b *testing.B) {
				c := benchmarkConn(b, "tcp")
				request := &eventstream.Message{Payload: bytes.Repeat([]byte{'x'}, size)}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				var running sync.WaitGroup
				for i := range callers {
					running.Go(func() {
						for range b.N/callers + min(1, max(0, b.N%callers-i)) {
							if _, err := c.Call(context.Background(), "interop#Echo", request); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				running.Wait()
			})
		}
	}
}

// BenchmarkStream is one message there and back on an open stream.
func BenchmarkStream(b *testing.B) {
	for _, size := range []int{16, 4 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			ctx := context.Background()
			c := benchmarkConn(b, "tcp")
			m := &eventstream.Message{Payload: bytes.Repeat([]byte{'x'}, size)}
			s, err := c.OpenStream(ctx, "interop#Chat", m)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Recv(ctx); err != nil {
					b.Fatal(err)
				}
				if err := s.Send(ctx, m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
