package pconn_test

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

// ownContext is a context that tells who has asked to be called at its end.
type ownContext struct {
	context.Context
	done chan struct{}

	mu    sync.Mutex // guards what follows
	err   error
	calls map[int]func()
	next  int
}

func newOwnContext() *ownContext {
	return &ownContext{Context: context.Background(), done: make(chan struct{}), calls: map[int]func(){}}
}

func (c *ownContext) Done() <-chan struct{} { return c.done }

func (c *ownContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// AfterFunc is what context.AfterFunc asks for.
func (c *ownContext) AfterFunc(f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.next
	c.next++
	c.calls[n] = f
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, there := c.calls[n]
		delete(c.calls, n)
		return there
	}
}

func (c *ownContext) watchers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.calls)
}

// end ends the context for those who have asked to be called.
func (c *ownContext) end() {
	c.mu.Lock()
	c.err = context.Canceled
	calls := c.calls
	c.calls = nil
	c.mu.Unlock()
	for _, f := range calls {
		f()
	}
}

// callUntilWatched calls with a context until the connection looks after it.
func callUntilWatched(t *testing.T, c *pconn.Conn, ctx *ownContext) {
	for n := 0; ctx.watchers() == 0; n++ {
		require.Less(t, n, 100_000, "calls with the same context")
		_, err := c.Do(ctx, pconn.Request{})
		require.NoError(t, err)
	}
}

// heldCall makes a call on this goroutine that ends with its context only, which is ended when the call is at work, and reports
// whether it returned with nobody but the watch knowing of the end. If not it is told of it, too.
func heldCall(t *testing.T, a, b *pconn.Conn, ctx *ownContext, quietly bool) (watched bool) {
	returned, told := make(chan struct{}), make(chan bool, 1)
	go func() {
		for len(b.InFlight()) == 0 {
			runtime.Gosched()
		}
		ctx.end()
		if quietly {
			select {
			case <-returned:
				told <- false
				return
			case <-time.After(time.Second):
			}
		}
		close(ctx.done)
		told <- true
	}()
	_, err := a.Do(ctx, pconn.Request{Type: 1})
	close(returned)
	require.Equal(t, context.Canceled, err)
	return !receiveFrom(t, told)
}

// TestContextOfManyCalls ends a context that is looked after while a call waits with it.
func TestContextOfManyCalls(t *testing.T) {
	for name, quietly := range map[string]bool{"as any": false, "only the watch knows": true} {
		t.Run(name, func(t *testing.T) {
			a, b := smallPair(t, nil, serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
				if req.Type == 1 {
					<-ctx.Done()
				}
				return pconn.Bytes(req.Payload), nil
			}))
			_, err := a.Ping(soon(t)) // so that the handler hears of the end
			require.NoError(t, err)
			// Memory that is collected is forgotten, the knowledge of a context with it: then the call looks after it itself.
			for n := 1; ; n++ {
				ctx := newOwnContext()
				callUntilWatched(t, a, ctx)
				watched := heldCall(t, a, b, ctx, quietly)
				require.EqualValues(t, n, a.Counters().Cancelled.Load())
				_, err := a.Do(ctx, pconn.Request{})
				require.Equal(t, context.Canceled, err)
				eventually(t, "the handler has ended", func() bool { return len(b.InFlight()) == 0 })
				if watched || !quietly {
					break
				}
				require.Less(t, n, 10)
			}
			_, err = a.Do(soon(t), pconn.Request{})
			require.NoError(t, err)
		})
	}
}

// TestContextsEndAmongAnswers has callers who share a context, or have one each, when it ends while answers come.
func TestContextsEndAmongAnswers(t *testing.T) {
	const callers, rounds = 16, 20
	a, _ := smallPair(t, nil, serve(echo))
	for round := range rounds {
		shared, cancel := context.WithCancel(soon(t))
		var calls atomic.Int64
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				ctx, done := shared, context.CancelFunc(func() {})
				if i%2 == 0 {
					ctx, done = context.WithCancel(shared)
				}
				defer done()
				for {
					p := pattern(1 + i)
					resp, err := a.Do(ctx, pconn.Request{Payload: p})
					if err != nil {
						require.Equal(t, context.Canceled, err)
						return
					}
					require.Equal(t, p, resp.Payload)
					if calls.Add(1) == int64(callers*(40+round)) {
						cancel()
					}
				}
			})
		}
		within(t, wg.Wait)
		cancel()
	}
	require.Empty(t, a.InFlight())
	_, err := a.Do(soon(t), pconn.Request{})
	require.NoError(t, err)
}

// TestWatchesEnd sees that nothing is left with contexts that outlive the connection, or that are no longer used.
func TestWatchesEnd(t *testing.T) {
	a, _ := smallPair(t, nil, serve(echo))
	contexts := []*ownContext{newOwnContext()}
	callUntilWatched(t, a, contexts[0])
	if !raceDetector { // with which this takes long
		for range 4200 {
			ctx := newOwnContext()
			callUntilWatched(t, a, ctx)
			contexts = append(contexts, ctx)
		}
		watched := 0
		for _, ctx := range contexts {
			watched += ctx.watchers()
		}
		require.Equal(t, len(contexts)-4096, watched, "those of the oldest were given up, all at once")
		callUntilWatched(t, a, contexts[0])
	}
	require.NoError(t, a.Close())
	for _, ctx := range contexts {
		require.Zero(t, ctx.watchers())
	}
}

// TestWatchesTakeNoGoroutinesWithThem uses contexts that outlive the connection, and that the context package has to watch
// itself, with a goroutine each.
func TestWatchesTakeNoGoroutinesWithThem(t *testing.T) {
	watching := func() int { return strings.Count(stacks(), "created by context.") }
	a, _ := smallPair(t, nil, serve(echo))
	before, all := watching(), runtime.NumGoroutine()
	for range 50 {
		ctx := struct{ context.Context }{newOwnContext()}
		for range 100 {
			_, err := a.Do(ctx, pconn.Request{})
			require.NoError(t, err)
		}
	}
	require.Greater(t, watching(), before, "some are looked after")
	require.NoError(t, a.Close())
	eventually(t, "the goroutines have ended", func() bool { return watching() <= before && runtime.NumGoroutine() <= all })
}

// TestContextThatHasEndedIsLetGo has calls with a context that is looked after, and looks whether what is in it can be collected when it has
// ended, though the connection goes on.
func TestContextThatHasEndedIsLetGo(t *testing.T) {
	a, _ := pair(t, nil, serve(echo))
	type key struct{}
	gone := make(chan struct{})
	func() {
		value := new([1 << 16]byte)
		runtime.AddCleanup(value, func(gone chan struct{}) { close(gone) }, gone)
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, value))
		defer cancel()
		for range 100 {
			_, err := a.Do(ctx, pconn.Request{})
			require.NoError(t, err)
		}
	}()
	eventually(t, "the context's value is collected", func() bool {
		runtime.GC()
		select {
		case <-gone:
			return true
		default:
			return false
		}
	})
}
