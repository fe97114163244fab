package pconn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

func text(s string) handler {
	return func(context.Context, *pconn.Request) (pconn.Reply, error) { return pconn.Text(s), nil }
}

func TestMux(t *testing.T) {
	mux := pconn.NewMux()
	mux.HandleFunc(0, text("zero"))
	mux.Handle(1<<40, pconn.HandlerFunc(text("large")))
	a, _ := pair(t, nil, &pconn.Options{Handler: mux})
	call := func(typ uint64) (string, error) {
		resp, err := a.Do(soon(t), pconn.Request{Type: typ})
		return string(resp.Payload), err
	}
	got, err := call(0)
	require.NoError(t, err)
	require.Equal(t, "zero", got)
	got, err = call(1 << 40)
	require.NoError(t, err)
	require.Equal(t, "large", got)
	got, err = call(5)
	require.Error(t, err)
	require.Equal(t, "no handler for request type 5", got, "the caller is told")
	mux.HandleFunc(5, text("added while it serves"))
	mux.HandleFunc(0, text("replaced"))
	got, err = call(5)
	require.NoError(t, err)
	require.Equal(t, "added while it serves", got)
	got, err = call(0)
	require.NoError(t, err)
	require.Equal(t, "replaced", got)
}

func TestMiddleware(t *testing.T) {
	wrap := func(name string) pconn.Middleware {
		return func(next pconn.Handler) pconn.Handler {
			return pconn.HandlerFunc(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
				req.Payload = append(req.Payload, name...)
				return next.ServePacket(ctx, req)
			})
		}
	}
	mux := pconn.NewMux()
	mux.HandleFunc(0, echo)
	mux.Use(wrap("a"), wrap("b"))
	mux.HandleFunc(1, echo)
	mux.Use(wrap("c"))
	mux.HandleWith(2, pconn.RouteOptions{MaxHandlers: 1}, pconn.HandlerFunc(echo))
	mux.Use()
	a, _ := pair(t, nil, &pconn.Options{Handler: mux})
	for typ := range uint64(3) {
		resp, err := a.Do(soon(t), pconn.Request{Type: typ})
		require.NoError(t, err)
		require.Equal(t, "abc", string(resp.Payload), "type %d", typ)
	}
	mux.Use(func(pconn.Handler) pconn.Handler {
		return pconn.HandlerFunc(func(context.Context, *pconn.Request) (pconn.Reply, error) {
			return pconn.None(), pconn.Errorf("not allowed")
		})
	})
	_, err := a.Do(soon(t), pconn.Request{})
	require.ErrorContains(t, err, "not allowed")
}

func TestMuxChangesWhileItServes(t *testing.T) {
	mux := pconn.NewMux()
	mux.HandleFunc(0, echo)
	a, _ := pair(t, nil, &pconn.Options{Handler: mux})
	var wg sync.WaitGroup
	wg.Go(func() {
		for typ := range uint64(200) {
			mux.HandleFunc(typ%5, echo)
			if typ%50 == 0 {
				mux.Use(func(h pconn.Handler) pconn.Handler { return h })
			}
		}
	})
	for range 4 {
		wg.Go(func() {
			for range 200 {
				_, err := a.Do(soon(t), pconn.Request{})
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
}

func TestRouteLimitAndTheConnectionsLimit(t *testing.T) {
	g := newGate(t)
	mux := pconn.NewMux()
	mux.HandleWith(1, pconn.RouteOptions{MaxHandlers: 2}, pconn.HandlerFunc(g.serve))
	mux.HandleFunc(2, text("free"))
	o := &pconn.Options{Handler: mux, MaxHandlers: 4}
	a, b := pair(t, nil, o)
	var limited []<-chan outcome
	for range 10 {
		limited = append(limited, do(soon(t), a, pconn.Request{Type: 1}))
	}
	receiveFrom(t, g.entered)
	receiveFrom(t, g.entered)
	eventually(t, "the others wait", func() bool { return count(b, pconn.StateCalling) == 8 })
	resp, err := a.Do(soon(t), pconn.Request{Type: 2})
	require.NoError(t, err)
	require.Equal(t, "free", string(resp.Payload))
	require.Empty(t, g.entered, "no more than two")
	g.release()
	for _, r := range limited {
		require.NoError(t, receiveFrom(t, r).err)
	}
}

func TestWaitForARouteEndsWithTheConnection(t *testing.T) {
	g := newGate(t)
	mux := pconn.NewMux()
	mux.HandleWith(1, pconn.RouteOptions{MaxHandlers: 1}, pconn.HandlerFunc(g.serveCtx))
	p := raw(t, &pconn.Options{Handler: mux})
	for tag := range uint64(5) {
		p.write(request(tag+10, 1, ""))
	}
	receiveFrom(t, g.entered)
	within(t, func() { require.NoError(t, p.conn.Close()) })
	require.Empty(t, p.conn.InFlight(), "those that waited have ended too")
}

func TestRouteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mux := pconn.NewMux()
		var err error
		var took time.Duration
		mux.HandleWith(1, pconn.RouteOptions{Timeout: time.Minute}, pconn.HandlerFunc(
			func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
				begun := time.Now()
				_, err = req.Conn.Do(ctx, pconn.Request{}) // never answered
				took = time.Since(begun)
				return pconn.None(), pconn.Errorf("%w", err)
			}))
		p := raw(t, &pconn.Options{Handler: mux})
		p.write(request(9, 1, ""))
		p.expectRequest(0, "")
		time.Sleep(2 * time.Minute)
		p.expectResponse(9, false, "context deadline exceeded")
		require.True(t, err == context.DeadlineExceeded)
		require.Equal(t, time.Minute, took)
	})
}

type numbers struct{ A, B int }

func TestTypedCalls(t *testing.T) {
	mux := pconn.NewMux()
	mux.Handle(1, pconn.Typed(func(_ context.Context, n numbers) (int, error) { return n.A + n.B, nil }))
	mux.Handle(2, pconn.Typed(func(context.Context, numbers) (int, error) { return 0, errors.New("secret") }))
	mux.Handle(3, pconn.Typed(func(context.Context, numbers) (func(), error) { return nil, nil }))
	mux.HandleFunc(4, text("not JSON"))
	a, b := pair(t, nil, &pconn.Options{Handler: mux})

	sum, err := pconn.Call[numbers, int](soon(t), a, 1, numbers{2, 3})
	require.NoError(t, err)
	require.Equal(t, 5, sum)

	_, err = pconn.Call[string, int](soon(t), a, 1, "no numbers")
	var remote *pconn.RemoteError
	require.ErrorAs(t, err, &remote)
	require.Contains(t, string(remote.Payload), "request type 1: json:")

	_, err = pconn.Call[numbers, int](soon(t), a, 2, numbers{})
	require.ErrorContains(t, err, failedText)
	_, err = pconn.Call[numbers, int](soon(t), a, 3, numbers{})
	require.ErrorContains(t, err, failedText, "a result that cannot be encoded")
	_, err = pconn.Call[numbers, int](soon(t), a, 4, numbers{})
	require.ErrorContains(t, err, "response to request type 4")
	sent := b.Counters().RequestsIn.Load()
	_, err = pconn.Call[func(), int](soon(t), a, 1, func() {})
	require.ErrorContains(t, err, "request type 1")
	require.Equal(t, sent, b.Counters().RequestsIn.Load(), "what cannot be encoded is not sent")
	_, err = b.Channel(5, pconn.Typed(func(_ context.Context, s string) (string, error) { return s + s, nil }))
	require.NoError(t, err)
	ch, err := a.Channel(5, nil)
	require.NoError(t, err)
	twice, err := pconn.Call[string, string](soon(t), ch, 0, "ab")
	require.NoError(t, err)
	require.Equal(t, "abab", twice)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = pconn.Call[numbers, int](ctx, a, 1, numbers{})
	require.Equal(t, context.Canceled, err)
}

// TestHandlersWithoutAConnection calls handlers as their tests do.
func TestHandlersWithoutAConnection(t *testing.T) {
	mux := pconn.NewMux()
	mux.HandleWith(1, pconn.RouteOptions{MaxHandlers: 1}, pconn.Typed(func(_ context.Context, n numbers) (int, error) { return n.A + n.B, nil }))
	req := &pconn.Request{Type: 1, Payload: []byte(`{"A":2,"B":3}`)}
	reply, err := mux.ServePacket(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, pconn.Bytes([]byte("5")), reply)
	require.Zero(t, req.Peer())
}

func TestRawCodec(t *testing.T) {
	mux := pconn.NewMux()
	mux.Handle(1, pconn.Typed(func(_ context.Context, b []byte) (string, error) { return string(bytes.ToUpper(b)), nil }))
	mux.Handle(2, pconn.Typed(func(_ context.Context, a netip.Addr) (netip.Addr, error) { return a.Next(), nil }))
	mux.Handle(3, pconn.Typed(func(_ context.Context, n int) (int, error) { return n, nil }))
	mux.Handle(4, pconn.Typed(func(_ context.Context, _ string) (any, error) { return nil, nil }))
	o := &pconn.Options{Handler: mux, Codec: pconn.Raw}
	a, _ := pair(t, o, o)
	s, err := pconn.Call[[]byte, string](soon(t), a, 1, []byte("abc"))
	require.NoError(t, err)
	require.Equal(t, "ABC", s)
	b, err := pconn.Call[string, []byte](soon(t), a, 1, "abc")
	require.NoError(t, err)
	require.Equal(t, []byte("ABC"), b)
	next, err := pconn.Call[netip.Addr, netip.Addr](soon(t), a, 2, netip.MustParseAddr("10.0.0.255"))
	require.NoError(t, err)
	require.Equal(t, "10.0.1.0", next.String())
	_, err = pconn.Call[int, int](soon(t), a, 3, 5)
	require.ErrorContains(t, err, "does not take int")
	_, err = pconn.Call[string, int](soon(t), a, 1, "x")
	require.ErrorContains(t, err, "does not take *int")
	_, err = pconn.Call[string, int](soon(t), a, 3, "x")
	require.ErrorContains(t, err, "request type 3")
	b, err = pconn.Call[string, []byte](soon(t), a, 4, "")
	require.NoError(t, err)
	require.Empty(t, b)
}

func TestErrorTexts(t *testing.T) {
	for want, err := range map[string]error{
		"pconn: x: 5 is over the limit of 3":                                                             &pconn.LimitError{What: "x", Value: 5, Max: 3},
		`pconn: request type 1 rejected: "no"`:                                                           &pconn.RemoteError{Type: 1, Payload: []byte("no")},
		`pconn: at byte 7: bad, it begins "x": pconn: connection closed`:                                 &pconn.ProtocolError{Offset: 7, Reason: "bad", Quote: []byte("x"), Err: pconn.ErrClosed},
		"pconn: at byte 0: bad":                                                                          &pconn.ProtocolError{Reason: "bad"},
		"pconn: 1 handlers still at work after close: type 3 (tag 4, 1s)":                                &pconn.StayError{Handlers: []pconn.InFlight{{Type: 3, Tag: 4, Age: time.Second}}},
		"pconn: panic in handler: boom":                                                                  &pconn.PanicError{Value: "boom"},
		fmt.Sprintf("pconn: request type 0 rejected: %q... (200 bytes)", bytes.Repeat([]byte("x"), 128)): &pconn.RemoteError{Payload: bytes.Repeat([]byte("x"), 200)},
	} {
		require.EqualError(t, err, want)
	}
}
