package pconn_test

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

func TestCallsCarryEverything(t *testing.T) {
	b := serve(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		return pconn.FlagsBytes(req.Flags>>1, append([]byte{byte(req.Type)}, req.Payload...)), nil
	})
	a, _ := pair(t, nil, b)
	for _, req := range []pconn.Request{
		{},
		{Type: 1, Flags: packet.MaxFlags, Payload: []byte("x")},
		{Type: math.MaxUint64 - 1},
		{Type: 255, Payload: pattern(100_000)},
	} {
		want := pconn.Response{OK: true, Flags: req.Flags >> 1, Payload: append([]byte{byte(req.Type)}, req.Payload...)}
		resp, err := a.Do(soon(t), req)
		require.NoError(t, err)
		require.Equal(t, want, resp)

		buf := make([]byte, 10, 200_000)
		resp, err = a.DoInto(soon(t), buf, req)
		require.NoError(t, err)
		require.Equal(t, want, resp)
		require.Same(t, &buf[0], &resp.Payload[0], "the payload is in the caller's memory")

		resp, err = a.DoInto(soon(t), make([]byte, 0), req)
		require.NoError(t, err)
		require.Equal(t, want, resp)

		r, err := a.Submit(soon(t), req)
		require.NoError(t, err)
		resp, err = r.Wait(soon(t))
		require.NoError(t, err)
		require.Equal(t, want, resp)
	}
}

// TestErrorOfDoIntoOutlivesTheBuffer, which the next call fills.
func TestErrorOfDoIntoOutlivesTheBuffer(t *testing.T) {
	for name, payload := range map[string]string{"small": "no such user", "large": string(filled(100_000, 'n'))} {
		t.Run(name, func(t *testing.T) {
			p := raw(t, nil)
			buf := make([]byte, 0, len(payload))
			call := func(flags uint64, answer string) error {
				out := begin(func() (pconn.Response, error) { return p.conn.DoInto(soon(t), buf, pconn.Request{Type: 1}) })
				p.write(encode(packet.Packet{Tag: p.read().Tag, Flags: flags, Payload: []byte(answer)}))
				return receiveFrom(t, out).err
			}
			var remote *pconn.RemoteError
			require.ErrorAs(t, call(0, payload), &remote)
			require.NoError(t, call(1, string(filled(len(payload), 'o'))))
			require.Equal(t, payload, string(remote.Payload))
		})
	}
}

func TestRequestsThatCannotBe(t *testing.T) {
	p := raw(t, &pconn.Options{MaxPayload: 10})
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	late, cancel := context.WithDeadline(context.Background(), time.Unix(1, 0))
	defer cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		req  pconn.Request
		want error
	}{
		"flags":            {soon(t), pconn.Request{Flags: packet.MaxFlags + 1}, pconn.ErrFlags},
		"type":             {soon(t), pconn.Request{Type: math.MaxUint64}, pconn.ErrType},
		"reserved channel": {soon(t), pconn.Request{Channel: 127}, pconn.ErrReservedChannel},
		"payload":          {soon(t), pconn.Request{Payload: make([]byte, 11)}, &pconn.LimitError{What: "request payload, bytes", Value: 11, Max: 10}},
		"cancelled":        {ended, pconn.Request{}, context.Canceled},
		"deadline":         {late, pconn.Request{}, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := p.conn.Do(c.ctx, c.req)
			assert.Equal(t, c.want, err)
			_, err = p.conn.DoInto(c.ctx, make([]byte, 8), c.req)
			assert.Equal(t, c.want, err)
			r, err := p.conn.Submit(c.ctx, c.req)
			assert.Equal(t, c.want, err)
			assert.Nil(t, r)
			assert.Equal(t, c.want, p.conn.Notify(c.ctx, c.req))
		})
	}
	require.Empty(t, p.conn.InFlight())
	require.Zero(t, p.conn.Counters().RequestsOut.Load())
	// The first packet that leaves is the first request that could be made.
	res := do(soon(t), p.conn, pconn.Request{Type: 5})
	p.write(response(p.expectRequest(5, ""), ""))
	require.NoError(t, receiveFrom(t, res).err)
}

func TestRejectionIsError(t *testing.T) {
	p := raw(t, nil)
	res := do(soon(t), p.conn, pconn.Request{Type: 7})
	tag := p.expectRequest(7, "")
	p.write(encode(packet.Packet{Tag: tag, Flags: 9 << 1, Payload: []byte("no such thing")}))
	got := receiveFrom(t, res)
	require.Equal(t, pconn.Response{Flags: 9, Payload: []byte("no such thing")}, got.resp)
	var remote *pconn.RemoteError
	require.ErrorAs(t, got.err, &remote)
	require.Equal(t, &pconn.RemoteError{Type: 7, Flags: 9, Payload: []byte("no such thing")}, remote)
	require.EqualError(t, got.err, `pconn: request type 7 rejected: "no such thing"`)
	require.NotErrorIs(t, got.err, pconn.ErrUnknownChannel)
}

func TestTagsAscendFromTwoAndAreNeverReused(t *testing.T) {
	p := raw(t, nil)
	seen := map[uint64]bool{}
	last := uint64(1)
	for i := range 300 {
		res := do(soon(t), p.conn, pconn.Request{})
		tag := p.expectRequest(0, "")
		require.False(t, seen[tag])
		require.Greater(t, tag, last)
		seen[tag], last = true, tag
		if i%3 != 0 { // every third one stays outstanding
			p.write(response(tag, ""))
			require.NoError(t, receiveFrom(t, res).err)
		}
	}
	p.write(eof)
}

func TestNotifyCountsUntilAnswered(t *testing.T) {
	p := raw(t, nil)
	require.NoError(t, p.conn.Notify(soon(t), pconn.Request{Type: 3, Payload: []byte("n")}))
	tag := p.expectRequest(3, "n")
	list := p.conn.InFlight()
	require.Len(t, list, 1)
	require.Equal(t, pconn.StateNotified, list[0].State)
	p.write(response(tag, string(pattern(50))))
	eventually(t, "the notification is done", func() bool { return len(p.conn.InFlight()) == 0 })
	require.Zero(t, p.conn.Counters().LateResponses.Load())
	require.Zero(t, p.conn.Counters().Unsolicited.Load())
}

func TestNotifyAndRejection(t *testing.T) {
	a, b := pair(t, nil, nil) // b has no handler
	for range 100 {
		require.NoError(t, a.Notify(soon(t), pconn.Request{}))
	}
	eventually(t, "all are answered", func() bool { return len(a.InFlight()) == 0 })
	require.EqualValues(t, 100, b.Counters().Rejected.Load())
}

func TestContextEndsCall(t *testing.T) {
	p := raw(t, nil)
	cause := errors.New("the reason")
	ctx, cancel := context.WithCancelCause(context.Background())
	res := do(ctx, p.conn, pconn.Request{})
	tag := p.expectRequest(0, "")
	cancel(cause)
	got := receiveFrom(t, res)
	require.True(t, got.err == context.Canceled, "exactly ctx.Err(): %v", got.err)
	require.Equal(t, cause, context.Cause(ctx))
	require.Empty(t, p.conn.InFlight())
	require.EqualValues(t, 1, p.conn.Counters().Cancelled.Load())

	p.write(response(tag, "late"))
	next := do(soon(t), p.conn, pconn.Request{})
	p.write(response(p.expectRequest(0, ""), "in time"))
	require.Equal(t, "in time", string(receiveFrom(t, next).resp.Payload))
	require.EqualValues(t, 1, p.conn.Counters().LateResponses.Load())
	require.Zero(t, p.conn.Counters().Unsolicited.Load())
}

func TestDeadlineEndsCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := raw(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begun := time.Now()
		_, err := p.conn.Do(ctx, pconn.Request{})
		require.True(t, err == context.DeadlineExceeded, "%v", err)
		require.Equal(t, time.Minute, time.Since(begun))
	})
}

func TestCancelOfQueuedRequestIsNotSent(t *testing.T) {
	p := rawSized(t, nil, 1<<10, 1<<10)
	// The first payload fills the pipe, the second waits behind it.
	first, cancelFirst := context.WithCancel(context.Background())
	big := pattern(100_000)
	firstRes := do(first, p.conn, pconn.Request{Type: 1, Payload: big})
	eventually(t, "the first is in the write", func() bool { return p.conn.Counters().SenderHandovers.Load() > 0 })
	second, cancelSecond := context.WithCancel(context.Background())
	secondRes := do(second, p.conn, pconn.Request{Type: 2, Payload: pattern(50_000)})
	eventually(t, "the second is queued", func() bool { return len(p.conn.InFlight()) == 2 })
	cancelSecond()
	require.Equal(t, context.Canceled, receiveFrom(t, secondRes).err)
	cancelFirst()
	require.Equal(t, context.Canceled, receiveFrom(t, firstRes).err)

	third := do(soon(t), p.conn, pconn.Request{Type: 3})
	p.expectRequest(1, string(big)) // it was begun, and is finished
	p.write(response(p.expectRequest(3, ""), ""))
	require.NoError(t, receiveFrom(t, third).err)
	// What was counted as queued and not withdrawn is what came.
	n := p.conn.Counters()
	require.EqualValues(t, 1, n.Withdrawn.Load())
	require.EqualValues(t, 2, n.PacketsOut.Load()-n.Withdrawn.Load())
	require.EqualValues(t, p.in.Offset(), n.BytesOut.Load()-n.WithdrawnBytes.Load())
}

func TestDoCancelRacesWithAnswer(t *testing.T) {
	a, _ := pair(t, nil, serve(echo))
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			buf := make([]byte, 64)
			for i := range 200 {
				ctx, cancel := context.WithCancel(soon(t))
				go cancel()
				want := []byte{byte(g), byte(i)}
				resp, err := a.DoInto(ctx, buf, pconn.Request{Payload: want})
				if err == nil {
					assert.Equal(t, want, resp.Payload)
				} else {
					assert.Equal(t, context.Canceled, err)
				}
			}
		})
	}
	wg.Wait()
	require.Empty(t, a.InFlight())
}

func TestCallsOnEndedConnection(t *testing.T) {
	a, b := pair(t, nil, nil)
	require.NoError(t, b.Close())
	receiveFrom(t, a.Done())
	for _, c := range []*pconn.Conn{a, b} {
		want := c.Err()
		require.Error(t, want)
		_, err := c.Do(soon(t), pconn.Request{})
		require.True(t, err == want, "%v", err)
		_, err = c.Submit(soon(t), pconn.Request{})
		require.True(t, err == want)
		require.True(t, c.Notify(soon(t), pconn.Request{}) == want)
	}
	require.Equal(t, pconn.ErrPeerClosed, a.Err())
	require.Equal(t, pconn.ErrClosed, b.Err())
}

func TestEndIsOneValueForEverybody(t *testing.T) {
	p := raw(t, nil)
	var results []<-chan outcome
	var submitted []*pconn.Result
	for range 5 {
		results = append(results, do(soon(t), p.conn, pconn.Request{}))
		r, err := p.conn.Submit(soon(t), pconn.Request{})
		require.NoError(t, err)
		submitted = append(submitted, r)
		require.NoError(t, p.conn.Notify(soon(t), pconn.Request{}))
	}
	eventually(t, "all are out", func() bool { return len(p.conn.InFlight()) == 15 })
	p.write([]byte{0}) // a packet too short for its fields
	var perr *pconn.ProtocolError
	for i := range results {
		err := receiveFrom(t, results[i]).err
		require.ErrorAs(t, err, &perr)
		require.True(t, err == p.conn.Err(), "the same value")
		_, err = submitted[i].Wait(soon(t))
		require.True(t, err == p.conn.Err())
	}
	receiveFrom(t, p.conn.Done())
	require.True(t, errors.Is(p.conn.Wait(), p.conn.Err()))
}
