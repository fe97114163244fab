package pconn_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet/frame"
	"github.com/packetstream/packetstream/pconn"
)

// extendedPair returns two ends in memory that have the extensions.
func extendedPair(t testing.TB, a, b *pconn.Options) (*pconn.Conn, *pconn.Conn) {
	t.Helper()
	if a == nil {
		a = new(pconn.Options)
	}
	a.Extensions = pconn.ExtensionsRequired
	x, y, err := pconn.Pipe(a, b)
	require.NoError(t, err)
	t.Cleanup(func() {
		within(t, func() { x.Close(); y.Close() })
	})
	_, err = x.Ping(soon(t))
	require.NoError(t, err)
	return x, y
}

// ended waits for its context and tells how it ended.
type ended struct {
	err, cause error
	after      time.Duration
}

func endings(into chan<- ended) handler {
	return func(ctx context.Context, _ *pconn.Request) (pconn.Reply, error) {
		began := time.Now()
		<-ctx.Done()
		into <- ended{ctx.Err(), context.Cause(ctx), time.Since(began)}
		return pconn.Text("too late"), nil
	}
}

func TestCancelReachesTheHandler(t *testing.T) {
	for name, c := range map[string]struct {
		give  func(ctx context.Context) (context.Context, func())
		cause pconn.CancelError
		is    error
	}{
		"cancelled": {func(ctx context.Context) (context.Context, func()) {
			return context.WithCancel(ctx)
		}, pconn.CancelError{}, context.Canceled},
		"with a cause": {func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(ctx)
			return ctx, func() { cancel(errors.New("the user left")) }
		}, pconn.CancelError{Text: "the user left"}, context.Canceled},
		"with a code": {func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(ctx)
			return ctx, func() { cancel(pconn.NewError(7, "seven")) }
		}, pconn.CancelError{Code: 7, Text: "seven"}, context.Canceled},
		"with a long text": {func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(ctx)
			return ctx, func() { cancel(errors.New(strings.Repeat("é", 100) + "x")) }
		}, pconn.CancelError{Text: strings.Repeat("é", 64)}, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(chan ended, 1)
			a, b := extendedPair(t, nil, serve(endings(seen)))
			ctx, cancel := c.give(soon(t))
			// It has no deadline to be told.
			out := do(context.WithoutCancel(ctx), a, pconn.Request{Type: 9}) // a bystander that must not end
			one := do(noDeadline{ctx}, a, pconn.Request{})
			eventually(t, "both are at work", func() bool { return len(b.InFlight()) == 2 })
			cancel()
			require.Equal(t, context.Canceled, receiveFrom(t, one).err)
			got := receiveFrom(t, seen)
			require.Equal(t, context.Canceled, got.err)
			require.Equal(t, &c.cause, got.cause)
			require.ErrorIs(t, got.cause, c.is)
			eventually(t, "the answer is dropped", func() bool { return len(b.InFlight()) == 1 })
			_, err := a.Ping(soon(t))
			require.NoError(t, err)
			require.Zero(t, a.Counters().LateResponses.Load())
			require.EqualValues(t, 1, a.Counters().CancelsOut.Load())
			require.EqualValues(t, 1, b.Counters().CancelsIn.Load())
			require.Empty(t, seen)
			require.Empty(t, out)
		})
	}
}

// noDeadline hides a context's deadline.
type noDeadline struct{ context.Context }

func (noDeadline) Deadline() (time.Time, bool) { return time.Time{}, false }

func TestResultCancelReachesTheHandler(t *testing.T) {
	seen := make(chan ended, 1)
	a, b := extendedPair(t, nil, serve(endings(seen)))
	r, err := a.Submit(soon(t), pconn.Request{})
	require.NoError(t, err)
	eventually(t, "it is at work", func() bool { return len(b.InFlight()) == 1 })
	require.True(t, r.Cancel())
	require.ErrorIs(t, receiveFrom(t, seen).cause, context.Canceled)
}

// A request that waits for a handler's place is forgotten at once.
func TestCancelOfAQueuedRequest(t *testing.T) {
	g := newGate(t)
	opts := serve(g.serve)
	opts.MaxHandlers = 1
	a, b := extendedPair(t, nil, opts)
	first := do(soon(t), a, pconn.Request{Type: 1})
	receiveFrom(t, g.entered)
	ctx, cancel := context.WithCancel(soon(t))
	var outs []<-chan outcome
	for range 3 {
		outs = append(outs, do(ctx, a, pconn.Request{Type: 2}))
	}
	third := do(soon(t), a, pconn.Request{Type: 3})
	eventually(t, "they wait", func() bool { return len(b.InFlight()) == 5 })
	cancel()
	for _, out := range outs {
		require.Equal(t, context.Canceled, receiveFrom(t, out).err)
	}
	eventually(t, "they are forgotten", func() bool { return len(b.InFlight()) == 2 })
	g.release()
	require.NoError(t, receiveFrom(t, first).err)
	require.NoError(t, receiveFrom(t, third).err)
	require.EqualValues(t, 3, receiveFrom(t, g.entered))
	require.Empty(t, g.entered)
}

// What the peer says of requests that are not there is counted, and bounded by nothing but the stream.
func TestCancelOfNothing(t *testing.T) {
	p := extended(t, serve(func(context.Context, *pconn.Request) (pconn.Reply, error) { return pconn.Text("hi"), nil }))
	for range 1000 {
		p.write(frameOf(frame.KindCancel, 5, 0, (&frame.Cancel{Reason: frame.ReasonCancelled, Channel: 9}).Append(nil)))
	}
	p.write(request(5, 1, ""))
	p.expectResponse(5, true, "hi")
	require.EqualValues(t, 1000, p.conn.Counters().StrayCancels.Load())
}

// A CANCEL never overtakes its request, however full the pipe is.
func TestCancelFollowsItsRequest(t *testing.T) {
	const calls = 200
	var began, over atomic.Int64
	h := func(ctx context.Context, _ *pconn.Request) (pconn.Reply, error) {
		began.Add(1)
		<-ctx.Done()
		over.Add(1)
		return pconn.None(), nil
	}
	a, b := smallPair(t, &pconn.Options{Extensions: pconn.ExtensionsRequired}, serve(h))
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			defer cancel()
			_, err := a.Do(noDeadline{ctx}, pconn.Request{Payload: make([]byte, 900)})
			require.Equal(t, context.DeadlineExceeded, err)
		})
	}
	wg.Wait()
	eventually(t, "all are told", func() bool { return a.Counters().CancelsOut.Load() == b.Counters().CancelsIn.Load() })
	eventually(t, "all are over", func() bool { return len(b.InFlight()) == 0 && began.Load() == over.Load() })
	require.Zero(t, b.Counters().StrayCancels.Load())
}

// Without extensions a caller's end is nobody's business but the caller's.
func TestCancelIsNotToldToAPlainPeer(t *testing.T) {
	p := raw(t, &pconn.Options{Extensions: pconn.ExtensionsOffered})
	hello := p.expectFrame(frame.KindHello)
	p.write(answer(hello.Tag, false, nil))
	ctx, cancel := context.WithCancel(soon(t))
	out := do(ctx, p.conn, pconn.Request{Type: 1})
	tag := p.expectRequest(1, "")
	cancel()
	require.Equal(t, context.Canceled, receiveFrom(t, out).err)
	p.write(response(tag, "late"))
	out = do(soon(t), p.conn, pconn.Request{Type: 2})
	p.write(response(p.expectRequest(2, ""), "in time"))
	require.NoError(t, receiveFrom(t, out).err)
	require.Zero(t, p.conn.Counters().CancelsOut.Load())
}

// cancelFlood opens and cancels calls at full speed against handlers that do not listen, and returns the most
// that were at work at a time and how much the memory in use has grown.
func cancelFlood(t *testing.T, calls int) (most int64, growth int64) {
	const limit = 32
	release := make(chan struct{})
	var at, peak atomic.Int64
	opts := serve(func(context.Context, *pconn.Request) (pconn.Reply, error) {
		n := at.Add(1)
		defer at.Add(-1)
		for {
			p := peak.Load()
			if n <= p || peak.CompareAndSwap(p, n) {
				break
			}
		}
		<-release
		return pconn.None(), nil
	})
	opts.MaxHandlers = limit
	a, b := extendedPair(t, nil, opts)
	before := heapInUse()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range calls / 4 {
				r, err := a.Submit(context.Background(), pconn.Request{Payload: make([]byte, 64)})
				if err != nil {
					t.Error(err)
					return
				}
				r.Cancel()
			}
		})
	}
	wg.Wait()
	_, err := a.Ping(soon(t))
	require.NoError(t, err)
	eventually(t, "none is left but those at work", func() bool { return len(b.InFlight()) <= limit })
	growth = heapInUse() - before
	close(release)
	eventually(t, "all are over", func() bool { return len(b.InFlight()) == 0 })
	require.NoError(t, a.Err())
	require.NoError(t, b.Err())
	return peak.Load(), growth
}

func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

func TestOpenAndCancelAtFullSpeed(t *testing.T) {
	calls := 100_000
	if raceDetector {
		calls = 20_000
	}
	most, growth := cancelFlood(t, calls)
	require.LessOrEqual(t, most, int64(32))
	require.Less(t, growth, int64(16<<20))
}
