package pconn_test

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

// flood writes n requests with tags from first, without reading what comes back.
func flood(p *rawPeer, first, n, channel uint64) error {
	var b []byte
	for tag := first; tag < first+n; tag++ {
		b = append(b[:0], encode(packet.Packet{Tag: tag, Channel: channel, Request: true, Type: 1})...)
		if err := p.tryWrite(b); err != nil {
			return err
		}
	}
	return nil
}

func TestPeerThatDoesNotReadItsRejections(t *testing.T) {
	p := rawSized(t, serve(echo), 64<<10, 4<<10)
	go flood(p, 2, 1_000_000, 9)
	eventually(t, "the connection ends", func() bool { return p.conn.Err() != nil })
	var limit *pconn.LimitError
	require.ErrorAs(t, p.conn.Err(), &limit)
	require.Contains(t, limit.What, "rejections")
	require.EqualValues(t, 1<<20, limit.Max)
	require.Contains(t, limit.Error(), "over the limit of 1048576")
	p.out.Close()
}

// TestPeerThatGoesOnPastTheBounds fills the bound with requests that are at work, and goes on.
func TestPeerThatGoesOnPastTheBounds(t *testing.T) {
	g := newGate(t)
	o := serve(g.serveCtx)
	o.MaxHandlers = 4
	p := rawSized(t, o, 64<<10, 4<<10)
	go flood(p, 2, 1_000_000, 0)
	eventually(t, "the connection ends", func() bool { return p.conn.Err() != nil })
	var limit *pconn.LimitError
	require.ErrorAs(t, p.conn.Err(), &limit)
	require.Positive(t, limit.Max)
	p.in.Close()
	receiveFrom(t, p.conn.Done())
	require.ErrorAs(t, p.conn.Wait(), &limit)
}

// TestPeerThatReadsItsRejectionsAndGoesOn is told of each request past the bound, reads that, and loses
// the connection at the hard bound.
func TestPeerThatReadsItsRejectionsAndGoesOn(t *testing.T) {
	const hard = 4 * maxOutstanding
	g := newGate(t)
	o := serve(g.serveCtx)
	o.MaxHandlers = 4
	p := rawSized(t, o, 64<<10, 64<<10)
	require.NoError(t, flood(p, 2, maxOutstanding, 0))
	const part = 4096
	for sent := uint64(maxOutstanding); sent < hard; sent += part {
		require.NoError(t, flood(p, sent+2, part, 0))
		for range part {
			require.Equal(t, "too many requests: the limit is 16384 unanswered ones", string(p.read().Payload))
		}
	}
	require.NoError(t, p.conn.Err())
	require.NoError(t, flood(p, hard+2, 1, 0))
	eventually(t, "the connection ends", func() bool { return p.conn.Err() != nil })
	var limit *pconn.LimitError
	require.ErrorAs(t, p.conn.Err(), &limit)
	require.Equal(t, pconn.LimitError{What: "requests past the bound of unanswered ones", Value: hard + 1, Max: hard}, *limit)
	require.EqualValues(t, maxOutstanding, p.conn.Counters().RequestsIn.Load())
}

// TestRefusedPeerThatIsServedAgain is refused more often than the hard bound allows, but never so often
// in a row.
func TestRefusedPeerThatIsServedAgain(t *testing.T) {
	const rounds, each = 6, 10_000
	pass := make(chan struct{})
	o := serve(func(ctx context.Context, _ *pconn.Request) (pconn.Reply, error) {
		select {
		case <-pass:
		case <-ctx.Done():
		}
		return pconn.None(), nil
	})
	o.MaxHandlers = 1
	p := rawSized(t, o, 1<<20, 64<<10)
	require.NoError(t, flood(p, 2, maxOutstanding, 0))
	for i := range uint64(rounds) {
		require.NoError(t, flood(p, (i+2)*maxOutstanding, each, 0))
		for range each {
			require.Contains(t, string(p.read().Payload), "too many requests")
		}
		pass <- struct{}{}
		require.EqualValues(t, 1, p.read().Flags)
		// The answer counts until its write has returned: a request right behind it may be refused, too.
		in, rejected := p.conn.Counters().RequestsIn.Load(), p.conn.Counters().Rejected.Load()
		for tag := 1_000_000 * (i + 1); p.conn.Counters().RequestsIn.Load() == in; tag++ {
			p.write(request(tag, 0, ""))
			eventually(t, "it is accepted or refused", func() bool {
				return p.conn.Counters().RequestsIn.Load() > in || p.conn.Counters().Rejected.Load() > rejected
			})
			if p.conn.Counters().Rejected.Load() > rejected {
				rejected++
				p.read()
			}
		}
	}
	require.NoError(t, p.conn.Err())
}

func TestPeerThatReadsItsRejectionsMayGoOn(t *testing.T) {
	p := rawSized(t, nil, 64<<10, 4<<10)
	const n = 20_000
	go flood(p, 2, n, 0)
	for range n {
		require.Equal(t, "no request handler", string(p.read().Payload))
	}
	require.NoError(t, p.conn.Err())
}

// TestPeerThatDoesNotReadItsAnswers asks for far more than it takes. What waits for it is bounded, and
// the peer is not punished: when it reads, all is there.
func TestPeerThatDoesNotReadItsAnswers(t *testing.T) {
	reply := pattern(10_000)
	p := rawSized(t, serve(func(context.Context, *pconn.Request) (pconn.Reply, error) { return pconn.Bytes(reply), nil }), 1<<20, 4<<10)
	const n = 5000
	go func() {
		for tag := range uint64(n) {
			if p.tryWrite(request(tag+2, 1, "")) != nil {
				return
			}
		}
	}()
	eventually(t, "all are accepted", func() bool { return p.conn.Counters().RequestsIn.Load() == n })
	require.Less(t, p.conn.Counters().BytesOut.Load(), uint64(4<<20), "what is queued is bounded")
	for range n {
		got := p.read()
		require.EqualValues(t, 1, got.Flags)
		require.True(t, bytes.Equal(reply, got.Payload))
	}
}

// TestPeerThatStopsReading holds up our callers, and their contexts end them.
func TestPeerThatStopsReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := rawSized(t, nil, 4<<10, 4<<10)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var errs []error
		for _, size := range []int{1000, 100_000, 3 << 20} {
			for range 5 {
				res := do(ctx, p.conn, pconn.Request{Payload: make([]byte, size)})
				defer func() { errs = append(errs, receiveFrom(t, res).err) }()
			}
		}
		synctest.Wait()
		begun := time.Now()
		cancelled, cancelNow := context.WithCancel(t.Context())
		res := do(cancelled, p.conn, pconn.Request{})
		synctest.Wait()
		cancelNow()
		require.Equal(t, context.Canceled, receiveFrom(t, res).err)
		require.Zero(t, time.Since(begun))
		<-ctx.Done()
		synctest.Wait()
		require.Empty(t, p.conn.InFlight())
		require.NoError(t, p.conn.Close())
	})
}
