package pconn_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

// TestReaderThatStops checks that a stream nobody reads holds no more than its window, and holds up nobody.
func TestReaderThatStops(t *testing.T) {
	const window = 64 << 10
	a, b := pipes(t, nil, &pconn.Options{Streams: pconn.StreamLimits{Window: window, MaxWindow: window}, Handler: pconn.HandlerFunc(echo)})
	idle, _ := streamPair(t, a, b)
	require.NoError(t, idle.SetWriteDeadline(time.Now().Add(100*time.Millisecond)))
	n, err := idle.Write(make([]byte, 1<<20))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Equal(t, window, n)

	var wg sync.WaitGroup
	for range 4 {
		x, y := streamPair(t, a, b)
		want := pattern(1 << 20)
		wg.Go(func() {
			_, err := x.Write(want)
			require.NoError(t, errors.Join(err, x.CloseWrite()))
		})
		wg.Go(func() {
			got, err := io.ReadAll(y)
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
	wg.Wait()
	_, err = a.Do(soon(t), pconn.Request{Payload: []byte("x")})
	require.NoError(t, err)
}

// TestFloodBothWays has both ends ask and open streams as fast as they can, with hardly any room between them.
func TestFloodBothWays(t *testing.T) { floodBothWays(t, 300) }

// floodBothWays makes so many requests and streams of 64 KiB from each end.
func floodBothWays(t *testing.T, n int64) {
	opts := func() *pconn.Options {
		return &pconn.Options{
			Handler: pconn.HandlerFunc(echo),
			StreamHandler: pconn.StreamHandlerFunc(func(_ context.Context, s *pconn.Stream) error {
				_, err := io.Copy(s, s)
				return err
			}),
		}
	}
	a, b := smallPair(t, opts(), opts())
	payload := pattern(64 << 10)
	var wg sync.WaitGroup
	many := func(f func() error) {
		var made atomic.Int64
		for range 8 {
			wg.Go(func() {
				for made.Add(1) <= n {
					if err := f(); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	for _, c := range []*pconn.Conn{a, b} {
		many(func() error {
			resp, err := c.Do(t.Context(), pconn.Request{Payload: payload})
			if err == nil && len(resp.Payload) != len(payload) {
				err = io.ErrUnexpectedEOF
			}
			return err
		})
		many(func() error { return echoStream(t.Context(), c, payload) })
	}
	wg.Wait()
}

// echoStream sends a payload over a stream of its own, and takes it back.
func echoStream(ctx context.Context, c *pconn.Conn, payload []byte) error {
	s, err := c.OpenStream(ctx, "", nil)
	if err != nil {
		return err
	}
	defer s.Close()
	wrote := make(chan error, 1)
	go func() {
		_, err := s.Write(payload)
		wrote <- errors.Join(err, s.CloseWrite())
	}()
	got, err := io.ReadAll(s)
	if err == nil && len(got) != len(payload) {
		err = io.ErrUnexpectedEOF
	}
	return errors.Join(err, <-wrote)
}

// TestStreamHandlers checks who takes streams, and what the opener is told.
func TestStreamHandlers(t *testing.T) {
	mux := pconn.NewStreamMux()
	mux.HandleFunc("fails", func(context.Context, *pconn.Stream) error { return errors.New("secret") })
	mux.HandleFunc("says why", func(context.Context, *pconn.Stream) error { return pconn.Errorf("told") })
	mux.HandleFunc("panics", func(context.Context, *pconn.Stream) error { panic("on purpose") })
	mux.HandleFunc("refuses", func(context.Context, *pconn.Stream) error { return pconn.Refuse("not you") })
	cause := make(chan error, 1)
	mux.HandleFunc("waits", func(ctx context.Context, _ *pconn.Stream) error {
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return nil
	})
	a, _ := pipes(t, nil, &pconn.Options{StreamHandler: mux})
	for name, want := range map[string]pconn.StreamError{
		"fails":    {Text: "exception during handler"},
		"says why": {Text: "told"},
		"panics":   {Text: "exception during handler"},
		"refuses":  {Text: "not you", Refused: true},
		"nobody":   {Text: `no handler for streams named "nobody"`, Refused: true},
	} {
		s, err := a.OpenStream(soon(t), name, nil)
		require.NoError(t, err)
		_, err = io.ReadAll(s)
		want.Stream, want.Name, want.Remote = s.Number(), name, true
		require.Equal(t, &want, err)
		require.Equal(t, want.Refused, errors.Is(err, pconn.ErrStreamRefused))
		require.NoError(t, s.Close())
	}
	s, err := a.OpenStream(soon(t), "waits", nil)
	require.NoError(t, err)
	s.Reset(9)
	err = receiveFrom(t, cause)
	var serr *pconn.StreamError
	require.ErrorAs(t, err, &serr)
	require.EqualValues(t, 9, serr.Code)
	_, err = s.Read(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed)
}

// TestOpenAndResetFlood checks that streams which are given up at once multiply neither handlers nor memory.
func TestOpenAndResetFlood(t *testing.T) {
	const limit = 4
	flood := 100_000
	if raceDetector {
		flood = 20_000
	}
	var running, most atomic.Int64
	g := newGate(t)
	a, b := pipes(t, nil, &pconn.Options{
		Streams: pconn.StreamLimits{MaxOpen: limit},
		StreamHandler: pconn.StreamHandlerFunc(func(context.Context, *pconn.Stream) error {
			n := running.Add(1)
			defer running.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			<-g.open
			return nil
		}),
	})
	_, err := a.Ping(soon(t))
	require.NoError(t, err)
	before := heapInUse()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range flood / 4 {
				s, err := a.OpenStream(context.Background(), "", nil)
				if err != nil {
					t.Error(err)
					return
				}
				s.Reset(1)
			}
		})
	}
	within(t, wg.Wait)
	eventually(t, "all streams are over", func() bool {
		return len(b.InFlight()) == 0 && b.Counters().StreamsIn.Load() == uint64(flood)
	})
	growth := heapInUse() - before
	t.Logf("memory in use has grown by %d bytes", growth)
	require.Less(t, growth, int64(16<<20))
	require.EqualValues(t, limit, most.Load())
	require.EqualValues(t, limit, running.Load())
	g.release()
}

func TestMessages(t *testing.T) {
	a, b := pipes(t, nil, nil)
	x, y := streamPair(t, a, b)
	mx, my := x.Messages(1<<20), y.Messages(100_000)
	ctx := soon(t)
	sizes := []int{0, 1, 127, 128, 5000, 16384, 100_000}
	go func() {
		for _, n := range sizes {
			if err := mx.Send(ctx, pattern(n)); err != nil {
				t.Error(err)
			}
		}
	}()
	for _, n := range sizes {
		got, err := my.Recv(ctx)
		require.NoError(t, err)
		require.Len(t, got, n)
		require.Equal(t, string(pattern(n)), string(got))
	}

	// A Recv that ends with its context loses nothing.
	_, err := x.Write([]byte{5, 'a', 'b'})
	require.NoError(t, err)
	brief, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
	defer cancel()
	_, err = my.Recv(brief)
	require.Equal(t, context.DeadlineExceeded, err)
	_, err = x.Write([]byte("cde"))
	require.NoError(t, err)
	got, err := my.Recv(ctx)
	require.NoError(t, err)
	require.Equal(t, "abcde", string(got))

	var limit *pconn.LimitError
	require.ErrorAs(t, mx.Send(ctx, make([]byte, 1<<20+1)), &limit)
	require.NoError(t, mx.Send(ctx, nil))
	got, err = my.Recv(ctx)
	require.NoError(t, err)
	require.Empty(t, got)
	go mx.Send(ctx, make([]byte, 100_001))
	_, err = my.Recv(ctx)
	require.ErrorAs(t, err, &limit)
	require.EqualValues(t, 100_001, limit.Value)
}

func TestMessageThatIsCut(t *testing.T) {
	a, b := pipes(t, nil, nil)
	x, y := streamPair(t, a, b)
	_, err := x.Write([]byte{3, 'a', 'b'})
	require.NoError(t, err)
	require.NoError(t, x.Close())
	_, err = y.Messages(0).Recv(soon(t))
	require.Equal(t, io.ErrUnexpectedEOF, err)
}

func TestStreamsNeedExtensions(t *testing.T) {
	a, _ := pipes(t, nil, &pconn.Options{Extensions: pconn.ExtensionsOff})
	_, err := a.OpenStream(soon(t), "", nil)
	require.Equal(t, pconn.ErrNoExtensions, err)
	_, err = a.DialContext(soon(t), "tcp", "host:80")
	require.ErrorIs(t, err, pconn.ErrNoExtensions)
}

func TestListenerFromTheStart(t *testing.T) {
	a, b := pipes(t, nil, &pconn.Options{Listen: []string{"x"}})
	_, err := a.OpenStream(soon(t), "x", nil)
	require.NoError(t, err)
	eventually(t, "it has come", func() bool { return b.Counters().StreamsIn.Load() == 1 })
	l, err := b.Listen("x")
	require.NoError(t, err)
	_, err = l.Accept()
	require.NoError(t, err)
	_, err = b.Listen("x")
	require.Equal(t, pconn.ErrListening, err)
}

func TestListeners(t *testing.T) {
	a, b := pipes(t, nil, nil)
	one, err := b.Listen("one")
	require.NoError(t, err)
	_, err = b.Listen("one")
	require.Equal(t, pconn.ErrListening, err)
	rest, err := b.Listen("")
	require.NoError(t, err)
	for name, l := range map[string]*pconn.Listener{"one": one, "two": rest, "": rest} {
		_, err := a.DialContext(soon(t), "tcp", name)
		require.NoError(t, err)
		s, err := l.AcceptStream(soon(t))
		require.NoError(t, err)
		require.Equal(t, name, s.Name())
		require.Equal(t, "tcp", s.Metadata().Text(pconn.NetworkKey))
	}
	// A stream that nobody has accepted when its Listener is closed is refused, and Accept ends.
	s, err := a.OpenStream(soon(t), "one", nil)
	require.NoError(t, err)
	eventually(t, "it has come", func() bool { return b.Counters().StreamsIn.Load() == 4 })
	require.NoError(t, one.Close())
	require.NoError(t, one.Close())
	_, err = s.Read(make([]byte, 1))
	require.ErrorIs(t, err, pconn.ErrStreamRefused)
	_, err = one.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	accepted := make(chan error, 1)
	go func() {
		_, err := rest.Accept()
		accepted <- err
	}()
	require.NoError(t, rest.Close())
	require.ErrorIs(t, receiveFrom(t, accepted), net.ErrClosed)
}
