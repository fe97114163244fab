package pconn_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

// contextOf returns the context of a handler that is at work until the returned func is called.
func contextOf(t *testing.T, p *rawPeer, ctxs <-chan context.Context) context.Context {
	t.Helper()
	p.write(request(2, 0, ""))
	return receiveFrom(t, ctxs)
}

// holding returns Options whose handlers hand their contexts out and stay until the gate opens.
func holding(g *gate) (*pconn.Options, <-chan context.Context) {
	ctxs := make(chan context.Context, 100)
	return serve(func(ctx context.Context, _ *pconn.Request) (pconn.Reply, error) {
		ctxs <- ctx
		<-g.open
		return pconn.None(), nil
	}), ctxs
}

func TestHandlerContextEndsAtClose(t *testing.T) {
	g := newGate(t)
	o, ctxs := holding(g)
	p := raw(t, o)
	ctx := contextOf(t, p, ctxs)
	require.NoError(t, ctx.Err())
	closed := make(chan error, 1)
	go func() { closed <- p.conn.Close() }()
	receiveFrom(t, ctx.Done())
	require.Equal(t, context.Canceled, ctx.Err())
	require.Equal(t, pconn.ErrClosed, context.Cause(ctx))
	g.release()
	require.NoError(t, receiveFrom(t, closed))
}

// Nobody has looked at the context before it ends.
func TestHandlerContextEndsUnwatched(t *testing.T) {
	g := newGate(t)
	o, ctxs := holding(g)
	p := raw(t, o)
	ctx := contextOf(t, p, ctxs)
	closed := make(chan error, 1)
	go func() { closed <- p.conn.Close() }()
	eventually(t, "it ends", func() bool { return ctx.Err() == context.Canceled })
	require.Equal(t, pconn.ErrClosed, context.Cause(ctx))
	receiveFrom(t, ctx.Done())
	g.release()
	require.NoError(t, receiveFrom(t, closed))
}

func TestHandlerContextEndsWhenTheAnswerCannotBeSent(t *testing.T) {
	g := newGate(t)
	o, ctxs := holding(g)
	p := raw(t, o)
	ctx := contextOf(t, p, ctxs)
	require.NoError(t, p.in.Close()) // the peer no longer reads
	require.NoError(t, p.conn.Notify(soon(t), pconn.Request{}))
	receiveFrom(t, ctx.Done())
	require.ErrorIs(t, context.Cause(ctx), pconn.ErrPeerGone)
	g.release()
}

func TestHandlerContextOutlivesPeersEOF(t *testing.T) {
	g := newGate(t)
	o, ctxs := holding(g)
	p := raw(t, o)
	ctx := contextOf(t, p, ctxs)
	p.write(eof)
	eventually(t, "receiving has ended", func() bool { return p.conn.Err() != nil })
	require.NoError(t, ctx.Err(), "the answer can still be sent")
	g.release()
	p.expectResponse(2, true, "")
	p.expectEOF()
}

func TestHandlerContextEndsAfterReturn(t *testing.T) {
	g := newGate(t)
	o, ctxs := holding(g)
	p := raw(t, o)
	watched := contextOf(t, p, ctxs)
	done := watched.Done()
	p.write(request(3, 0, ""))
	unwatched := receiveFrom(t, ctxs)
	child, cancel := context.WithCancel(unwatched)
	defer cancel()
	p.write(request(4, 0, ""))
	untouched := receiveFrom(t, ctxs)
	g.release()
	receiveFrom(t, done)
	receiveFrom(t, child.Done())
	for range 3 {
		p.read()
	}
	for _, ctx := range []context.Context{watched, unwatched, untouched, child} {
		require.Equal(t, context.Canceled, ctx.Err())
		require.Equal(t, context.Canceled, context.Cause(ctx))
		receiveFrom(t, ctx.Done())
	}
}

type keyType struct{}

func TestHandlerContextHasTheOptionsContextBehindIt(t *testing.T) {
	g := newGate(t)
	o, ctxs := holding(g)
	cause := errors.New("the program ends")
	deadline := time.Now().Add(time.Hour)
	base, cancelBase := context.WithDeadline(context.WithValue(context.Background(), keyType{}, "value"), deadline)
	defer cancelBase()
	base, cancel := context.WithCancelCause(base)
	o.Context = base
	p := raw(t, o)
	ctx := contextOf(t, p, ctxs)
	require.Equal(t, "value", ctx.Value(keyType{}))
	require.Nil(t, ctx.Value("other"))
	got, ok := ctx.Deadline()
	require.True(t, ok)
	require.Equal(t, deadline, got)

	cancel(cause)
	receiveFrom(t, ctx.Done())
	require.Equal(t, cause, context.Cause(ctx))
	require.NoError(t, p.conn.Err(), "the connection goes on")
	g.release()
	p.expectResponse(2, true, "")
}

func TestContextsDerivedInHandlers(t *testing.T) {
	g := newGate(t)
	o, ctxs := holding(g)
	p := raw(t, o)
	ctx := contextOf(t, p, ctxs)
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	receiveFrom(t, short.Done())
	require.Equal(t, context.DeadlineExceeded, short.Err())
	require.NoError(t, ctx.Err())

	derived, cancel2 := context.WithCancel(context.WithValue(ctx, keyType{}, 1))
	defer cancel2()
	free := context.WithoutCancel(ctx)
	after := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { close(after) })
	stopped := context.AfterFunc(ctx, func() { panic("was stopped") })
	require.True(t, stopped())
	go p.conn.Close()
	receiveFrom(t, after)
	require.False(t, stop())
	receiveFrom(t, derived.Done())
	require.Equal(t, pconn.ErrClosed, context.Cause(derived))
	require.NoError(t, free.Err())
	g.release()
}

// TestHandlerContextTakesNoGoroutine derives many contexts, which would each need a goroutine if the
// context package did not know ours.
func TestHandlerContextTakesNoGoroutine(t *testing.T) {
	g := newGate(t)
	o, ctxs := holding(g)
	p := raw(t, o)
	ctx := contextOf(t, p, ctxs)
	before := runtime.NumGoroutine()
	for range 1000 {
		child, cancel := context.WithCancel(ctx)
		defer cancel()
		grandchild, cancel := context.WithTimeout(child, time.Hour)
		defer cancel()
		context.AfterFunc(grandchild, func() {})
	}
	require.Less(t, runtime.NumGoroutine()-before, 100)
	g.release()
}

// TestHandlerContextIsUsedByWhoStaysBehind has goroutines that look at the context from before their handler returns until
// it has ended. Meanwhile the connection serves the next request with what it kept of theirs: the race detector looks on.
func TestHandlerContextIsUsedByWhoStaysBehind(t *testing.T) {
	var left sync.WaitGroup
	staysBehind := func(ctx context.Context, _ *pconn.Request) (pconn.Reply, error) {
		looks := make(chan struct{})
		left.Go(func() {
			for first := true; ctx.Err() == nil; first = false {
				ctx.Deadline()
				if first {
					close(looks)
				}
			}
		})
		<-looks
		return pconn.None(), nil
	}
	a, _ := pair(t, nil, serve(staysBehind))
	for range 100 {
		_, err := a.Do(soon(t), pconn.Request{})
		require.NoError(t, err)
	}
	within(t, left.Wait)
}

func TestHandlerContextOfOneConnectionOnAnother(t *testing.T) {
	// A proxy: the handler of one connection calls on another, which is no place of that one's to give
	// away, and nothing breaks.
	_, backend := pair(t, serve(echo), nil)
	o := serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		resp, err := backend.Do(ctx, pconn.Request{Type: req.Type, Payload: req.Payload})
		return pconn.FlagsBytes(resp.Flags, resp.Payload), err
	})
	o.MaxHandlers = 2
	a, _ := pair(t, nil, o)
	for range 10 {
		resp, err := a.Do(soon(t), pconn.Request{Payload: []byte("through")})
		require.NoError(t, err)
		require.Equal(t, "through", string(resp.Payload))
	}
}

func TestCallOfHandlerEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := raw(t, serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			_, err := req.Conn.Do(ctx, pconn.Request{Type: 9})
			assert.True(t, err == context.DeadlineExceeded)
			return pconn.Text("gave up"), nil
		}))
		p.write(request(2, 0, ""))
		p.expectRequest(9, "")
		begun := time.Now()
		time.Sleep(2 * time.Minute) // the bubble's time
		p.expectResponse(2, true, "gave up")
		require.Equal(t, 2*time.Minute, time.Since(begun))
	})
}

// TestErrorOfHandlerContextStays has the caller's deadline pass before the handler returns, and after that.
func TestErrorOfHandlerContextStays(t *testing.T) {
	for name, late := range map[string]bool{"returned in time": false, "returned late": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctxs, returned := make(chan context.Context, 1), make(chan struct{})
				a, _ := extendedPair(t, nil, serve(func(ctx context.Context, _ *pconn.Request) (pconn.Reply, error) {
					defer close(returned)
					if late {
						time.Sleep(2 * time.Minute) // the bubble's time, in which the deadline passes
						assert.True(t, ctx.Err() == context.DeadlineExceeded)
					}
					ctxs <- ctx
					return pconn.None(), nil
				}))
				require.NoError(t, a.Notify(soon(t), pconn.Request{Timeout: time.Minute}))
				ctx := <-ctxs
				<-returned
				synctest.Wait()
				err := ctx.Err()
				require.Equal(t, late, err == context.DeadlineExceeded)
				require.Error(t, err)
				time.Sleep(2 * time.Minute) // as above, if it has not passed
				<-ctx.Done()
				require.Equal(t, err, ctx.Err())
				require.Equal(t, late, errors.As(context.Cause(ctx), new(*pconn.CancelError)))
			})
		})
	}
}

// TestErrorOfHandlerContextStaysThatOfTheOptions has the context behind all handlers' end by its deadline.
func TestErrorOfHandlerContextStaysThatOfTheOptions(t *testing.T) {
	g := newGate(t)
	o, ctxs := holding(g)
	behind, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	o.Context = behind
	p := raw(t, o)
	ctx := contextOf(t, p, ctxs)
	<-behind.Done()
	eventually(t, "it has ended", func() bool { return ctx.Err() != nil })
	require.Equal(t, context.DeadlineExceeded, ctx.Err())
	g.release()
	p.expectResponse(2, true, "")
	require.Equal(t, context.DeadlineExceeded, ctx.Err())
}
