package pconn_test

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

// handlerModes are the ways in which a connection runs handlers.
var handlerModes = map[string]func(h handler) *pconn.Options{
	"on the receiving goroutine": serve,
	"on goroutines": func(h handler) *pconn.Options {
		return serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
			time.Sleep(time.Millisecond) // handlers that wait lose receiving, and then have goroutines
			return h(ctx, req)
		})
	},
	"marked": marked,
}

// Calls that are given up while their answers come, large ones and small ones, leave nothing to others: neither their
// buffers nor their records.
func TestCancelRacesWithAnswersInEachMode(t *testing.T) {
	for name, mode := range handlerModes {
		t.Run(name, func(t *testing.T) {
			a, b := pipes(t, nil, mode(echo))
			var wg sync.WaitGroup
			for g := range 8 {
				wg.Go(func() {
					size := []int{16, 1 << 10, 40 << 10, 200 << 10}[g%4]
					buf := make([]byte, size)
					for i := range 60 {
						want := pattern(size)
						want[0], want[1] = byte(g), byte(i)
						ctx, cancel := context.WithCancel(soon(t))
						go cancel()
						resp, err := a.DoInto(ctx, buf, pconn.Request{Payload: want})
						if err != nil {
							assert.Equal(t, context.Canceled, err)
							clear(buf) // ours again
							continue
						}
						assert.True(t, bytes.Equal(want, resp.Payload))
					}
				})
			}
			wg.Wait()
			require.Empty(t, a.InFlight())
			resp, err := a.Do(soon(t), pconn.Request{Payload: []byte("still there")})
			require.NoError(t, err)
			require.Equal(t, "still there", string(resp.Payload))
			eventually(t, "all are answered", func() bool { return len(b.InFlight()) == 0 })
		})
	}
}

// Two ends that flood each other with more than lies between them go on, whoever runs the handlers.
func TestBothEndsStuffedInEachMode(t *testing.T) {
	for name, mode := range handlerModes {
		t.Run(name, func(t *testing.T) {
			a, b := pipes(t, mode(echo), mode(echo))
			var wg sync.WaitGroup
			for _, c := range []*pconn.Conn{a, b} {
				for g := range 8 {
					wg.Go(func() {
						want := pattern(300<<10 + g)
						for range 10 {
							resp, err := c.Do(soon(t), pconn.Request{Payload: want})
							if assert.NoError(t, err) {
								assert.True(t, bytes.Equal(want, resp.Payload))
							}
						}
					})
				}
			}
			wg.Wait()
		})
	}
}

// Handlers that call back nest to any depth where they may call: NonBlocking ones may not, and are refused.
func TestNestedCallsInEachMode(t *testing.T) {
	for name, mode := range handlerModes {
		t.Run(name, func(t *testing.T) {
			nest := func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
				if req.Flags == 0 {
					return pconn.Text("bottom"), nil
				}
				resp, err := req.Conn.Do(ctx, pconn.Request{Flags: req.Flags - 1})
				return pconn.Bytes(resp.Payload), err
			}
			o := mode(nest)
			o.MaxHandlers = 4
			a, _ := pair(t, o, o)
			resp, err := a.Do(soon(t), pconn.Request{Flags: 100})
			if name == "marked" {
				var remote *pconn.RemoteError
				require.ErrorAs(t, err, &remote)
				return
			}
			require.NoError(t, err)
			require.Equal(t, "bottom", string(resp.Payload))
		})
	}
}
