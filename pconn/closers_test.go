package pconn_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

func TestEndFromAHandler(t *testing.T) {
	var other *pconn.Conn
	for name, end := range map[string]func(ctx context.Context, c *pconn.Conn) error{
		"Close":               func(_ context.Context, c *pconn.Conn) error { return c.Close() },
		"Close twice":         func(_ context.Context, c *pconn.Conn) error { return errors.Join(c.Close(), c.Close()) },
		"Shutdown":            func(ctx context.Context, c *pconn.Conn) error { return c.Shutdown(ctx) },
		"Shutdown, Close":     func(ctx context.Context, c *pconn.Conn) error { return errors.Join(c.Shutdown(ctx), c.Close()) },
		"Close in a deferral": func(_ context.Context, c *pconn.Conn) (err error) { defer func() { err = c.Close() }(); return nil },
		"Close when the context ends": func(ctx context.Context, c *pconn.Conn) error {
			go other.Close()
			<-ctx.Done()
			return c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			result := make(chan error, 1)
			a, b := pair(t, nil, serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
				result <- end(ctx, req.Conn)
				return pconn.Text("bye"), nil
			}))
			other = b
			begun := time.Now()
			res := do(soon(t), a, pconn.Request{})
			require.NoError(t, receiveFrom(t, result))
			got := receiveFrom(t, res)
			if got.err == nil {
				require.Equal(t, "bye", string(got.resp.Payload))
			} else {
				require.Equal(t, pconn.ErrPeerClosed, got.err)
			}
			receiveFrom(t, b.Done())
			require.NoError(t, b.Wait())
			receiveFrom(t, a.Done())
			require.Less(t, time.Since(begun), pconn.DefaultCloseTimeout, "nobody waited for himself")
		})
	}
}

// TestManyHandlersClose has handlers close the connection at different moments of its end.
func TestManyHandlersClose(t *testing.T) {
	for range 20 {
		a, b := pair(t, nil, serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
			if req.Type%2 == 0 {
				<-ctx.Done()
			}
			return pconn.None(), req.Conn.Close()
		}))
		begun := time.Now()
		var results []<-chan outcome
		for typ := range uint64(6) {
			results = append(results, do(soon(t), a, pconn.Request{Type: typ}))
		}
		receiveFrom(t, b.Done())
		require.NoError(t, b.Wait())
		require.Less(t, time.Since(begun), pconn.DefaultCloseTimeout)
		for _, r := range results {
			receiveFrom(t, r)
		}
	}
}

// TestEndFromAnotherConnectionsHandler is what a proxy does: the handler of one connection ends another,
// and has to wait for that one's handlers as anybody.
func TestEndFromAnotherConnectionsHandler(t *testing.T) {
	for name, end := range map[string]func(ctx context.Context, c *pconn.Conn) error{
		"Close":    func(_ context.Context, c *pconn.Conn) error { return c.Close() },
		"Shutdown": func(ctx context.Context, c *pconn.Conn) error { return c.Shutdown(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t)
			client, backend := pair(t, nil, serve(g.serve))
			res := do(soon(t), client, pconn.Request{})
			receiveFrom(t, g.entered)
			returned := make(chan error, 1)
			front, _ := pair(t, nil, serve(func(ctx context.Context, _ *pconn.Request) (pconn.Reply, error) {
				err := end(ctx, backend)
				select {
				case <-backend.Done():
				default:
					err = errors.New("returned before the connection was over")
				}
				returned <- err
				return pconn.None(), nil
			}))
			frontRes := do(soon(t), front, pconn.Request{})
			eventually(t, "the end has begun", func() bool {
				return backend.Notify(soon(t), pconn.Request{}) != nil
			})
			g.release()
			require.NoError(t, receiveFrom(t, returned))
			require.NoError(t, receiveFrom(t, frontRes).err)
			receiveFrom(t, res)
		})
	}
}

func TestEndFromEveryHook(t *testing.T) {
	for hook, set := range map[string]func(o *pconn.Options, end func(*pconn.Conn)){
		"OnRecvEOF": func(o *pconn.Options, end func(*pconn.Conn)) { o.OnRecvEOF = end },
		"OnSendEOF": func(o *pconn.Options, end func(*pconn.Conn)) { o.OnSendEOF = end },
		"OnHandlerError": func(o *pconn.Options, end func(*pconn.Conn)) {
			o.OnHandlerError = func(req *pconn.Request, _ error) { end(req.Conn) }
		},
	} {
		for method, end := range map[string]func(*pconn.Conn){
			"Close":    func(c *pconn.Conn) { c.Close() },
			"Shutdown": func(c *pconn.Conn) { c.Shutdown(context.Background()) },
		} {
			for _, mark := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s in %s, marked %v", method, hook, mark), func(t *testing.T) {
					o := serve(func(context.Context, *pconn.Request) (pconn.Reply, error) { return pconn.None(), errors.New("no") })
					if mark {
						o.Handler = pconn.NonBlocking(o.Handler)
					}
					set(o, end)
					p := raw(t, o)
					begun := time.Now()
					p.write(request(5, 0, ""))
					p.write(eof)
					for {
						got, err := p.tryRead()
						if err != nil || got.Request {
							break
						}
					}
					receiveFrom(t, p.conn.Done())
					require.NoError(t, p.conn.Wait())
					require.Less(t, time.Since(begun), pconn.DefaultCloseTimeout, "nobody waited for himself")
				})
			}
		}
	}
}

func TestNotificationsThatBlockOrPanic(t *testing.T) {
	free := make(chan struct{})
	defer close(free)
	var calls atomic.Int32
	block := func(*pconn.Conn) { calls.Add(1); <-free }
	crash := func(*pconn.Conn) { calls.Add(1); panic("in a notification") }
	for _, hook := range []func(*pconn.Conn){block, crash} {
		a, b := pair(t, &pconn.Options{OnRecvEOF: hook, OnSendEOF: hook, CloseTimeout: 50 * time.Millisecond}, nil)
		within(t, func() { b.Close() })
		receiveFrom(t, a.Done())
	}
	require.GreaterOrEqual(t, calls.Load(), int32(3), "the second of those that block may not have begun")
}

func TestNotificationsAreCalledOnce(t *testing.T) {
	for name, end := range map[string]func(p *rawPeer){
		"Close":         func(p *rawPeer) { p.conn.Close() },
		"EOF":           func(p *rawPeer) { p.write(eof) },
		"end of stream": func(p *rawPeer) { p.out.Close() },
		"garbage":       func(p *rawPeer) { p.write([]byte{0}) },
		"both": func(p *rawPeer) {
			go p.conn.Close()
			p.write(eof)
		},
		"Shutdown": func(p *rawPeer) {
			go p.conn.Shutdown(context.Background())
			p.expectEOF()
			p.write(eof)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var recv, send atomic.Int32
			var wrong atomic.Bool
			var conn atomic.Pointer[pconn.Conn]
			p := raw(t, &pconn.Options{
				OnRecvEOF: func(c *pconn.Conn) { recv.Add(1); wrong.Store(wrong.Load() || c.Err() == nil); conn.Store(c) },
				OnSendEOF: func(*pconn.Conn) { send.Add(1) },
			})
			end(p)
			receiveFrom(t, p.conn.Done())
			p.conn.Close()
			require.EqualValues(t, 1, recv.Load())
			require.EqualValues(t, 1, send.Load())
			require.False(t, wrong.Load(), "Err was set when it was called")
			require.Same(t, p.conn, conn.Load())
		})
	}
	t.Run("a peer that is gone", func(t *testing.T) {
		var recv, send atomic.Int32
		p := raw(t, &pconn.Options{
			OnRecvEOF: func(*pconn.Conn) { recv.Add(1) },
			OnSendEOF: func(*pconn.Conn) { send.Add(1) },
		})
		p.in.Close()
		p.out.Close()
		receiveFrom(t, p.conn.Done())
		require.EqualValues(t, 1, recv.Load())
		require.Zero(t, send.Load(), "EOF could not be sent")
	})
}
