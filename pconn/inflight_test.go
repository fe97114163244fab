package pconn_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

func TestInFlightInEachState(t *testing.T) {
	g := newGate(t)
	o := serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		if req.Type == 2 {
			resp, err := req.Conn.Do(ctx, pconn.Request{Type: 9})
			return pconn.Bytes(resp.Payload), err
		}
		return g.serve(ctx, req)
	})
	o.MaxHandlers = 1
	p := raw(t, o)
	p.write(request(20, 2, "")) // will wait in its call
	tag := p.expectRequest(9, "")
	p.write(request(21, 1, "")) // takes the place
	receiveFrom(t, g.entered)
	p.write(request(22, 3, "")) // waits for it
	require.NoError(t, p.conn.Notify(soon(t), pconn.Request{Type: 8}))
	p.expectRequest(8, "")
	eventually(t, "all are there", func() bool { return len(p.conn.InFlight()) == 5 })
	states := map[string]bool{}
	for _, f := range p.conn.InFlight() {
		require.GreaterOrEqual(t, f.Age, time.Duration(0))
		f.Age = 1500 * time.Millisecond
		states[f.String()] = true
	}
	require.Equal(t, map[string]bool{
		"in channel 0 tag 20 type 2 calling for 1.5s":                 true,
		"in channel 0 tag 21 type 1 at work for 1.5s":                 true,
		"in channel 0 tag 22 type 3 queued for 1.5s":                  true,
		fmt.Sprintf("out channel 0 tag %d type 9 sent for 1.5s", tag): true,
		"out channel 0 tag 3 type 8 notified for 1.5s":                true,
	}, states)
	p.write(response(tag, ""))
	g.release()
}
