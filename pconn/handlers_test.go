package pconn_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

const failedText = "exception during handler"

func TestErrorf(t *testing.T) {
	inner := errors.New("inner")
	err := pconn.Errorf("outer: %w", inner)
	require.ErrorIs(t, err, inner)
	require.EqualError(t, err, "outer: inner")
	long := strings.Repeat("ä", 600) // 1200 bytes
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"plain":              {pconn.Errorf("number %d", 5), "number 5"},
		"wrapped":            {fmt.Errorf("more: %w", pconn.Errorf("told")), "told"},
		"cut":                {pconn.Errorf("%s", strings.Repeat("x", 2000)), strings.Repeat("x", 1024)},
		"cut at a character": {pconn.Errorf("x%s", long), "x" + long[:1022]},
		"exactly 1 KiB":      {pconn.Errorf("%s", long[:1024]), long[:1024]},
		"bad bytes":          {pconn.Errorf("\xff"), "&#56575;"},
		"empty":              {pconn.Errorf(""), ""},
	} {
		t.Run(name, func(t *testing.T) {
			flags, payload := answerOf(t, pconn.HandlerFunc(func(context.Context, *pconn.Request) (pconn.Reply, error) {
				return pconn.Text("not sent"), c.err
			}))
			require.Zero(t, flags)
			require.Equal(t, c.want, payload)
			require.True(t, utf8.ValidString(payload))
		})
	}
}

// nilError is an error whose methods do not bear a nil pointer, as returned by mistake all too easily.
type nilError struct{ inner error }

func (e *nilError) Error() string { return e.inner.Error() }
func (e *nilError) Unwrap() error { return e.inner }

func TestFailingHandlersAreAnsweredAndReported(t *testing.T) {
	plain := errors.New("secret")
	var nobody *nilError
	for name, c := range map[string]struct {
		h     handler
		check func(t *testing.T, err error)
	}{
		"error": {
			func(context.Context, *pconn.Request) (pconn.Reply, error) { return pconn.None(), plain },
			func(t *testing.T, err error) { require.Equal(t, plain, err) },
		},
		"nil pointer as an error": {
			func(context.Context, *pconn.Request) (pconn.Reply, error) { return pconn.None(), nobody },
			func(t *testing.T, err error) { require.True(t, err == error(nobody)) },
		},
		"panic": {
			func(context.Context, *pconn.Request) (pconn.Reply, error) { panic("secret") },
			func(t *testing.T, err error) {
				var p *pconn.PanicError
				require.ErrorAs(t, err, &p)
				require.Equal(t, "secret", p.Value)
				require.Contains(t, string(p.Stack), "TestFailingHandlers")
				require.EqualError(t, err, "pconn: panic in handler: secret")
			},
		},
		"panic with an error": {
			func(context.Context, *pconn.Request) (pconn.Reply, error) { panic(plain) },
			func(t *testing.T, err error) { require.ErrorIs(t, err, plain) },
		},
		"nil dereference": {
			func(context.Context, *pconn.Request) (pconn.Reply, error) { return pconn.None(), nobody.inner },
			func(t *testing.T, err error) { require.ErrorContains(t, err, "nil pointer") },
		},
		"panic of nil": {
			func(context.Context, *pconn.Request) (pconn.Reply, error) { panic(nil) },
			func(t *testing.T, err error) { require.ErrorContains(t, err, "nil") },
		},
		"panic of Errorf": {
			func(context.Context, *pconn.Request) (pconn.Reply, error) { panic(plain) },
			func(t *testing.T, err error) { require.ErrorIs(t, err, plain) },
		},
		"Goexit": {
			func(context.Context, *pconn.Request) (pconn.Reply, error) { runtime.Goexit(); panic("unreachable") },
			func(t *testing.T, err error) { require.ErrorContains(t, err, "goroutine") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			reported := make(chan error, 1)
			for _, hook := range []func(*pconn.Request, error){
				func(req *pconn.Request, err error) {
					assert.EqualValues(t, 1, req.Type)
					reported <- err
				},
				func(*pconn.Request, error) { panic("in the hook") },
				func(*pconn.Request, error) { runtime.Goexit() },
				nil,
			} {
				o := serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
					if req.Type == 0 {
						return pconn.Text("fine"), nil
					}
					return c.h(ctx, req)
				})
				o.OnHandlerError, o.MaxHandlers = hook, 1
				p := raw(t, o)
				// Often enough for inline handlers as well as those with a goroutine.
				for tag := uint64(10); tag < 16; tag++ {
					p.write(request(tag, 1, "x"))
					p.expectResponse(tag, false, failedText)
					if hook != nil && len(reported) > 0 {
						c.check(t, <-reported)
					}
				}
				p.write(request(20, 0, ""))
				p.expectResponse(20, true, "fine")
				require.EqualValues(t, 6, p.conn.Counters().HandlerErrors.Load())
				require.Empty(t, p.conn.InFlight())
			}
		})
	}
}

func TestHandlerSeesTheRequest(t *testing.T) {
	var got pconn.Request
	o := serve(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		got = *req
		assert.Equal(t, pconn.Peer{PID: 17, UID: 3, HasUID: true}, req.Peer())
		req.Payload[0] = 'X' // it is the handler's
		return pconn.Bytes(req.Payload), nil
	})
	o.Name, o.Peer = "server", pconn.Peer{PID: 17, UID: 3, HasUID: true}
	a, b := pair(t, nil, o)
	payload := []byte("abc")
	resp, err := a.Do(soon(t), pconn.Request{Type: 4, Flags: 6, Payload: payload})
	require.NoError(t, err)
	require.Equal(t, "Xbc", string(resp.Payload))
	require.Equal(t, "abc", string(payload))
	require.Same(t, b, got.Conn)
	require.Equal(t, "server", got.Conn.Name())
	require.EqualValues(t, 4, got.Type)
	require.EqualValues(t, 6, got.Flags)
	require.Zero(t, got.Channel)
}

func TestGoroutineLeftBehindMayNotUseTheContext(t *testing.T) {
	result := make(chan error, 1)
	g := newGate(t)
	a, _ := pair(t, serve(echo), serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		go func() {
			<-g.open
			_, err := req.Conn.Do(ctx, pconn.Request{})
			result <- err
		}()
		return pconn.None(), nil
	}))
	_, err := a.Do(soon(t), pconn.Request{})
	require.NoError(t, err)
	g.release()
	require.True(t, receiveFrom(t, result) == context.Canceled)
}

func TestAnswersOfInlineAndOtherHandlersMix(t *testing.T) {
	// Types whose handlers wait get goroutines, others run on the receiving one; all are answered.
	a, _ := pair(t, nil, serve(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		if req.Type%3 == 0 {
			runtime.Gosched()
		}
		if req.Type%7 == 0 {
			done := make(chan struct{})
			go close(done)
			<-done
		}
		return pconn.FlagsBytes(req.Flags, req.Payload), nil
	}))
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 300 {
				want := fmt.Appendf(nil, "%d %d", g, i)
				resp, err := a.Do(soon(t), pconn.Request{Type: uint64(i), Flags: uint64(g), Payload: want})
				if !assert.NoError(t, err) {
					return
				}
				assert.Equal(t, want, resp.Payload)
			}
		})
	}
	wg.Wait()
}

// TestManyRepliesThroughAFullQueue has far more to answer than may be queued, to a peer that reads
// slowly, so that handlers wait for room again and again.
func TestManyRepliesThroughAFullQueue(t *testing.T) {
	reply := pattern(60_000)
	p := rawSized(t, serve(func(_ context.Context, _ *pconn.Request) (pconn.Reply, error) {
		return pconn.Bytes(reply), nil
	}), 1<<20, 8<<10)
	const n = 400
	go func() {
		for tag := range uint64(n) {
			if p.tryWrite(request(tag+2, tag, "")) != nil {
				return
			}
		}
	}()
	for range n {
		got := p.read()
		require.EqualValues(t, 1, got.Flags)
		require.Len(t, got.Payload, len(reply))
	}
}
