package pconn_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

// A handler that waits does not stop receiving, however long its type, or another one, has run without waiting: the
// watchdog looks less often then, but it looks.
func TestHandlerThatWaitsAfterManyThatDidNot(t *testing.T) {
	const trusted, other, probe = 1, 2, 3
	for name, waits := range map[string]uint64{"the same type": trusted, "another type": other} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t)
			a, _ := pair(t, nil, serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
				if req.Flags == 1 {
					return g.serveCtx(ctx, req)
				}
				return pconn.Bytes(req.Payload), nil
			}))
			ctx := soon(t)
			for range 5_000 {
				_, err := a.Do(ctx, pconn.Request{Type: trusted})
				require.NoError(t, err)
			}
			othersAreAnswered(t, a, g, pconn.Request{Type: waits, Flags: 1}, probe)
		})
	}
}

// The watchdog sleeps while a connection does, and is awake with the next handler.
func TestHandlerThatWaitsAfterAPause(t *testing.T) {
	const quick, waits, probe = 1, 2, 3
	g := newGate(t)
	a, _ := pipes(t, nil, serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		if req.Type == waits {
			return g.serveCtx(ctx, req)
		}
		return pconn.Bytes(req.Payload), nil
	}))
	ctx := soon(t)
	calls := func(n int) {
		time.Sleep(2 * time.Millisecond) // longer than the watchdog's period: it is what the test is about
		for range n {
			_, err := a.Do(ctx, pconn.Request{Type: quick})
			require.NoError(t, err)
		}
	}
	for range 5 {
		calls(20)
	}
	calls(1)
	othersAreAnswered(t, a, g, pconn.Request{Type: waits}, probe)
}

// othersAreAnswered checks that a request of the type probe is answered while the handler of another waits at the gate.
func othersAreAnswered(t *testing.T, c *pconn.Conn, g *gate, waits pconn.Request, probe uint64) {
	t.Helper()
	ctx := soon(t)
	r, err := c.Submit(ctx, waits)
	require.NoError(t, err)
	receiveFrom(t, g.entered)
	_, err = c.Do(ctx, pconn.Request{Type: probe})
	require.NoError(t, err, "while a handler waits")
	g.release()
	_, err = r.Wait(ctx)
	require.NoError(t, err)
}
