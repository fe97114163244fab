package grpclinks_test

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"

	"github.com/packetstream/packetstream/rpc/grpclinks"
	"github.com/packetstream/packetstream/rpc/links"
)

// underWay returns a stream that has echoed a message, and what a call to Wait, whose handler is at work, returns when it
// ends.
func (e *env) underWay(t *testing.T, name string) (s grpc.ClientStream, unary <-chan error) {
	t.Helper()
	s = e.stream(t, "EchoStream")
	require.NoError(t, s.SendMsg(say("x")))
	mustRecv(t, s)
	waited := make(chan error, 1)
	go func() {
		_, err := e.invoke("Wait", name)
		waited <- err
	}()
	e.must(t, "Report", name+" begun")
	return s, waited
}

func TestCloseOfTheClient(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		s, unary := e.underWay(t, "closed")
		e.close()
		_, err := recv(s)
		requireCode(t, codes.Canceled, err)
		requireCode(t, codes.Canceled, <-unary)
		_, err = e.invoke("Echo", "x")
		requireCode(t, codes.Canceled, err)
		_, err = e.cc.NewStream(e.ctx, &grpc.StreamDesc{ClientStreams: true}, "/test.S/Collect")
		requireCode(t, codes.Canceled, err)
	})
}

func TestPeerGone(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		s, unary := e.underWay(t, "gone")
		e.kill()
		_, err := recv(s)
		requireCode(t, codes.Unavailable, err)
		err = <-unary
		requireCode(t, codes.Unavailable, err)
		if e.name == "child" {
			require.Contains(t, err.Error(), "signal: killed")
		}
		_, err = e.invoke("Echo", "x")
		requireCode(t, codes.Unavailable, err)
		if !e.real { // which waits for another server
			_, err = e.invoke("Echo", "x", grpc.WaitForReady(true))
			requireCode(t, codes.Unavailable, err)
		}
	})
}

func TestClientGoneEndsHandlers(t *testing.T) {
	ours, theirs := osPipes(t)
	backend := newTestServer()
	server := grpclinks.NewServer(nil)
	backend.register(server, server.GracefulStop)
	far, err := links.NewConn(links.StreamCarrier(theirs), &links.ConnOptions{Side: 1})
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(far) }()
	near, err := links.NewConn(links.StreamCarrier(ours), nil)
	require.NoError(t, err)
	cc := grpclinks.NewClientConn(near, nil)
	go cc.Invoke(context.Background(), "/test.S/Wait", say("gone"), new(text))
	_, err = backend.awaitReport(t.Context(), "gone begun")
	require.NoError(t, err)
	require.NoError(t, near.Close())
	report, err := backend.awaitReport(t.Context(), "gone")
	require.NoError(t, err)
	require.Equal(t, "context canceled", report)
	require.NoError(t, <-served)
	require.NoError(t, far.Close())
	require.NoError(t, cc.Close())
}

func TestGracefulStop(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		s := e.stream(t, "EchoStream")
		require.NoError(t, s.SendMsg(say("before")))
		mustRecv(t, s)
		held := make(chan error, 1)
		go func() {
			out, err := e.invoke("Hold", "hold")
			if err == nil && out != "held" {
				err = fmt.Errorf("answered %q", out)
			}
			held <- err
		}()
		e.must(t, "Report", "hold begun")
		e.must(t, "GracefulStop", "")
		require.Eventually(t, func() bool {
			ctx, cancel := context.WithTimeout(e.ctx, time.Second)
			defer cancel()
			_, err := e.invokeWith(ctx, "Echo", "x")
			return err != nil
		}, 10*time.Second, time.Millisecond)
		_, err := e.invoke("Echo", "x")
		requireCode(t, codes.Unavailable, err)

		require.NoError(t, s.SendMsg(say("after")))
		require.Equal(t, "after", mustRecv(t, s))
		require.NoError(t, s.CloseSend())
		_, err = recv(s)
		require.Equal(t, io.EOF, err)
		if backend := e.backend; backend != nil {
			backend.report("hold", "held")
			require.NoError(t, <-held)
		} else {
			e.kill()
			<-held
		}
	})
}

func TestBothSidesServeAndCall(t *testing.T) {
	ours, theirs := osPipes(t)
	type side struct {
		conn   *links.Conn
		cc     *grpclinks.ClientConn
		server *grpclinks.Server
		served chan error
	}
	start := func(i int, stream io.ReadWriteCloser) *side {
		conn, err := links.NewConn(links.StreamCarrier(stream), &links.ConnOptions{Side: i})
		require.NoError(t, err)
		calls, serves := links.Split(conn)
		s := &side{conn: conn, server: grpclinks.NewServer(nil), served: make(chan error, 1)}
		newTestServer().register(s.server, s.server.GracefulStop)
		s.cc = grpclinks.NewClientConn(calls, nil)
		go func() { s.served <- s.server.Serve(serves) }()
		return s
	}
	a, b := start(0, ours), start(1, theirs)
	var wg sync.WaitGroup
	for _, s := range []*side{a, b} {
		for i := range 8 {
			wg.Go(func() {
				for j := range 50 {
					in, out := fmt.Sprint(i, j), new(text)
					if err := s.cc.Invoke(t.Context(), "/test.S/Echo", say(in), out); err != nil || out.GetValue() != in {
						t.Errorf("%v, %q for %q", err, out.GetValue(), in)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	for _, s := range []*side{a, b} {
		require.NoError(t, s.cc.Close())
		require.NoError(t, s.conn.Close())
	}
	require.NoError(t, <-a.served)
	require.NoError(t, <-b.served)
}

func TestMaxConcurrentStreams(t *testing.T) {
	sideBySide(t, "single", func(t *testing.T, e *env) {
		ctx, cancel := context.WithCancel(e.ctx)
		s := e.streamWith(t, ctx, "WaitStream")
		require.NoError(t, s.SendMsg(say("first")))
		mustRecv(t, s)
		short, stop := context.WithTimeout(e.ctx, 50*time.Millisecond)
		defer stop()
		_, err := e.invokeWith(short, "Echo", "x")
		requireCode(t, codes.DeadlineExceeded, err)
		cancel()
		require.Equal(t, "y", e.must(t, "Echo", "y"))
	})
}

func TestNothingBehindTheLink(t *testing.T) {
	ours, theirs := osPipes(t)
	far, err := links.NewConn(links.StreamCarrier(theirs), &links.ConnOptions{Side: 1})
	require.NoError(t, err)
	near, err := links.NewConn(links.StreamCarrier(ours), nil)
	require.NoError(t, err)
	cc, back := grpclinks.NewClientConn(near, nil), grpclinks.NewClientConn(far, nil)
	for _, c := range []*grpclinks.ClientConn{cc, back} {
		requireCode(t, codes.Unavailable, c.Invoke(t.Context(), "/test.S/Echo", say("x"), new(text)))
	}
	for _, c := range []*grpclinks.ClientConn{cc, back} {
		require.NoError(t, c.Close())
	}
	require.NoError(t, near.Close())
	require.NoError(t, far.Close())
}

func TestPeerThatSaysNothing(t *testing.T) {
	ours, theirs := osPipes(t)
	defer ours.Close() // while it is held, nothing else closes it: the peer is there, and says nothing
	far, err := links.NewConn(links.StreamCarrier(theirs), &links.ConnOptions{Side: 1})
	require.NoError(t, err)
	server := grpclinks.NewServer(&grpclinks.ServerOptions{ConnectionTimeout: 10 * time.Millisecond})
	require.ErrorContains(t, server.Serve(far), "said nothing")
	require.NoError(t, far.Close())
	server.Stop()
}

func TestSenderNobodyReadsIsHeldBack(t *testing.T) {
	message := say(strings.Repeat("x", 64<<10))
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		ctx, cancel := context.WithCancel(e.ctx)
		defer cancel()
		const streams = 30
		var sent atomic.Int64
		var senders sync.WaitGroup
		for range streams {
			s := e.streamWith(t, ctx, "Mute")
			senders.Go(func() {
				for s.SendMsg(message) == nil {
					sent.Add(1)
				}
			})
		}
		steady(t, sent.Load)
		if e.real {
			// Its windows grow to 16 MiB at most, and its senders hold a message or two.
			require.Less(t, sent.Load()*64<<10, int64(streams*17<<20))
		} else {
			require.Less(t, sent.Load(), int64(streams*16)) // 1 MiB each is well below
		}
		require.Equal(t, "others go on", e.must(t, "Echo", "others go on"))

		// The other direction.
		flood := e.streamWith(t, ctx, "Flood")
		require.NoError(t, flood.SendMsg(say("flood")))
		produced := func() int64 { return int64(len(e.must(t, "Report", "flood"))) }
		steady(t, produced)
		require.Less(t, produced()*64<<10, int64(16<<20))
		require.Equal(t, "others go on", e.must(t, "Echo", "others go on"))
		mustRecv(t, flood)
		cancel()
		senders.Wait()
	})
}

// steady waits until a number has not changed for a while.
func steady(t *testing.T, number func() int64) {
	t.Helper()
	last, since := int64(-1), time.Now()
	require.Eventually(t, func() bool {
		if n := number(); n != last {
			last, since = n, time.Now()
		}
		return last > 0 && time.Since(since) > 200*time.Millisecond
	}, 15*time.Second, 10*time.Millisecond)
}

func TestManyShortStreams(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				for j := range 20 {
					in := fmt.Sprint(i, j)
					s, err := e.cc.NewStream(e.ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test.S/EchoStream")
					if err != nil {
						t.Error(err)
						return
					}
					out := new(text)
					if err := s.SendMsg(say(in)); err != nil {
						t.Error(err)
					}
					if err := s.CloseSend(); err != nil {
						t.Error(err)
					}
					if err := s.RecvMsg(out); err != nil || out.GetValue() != in {
						t.Errorf("%v, %q for %q", err, out.GetValue(), in)
					}
					if err := s.RecvMsg(out); err != io.EOF {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestManyMessagesKeepTheirOrder(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		const n = 3000
		s := e.stream(t, "EchoStream")
		go func() {
			for i := range n {
				if err := s.SendMsg(say(fmt.Sprint(i))); err != nil {
					t.Error(err)
					return
				}
			}
			_ = s.CloseSend()
		}()
		for i := range n {
			require.Equal(t, fmt.Sprint(i), mustRecv(t, s))
		}
		_, err := recv(s)
		require.Equal(t, io.EOF, err)
	})
}

func TestNoGoroutineOutlivesItsCall(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		for range 50 { // a connection that has seen calls has all goroutines of its own
			e.must(t, "Echo", "warm")
		}
		steady(t, func() int64 { return int64(runtime.NumGoroutine()) })
		before := runtime.NumGoroutine()
		for range 20 {
			e.must(t, "Echo", "x")
			_, _ = e.invoke("Fail", "plain")
			ctx, cancel := context.WithCancel(e.ctx)
			s := e.streamWith(t, ctx, "Mute")
			_ = s.SendMsg(say("x"))
			cancel()
			s = e.stream(t, "FailAtOnce")
			_, _ = drain(s)
			ctx, cancel = context.WithTimeout(e.ctx, time.Millisecond)
			_, _ = e.invokeWith(ctx, "Wait", "goroutines")
			cancel()
		}
		requireGoroutines(t, before)
	})
}

// stopping stops a server when it is told of a connection, and counts what it is told.
type stopping struct {
	stats.Handler
	server *grpclinks.Server
	told   []stats.ConnStats
}

func (s *stopping) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	s.server.Stop()
	return ctx
}

func (s *stopping) HandleConn(_ context.Context, what stats.ConnStats) { s.told = append(s.told, what) }

func TestStopWhileALinkIsTaken(t *testing.T) {
	ours, theirs := osPipes(t)
	defer ours.Close()
	conn, err := links.NewConn(links.StreamCarrier(theirs), nil)
	require.NoError(t, err)
	defer conn.Close()
	handler := new(stopping)
	handler.server = grpclinks.NewServer(&grpclinks.ServerOptions{StatsHandlers: []stats.Handler{handler}})
	require.ErrorIs(t, handler.server.Serve(conn), grpclinks.ErrServerStopped)
	require.Len(t, handler.told, 2)
	require.IsType(t, &stats.ConnEnd{}, handler.told[1])
}
