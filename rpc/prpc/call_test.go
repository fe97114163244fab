package prpc_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/packetstream/packetstream/rpc/prpc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// served connects a client to a server with a tree.
func served(t *testing.T, tree prpc.Tree, o prpc.Options) *prpc.Conn {
	t.Helper()
	methods, err := prpc.NewTree(tree)
	require.NoError(t, err)
	o.Methods = methods
	c, _ := connect(t, nil, &o)
	return c
}

func TestCallStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := make(chan *prpc.Request, 1)
		c := served(t, prpc.Tree{"wait": func(ctx context.Context, r *prpc.Request) error {
			seen <- r
			<-ctx.Done()
			return ctx.Err()
		}, "now": func(r *prpc.Request) { seen <- r }}, prpc.Options{})
		call, err := c.Start(t.Context(), prpc.Unary, "wait")
		require.NoError(t, err)
		assert.Equal(t, prpc.CallSending, call.State())
		assert.Equal(t, "wait", call.Method())
		assert.Equal(t, prpc.Unary, call.Type())
		r := <-seen
		assert.Equal(t, prpc.CallAccepted, r.State())
		assert.True(t, call.Cancel())
		assert.Equal(t, prpc.CallCancelled, call.State())
		synctest.Wait()
		assert.Equal(t, prpc.CallCancelled, r.State())

		call, err = c.Start(t.Context(), prpc.Unary, "now")
		require.NoError(t, err)
		_, err = call.Result(t.Context())
		require.NoError(t, err)
		assert.Equal(t, prpc.CallFinished, call.State())
		assert.False(t, call.Cancel())
		assert.Equal(t, prpc.CallFinished, (<-seen).State())
	})
}

// The context of Start ends the call at both ends; that of Result only the wait.
func TestCallContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		causes := make(chan error, 1)
		c := served(t, prpc.Tree{"wait": func(ctx context.Context) {
			<-ctx.Done()
			causes <- context.Cause(ctx)
		}}, prpc.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		call, err := c.Start(ctx, prpc.Unary, "wait")
		require.NoError(t, err)
		short, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		_, err = call.Result(short)
		assert.Equal(t, context.DeadlineExceeded, err)
		assert.Equal(t, prpc.CallSending, call.State())
		cancel()
		_, err = call.Result(t.Context())
		assert.Equal(t, context.Canceled, err)
		require.ErrorIs(t, <-causes, prpc.ErrCancelled)
		_, err = c.Start(ctx, prpc.Unary, "wait")
		assert.Equal(t, context.Canceled, err)
		_, err = c.Call(ctx, "wait")
		assert.Equal(t, context.Canceled, err)
	})
}

func TestBadCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := served(t, prpc.Tree{"echo": func(v any) any { return v }}, prpc.Options{})
		var ae *prpc.ArgumentError
		_, err := c.Start(t.Context(), prpc.Handshake, "echo")
		require.ErrorAs(t, err, &ae)
		_, err = c.Call(t.Context(), "echo", prpc.Keywords{"a": 1}, 2)
		require.ErrorAs(t, err, &ae)
		var ee *prpc.EncodeError
		_, err = c.Call(t.Context(), "echo", func() {})
		require.ErrorAs(t, err, &ee)
		_, err = c.Call(t.Context(), "ec\xffho")
		require.ErrorAs(t, err, &ee)
		_, err = prpc.Invoke[int](t.Context(), c, "echo", "text")
		var de *prpc.DecodeError
		require.ErrorAs(t, err, &de)
		assert.EqualError(t, err, `cannot take text "text" as int`)
		assert.Zero(t, c.Active())
		n, err := prpc.Invoke[uint8](t.Context(), c, "echo", 200)
		require.NoError(t, err)
		assert.Equal(t, uint8(200), n)
	})
}

type notFoundError struct{}

func (notFoundError) Error() string { return "no such user" }

// What a failing method tells its caller.
func TestMethodFailures(t *testing.T) {
	tree := prpc.Tree{
		"plain":  func() error { return errors.New("plain text") },
		"typed":  func() error { return notFoundErr() },
		"fault":  func() error { return &prpc.Fault{Type: "KeyError", Text: "'k'"} },
		"panics": func() { panic("oh no") },
		"text":   func() error { return errors.New("bad \xff text") },
	}
	for name, row := range map[string]struct{ message, kind, text string }{
		"plain":  {"call 2 ('plain') failed: plain text", "Error", "plain text"},
		"typed":  {"call 2 ('typed') failed: lookup: no such user", "NotFound", "lookup: no such user"},
		"fault":  {"call 2 ('fault') failed: 'k'", "KeyError", "'k'"},
		"panics": {"call 2 ('panics') failed: oh no", "panic", "oh no"},
		"text":   {"call 2 ('text') failed: bad \uFFFD text", "Error", "bad \uFFFD text"},
	} {
		for _, trace := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := served(t, tree, prpc.Options{ServeTrace: trace})
					_, err := c.Call(t.Context(), name)
					remote := remoteErr(t, err, prpc.StatusMethodError)
					assert.Equal(t, row.message, remote.Message)
					assert.Equal(t, row.kind, remote.CauseType)
					assert.Equal(t, row.text, remote.CauseText)
					assert.Equal(t, name, remote.Method)
					assert.Equal(t, trace, remote.Trace != "")
					if trace {
						assert.Contains(t, remote.Trace, row.text)
					}
					if trace && name == "panics" {
						assert.Contains(t, remote.Trace, "call_test.go")
					}
				})
			})
		}
	}
}

// NotFound is an exported error type, whose name is told.
type NotFound struct{ notFoundError }

func notFoundErr() error { return errorsJoin("lookup: ", NotFound{}) }

type prefixed struct {
	prefix string
	error
}

func (e prefixed) Error() string { return e.prefix + e.error.Error() }
func (e prefixed) Unwrap() error { return e.error }

func errorsJoin(prefix string, err error) error { return prefixed{prefix, err} }

// A remote error of a call back is told as what it is.
func TestRemoteErrorAsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := served(t, prpc.Tree{"back": func(ctx context.Context, r *prpc.Request) (any, error) {
			return r.Conn().Call(ctx, "nothing")
		}}, prpc.Options{})
		_, err := c.Call(t.Context(), "back")
		remote := remoteErr(t, err, prpc.StatusMethodError)
		assert.Equal(t, "RemoteError", remote.CauseType)
		assert.Equal(t, "connection has no available methods", remote.CauseText)
	})
}

// A method that ends its goroutine has failed, and holds up nothing.
func TestMethodEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := served(t, prpc.Tree{"exit": goexit, "ping": func() string { return "pong" }}, prpc.Options{})
		for range 3 {
			_, err := c.Call(t.Context(), "exit")
			remoteErr(t, err, prpc.StatusMethodError)
			pong, err := c.Call(t.Context(), "ping")
			require.NoError(t, err)
			assert.Equal(t, "pong", pong)
		}
	})
}

// With the peer not reading, calls wait for room in their order and within their contexts.
func TestCallsWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := rawClient(t, &prpc.Options{Limits: prpc.Limits{SendBytes: 1000}})
		blocked := 0
		for range 200 { // the pipe holds 64
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			call, err := c.Start(ctx, prpc.Unary, "m", make([]byte, 100))
			if err != nil {
				assert.Equal(t, context.DeadlineExceeded, err)
				blocked++
			} else {
				defer call.Cancel()
			}
			cancel()
		}
		assert.NotZero(t, blocked)
		results := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := c.Start(context.Background(), prpc.Unary, "m", make([]byte, 100))
				results <- err
			}()
		}
		synctest.Wait()
		assert.Empty(t, results)
		for len(results) < cap(results) {
			_, err := p.Receive()
			require.NoError(t, err)
			synctest.Wait()
		}
		require.NoError(t, <-results)
		require.NoError(t, <-results)
		waiting := make(chan error, 1)
		for range 200 {
			go func() {
				_, err := c.Start(context.Background(), prpc.Unary, "m", make([]byte, 100))
				select {
				case waiting <- err:
				default:
				}
			}()
		}
		synctest.Wait()
		p.drop()
		c.Wait()
		for range cap(waiting) {
			<-waiting
		}
		_, err := c.Call(t.Context(), "m")
		require.ErrorIs(t, err, prpc.ErrClosed)
	})
}

// A context that ends while the carrier is stuck ends the call at once.
func TestCancelWhileTheCarrierIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := rawClient(t, nil)
		for range 100 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			start := time.Now()
			_, err := c.Call(ctx, "m")
			assert.Equal(t, context.DeadlineExceeded, err)
			assert.Equal(t, time.Millisecond, time.Since(start))
			cancel()
		}
		require.NoError(t, c.Close())
	})
}
