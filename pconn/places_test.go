package pconn_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

func TestHandlersLimit(t *testing.T) {
	g := newGate(t)
	var now, most atomic.Int32
	o := serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		return g.serve(ctx, req)
	})
	o.MaxHandlers = 3
	p := raw(t, o)
	for tag := range uint64(10) {
		p.write(request(tag+2, tag, ""))
	}
	for range 3 {
		receiveFrom(t, g.entered)
	}
	eventually(t, "the rest is queued", func() bool {
		return count(p.conn, pconn.StateQueued) == 7 && count(p.conn, pconn.StateAtWork) == 3
	})
	require.EqualValues(t, 3, now.Load())
	g.release()
	for range 10 {
		require.EqualValues(t, 1, p.read().Flags)
	}
	require.EqualValues(t, 3, most.Load())
	require.Empty(t, p.conn.InFlight())
}

// count returns how many requests are in flight in a state.
func count(c *pconn.Conn, s pconn.InFlightState) int {
	n := 0
	for _, f := range c.InFlight() {
		if f.State == s {
			n++
		}
	}
	return n
}

// TestHandlersThatWaitGiveTheirPlaceAway has as many handlers waiting as there may be at work, in each
// way to wait, and one more that must be served before they can go on.
func TestHandlersThatWaitGiveTheirPlaceAway(t *testing.T) {
	const limit = 4
	for name, wait := range map[string]func(ctx context.Context, c *pconn.Conn) error{
		"Do": func(ctx context.Context, c *pconn.Conn) error {
			_, err := c.Do(ctx, pconn.Request{})
			return err
		},
		"DoInto": func(ctx context.Context, c *pconn.Conn) error {
			_, err := c.DoInto(ctx, make([]byte, 10), pconn.Request{})
			return err
		},
		"derived context": func(ctx context.Context, c *pconn.Conn) error {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			_, err := c.Do(ctx, pconn.Request{})
			return err
		},
		"Submit and Wait": func(ctx context.Context, c *pconn.Conn) error {
			r, err := c.Submit(ctx, pconn.Request{})
			if err != nil {
				return err
			}
			_, err = r.Wait(ctx)
			return err
		},
		"Submit and Value": func(ctx context.Context, c *pconn.Conn) error {
			r, err := c.Submit(ctx, pconn.Request{})
			if err != nil {
				return err
			}
			_, err = r.Value(ctx)
			return err
		},
		"Channel": func(ctx context.Context, c *pconn.Conn) error {
			ch, err := c.Channel(3, nil)
			if err != nil {
				return err
			}
			_, err = ch.Do(ctx, pconn.Request{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			released := make(chan struct{})
			var once sync.Once
			release := func() { once.Do(func() { close(released) }) }
			defer release()
			back := pconn.HandlerFunc(func(context.Context, *pconn.Request) (pconn.Reply, error) { <-released; return pconn.None(), nil })
			client := &pconn.Options{Handler: back, Channels: map[uint64]pconn.Handler{3: back}}
			server := serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
				if req.Type == 1 {
					return pconn.Text("served"), nil
				}
				return pconn.None(), wait(ctx, req.Conn)
			})
			server.MaxHandlers = limit
			a, b := pair(t, client, server)
			var waiting []<-chan outcome
			for range limit {
				waiting = append(waiting, do(soon(t), a, pconn.Request{}))
			}
			eventually(t, "all wait", func() bool { return count(b, pconn.StateCalling) == limit })
			resp, err := a.Do(soon(t), pconn.Request{Type: 1})
			require.NoError(t, err)
			require.Equal(t, "served", string(resp.Payload))
			release()
			for _, w := range waiting {
				require.NoError(t, receiveFrom(t, w).err)
			}
		})
	}
}

// TestPlacesAreCountedRight lets handlers wait in many goroutines of theirs, some of which outlive them,
// and checks that the limit is the same afterwards.
func TestPlacesAreCountedRight(t *testing.T) {
	const limit = 2
	back := newGate(t)
	var left sync.WaitGroup
	g := newGate(t)
	server := serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		switch req.Type {
		case 0:
			for range 3 {
				left.Go(func() { req.Conn.Do(ctx, pconn.Request{Type: 5}) })
			}
			if req.Flags == 1 { // leave while they wait
				for range 3 {
					<-back.entered
				}
			}
			return pconn.None(), nil
		default:
			return g.serve(ctx, req)
		}
	})
	server.MaxHandlers = limit
	a, b := pair(t, serve(back.serve), server)
	for i := range 20 {
		_, err := a.Do(soon(t), pconn.Request{Flags: uint64(i % 2)})
		require.NoError(t, err)
	}
	back.release()
	within(t, left.Wait)
	var results []<-chan outcome
	for range 5 {
		results = append(results, do(soon(t), a, pconn.Request{Type: 1}))
	}
	eventually(t, "as many as may be are at work", func() bool {
		return count(b, pconn.StateAtWork) == limit && count(b, pconn.StateQueued) == 5-limit
	})
	for range limit {
		receiveFrom(t, g.entered)
	}
	require.Empty(t, g.entered, "no more than the limit")
	g.release()
	for _, r := range results {
		require.NoError(t, receiveFrom(t, r).err)
	}
}
