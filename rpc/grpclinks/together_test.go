package grpclinks_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
	"github.com/packetstream/packetstream/rpc/grpclinks"
	"github.com/packetstream/packetstream/rpc/links"
)

// shared is one end of a packet connection that has everything at once: requests, raw streams, and gRPC calls over a channel and over a
// stream.
type shared struct {
	conn        *pconn.Conn
	packets     *links.Packets
	onChannel   *links.Conn
	onStream    chan *links.Conn
	overChannel *grpclinks.ClientConn
	overStream  *grpclinks.ClientConn
	server      *grpclinks.Server
}

func newShared() *shared {
	s := &shared{packets: links.NewPackets(links.PacketChannel), onStream: make(chan *links.Conn, 1), server: grpclinks.NewServer(nil)}
	newTestServer().register(s.server, s.server.GracefulStop)
	return s
}

func (s *shared) options() *pconn.Options {
	mux := pconn.NewMux()
	mux.HandleFunc(1, func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		return pconn.Text("re: " + string(req.Payload)), nil
	})
	streams := pconn.NewStreamMux()
	streams.HandleFunc("echo", func(_ context.Context, s *pconn.Stream) error {
		_, err := io.Copy(s, s)
		return err
	})
	streams.HandleFunc(links.StreamName, func(_ context.Context, stream *pconn.Stream) error {
		conn, err := links.NewStreamConn(stream, nil)
		if err != nil {
			return err
		}
		s.onStream <- conn
		<-conn.Done()
		return nil
	})
	return &pconn.Options{Handler: mux, StreamHandler: streams, Channels: map[uint64]pconn.Handler{links.PacketChannel: s.packets}}
}

// serve makes both ends of a link serve and call.
func (s *shared) serve(t *testing.T, conn *links.Conn) *grpclinks.ClientConn {
	t.Helper()
	calls, serves := links.Split(conn)
	require.NoError(t, s.server.Attach(serves))
	return grpclinks.NewClientConn(calls, nil)
}

// TestEverythingOnOneConnection has plain requests, raw streams, and gRPC calls over a channel and over a stream go both ways at once.
func TestEverythingOnOneConnection(t *testing.T) {
	ends := [2]*shared{newShared(), newShared()}
	var err error
	ends[0].conn, ends[1].conn, err = pconn.Pipe(ends[0].options(), ends[1].options())
	require.NoError(t, err)
	ends[0].packets.Bind(ends[0].conn)
	for i, s := range ends {
		s.onChannel, err = links.NewConn(s.packets, &links.ConnOptions{Side: i, Unordered: true})
		require.NoError(t, err)
		s.overChannel = s.serve(t, s.onChannel)
	}
	stream, err := ends[1].conn.OpenStream(t.Context(), links.StreamName, nil)
	require.NoError(t, err)
	opened, err := links.NewStreamConn(stream, nil)
	require.NoError(t, err)
	accepted := <-ends[0].onStream
	ends[1].overStream, ends[0].overStream = ends[1].serve(t, opened), ends[0].serve(t, accepted)

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for _, s := range ends {
		for i := range 4 {
			wg.Go(func() { requests(t, ctx, s.conn, i) })
			wg.Go(func() { rawStream(t, ctx, s.conn, i) })
			for _, cc := range []*grpclinks.ClientConn{s.overChannel, s.overStream} {
				wg.Go(func() { unaryCalls(t, ctx, cc, i) })
				wg.Go(func() { messages(t, ctx, cc) })
			}
		}
	}
	wg.Wait()
	for _, s := range ends {
		require.NoError(t, s.overChannel.Close())
		require.NoError(t, s.overStream.Close())
	}
	for _, conn := range []*links.Conn{opened, accepted, ends[0].onChannel, ends[1].onChannel} {
		require.NoError(t, conn.Close())
	}
	// The connection outlives the links on it.
	requests(t, ctx, ends[0].conn, 0)
	for _, s := range ends {
		s.server.Stop()
		require.NoError(t, s.conn.Close())
	}
}

func requests(t *testing.T, ctx context.Context, conn *pconn.Conn, i int) {
	for j := range 100 {
		in := fmt.Sprint(i, j)
		resp, err := conn.Do(ctx, pconn.Request{Type: 1, Payload: []byte(in)})
		if err != nil || string(resp.Payload) != "re: "+in {
			t.Errorf("request %s: %v, %q", in, err, resp.Payload)
			return
		}
	}
}

func rawStream(t *testing.T, ctx context.Context, conn *pconn.Conn, i int) {
	s, err := conn.OpenStream(ctx, "echo", nil)
	if err != nil {
		t.Error(err)
		return
	}
	defer s.Close()
	sent := bytes.Repeat([]byte{byte(i), 1, 2, 3}, 1<<18)
	go func() {
		if _, err := s.Write(sent); err != nil {
			t.Error(err)
		}
		_ = s.CloseWrite()
	}()
	got, err := io.ReadAll(s)
	if err != nil || !bytes.Equal(sent, got) {
		t.Errorf("stream: %v, %d of %d bytes", err, len(got), len(sent))
	}
}

func unaryCalls(t *testing.T, ctx context.Context, cc *grpclinks.ClientConn, i int) {
	for j := range 100 {
		in, out := fmt.Sprint(i, j), new(text)
		if err := cc.Invoke(ctx, "/test.S/Echo", say(in), out); err != nil || out.GetValue() != in {
			t.Errorf("call %s: %v, %q", in, err, out.GetValue())
			return
		}
	}
}

// messages sends large messages without waiting for their echo.
func messages(t *testing.T, ctx context.Context, cc *grpclinks.ClientConn) {
	const n = 30
	s, err := cc.NewStream(ctx, streamDesc("EchoStream"), "/test.S/EchoStream")
	if err != nil {
		t.Error(err)
		return
	}
	message := say(string(bytes.Repeat([]byte("m"), 100<<10)))
	go func() {
		for range n {
			if err := s.SendMsg(message); err != nil {
				t.Error(err)
				return
			}
		}
		_ = s.CloseSend()
	}()
	if got, err := drain(s); err != nil || got != n {
		t.Errorf("stream of messages: %v, %d of %d", err, got, n)
	}
}
