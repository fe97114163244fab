package pconn_test

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet/frame"
	"github.com/packetstream/packetstream/pconn"
)

func TestPing(t *testing.T) {
	a, b := extendedPair(t, nil, nil)
	for range 3 {
		trip, err := a.Ping(soon(t))
		require.NoError(t, err)
		require.Positive(t, trip)
		_, err = b.Ping(soon(t))
		require.NoError(t, err)
	}
	require.EqualValues(t, 4, b.Counters().PingsIn.Load()) // one was extendedPair's
	a.Close()
	_, err := a.Ping(soon(t))
	require.ErrorIs(t, err, pconn.ErrClosed)
}

func TestPingThatIsNotAnswered(t *testing.T) {
	p := extended(t, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err := p.conn.Ping(ctx)
	require.Equal(t, context.DeadlineExceeded, err)
	tag := p.expectFrame(frame.KindPing).Tag
	p.write(answer(tag, true, []byte("late")))
	errs := make(chan error)
	go func() {
		_, err := p.conn.Ping(context.Background())
		errs <- err
	}()
	p.expectFrame(frame.KindPing)
	eventually(t, "the late answer is dropped", func() bool { return p.conn.Counters().LateResponses.Load() == 1 })
	p.write(eof)
	require.ErrorIs(t, receiveFrom(t, errs), pconn.ErrPeerClosed)
}

// Whoever pings while a PING waits to be sent shares it: no number of callers who give up piles them up.
func TestPingsToAPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := rawSized(t, serve(echo), 1<<20, 256)
		p.sayHello(plainHello())
		require.NoError(t, p.conn.Notify(t.Context(), pconn.Request{Type: 1, Payload: pattern(10_000)})) // does not fit
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		for range 10_000 {
			_, err := p.conn.Ping(gone)
			require.Equal(t, context.Canceled, err)
		}
		errs := make(chan error)
		for range 3 {
			go func() {
				_, err := p.conn.Ping(t.Context())
				errs <- err
			}()
		}
		synctest.Wait()
		p.expectRequest(1, string(pattern(10_000)))
		p.write(answer(p.expectFrame(frame.KindPing).Tag, true, nil))
		for range 3 {
			require.NoError(t, <-errs)
		}
		require.EqualValues(t, 1, p.conn.Counters().PingsOut.Load())
		p.nothingMore(5)
	})
}

// A peer that pings and does not read the answers loses the connection.
func TestPingFlood(t *testing.T) {
	p := rawSized(t, nil, 8<<20, 64)
	p.write(frameOf(frame.KindHello, 1, 0, plainHello()))
	var flood []byte
	for range 1000 {
		flood = append(flood, frameOf(frame.KindPing, 1<<50, 0, nil)...)
	}
	for range 300 {
		if p.tryWrite(flood) != nil {
			break
		}
	}
	var limit *pconn.LimitError
	within(t, func() { require.ErrorAs(t, p.conn.Wait(), &limit) })
	require.EqualValues(t, 1<<20, limit.Max)
}

func TestKeepaliveEndsASilentConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := raw(t, &pconn.Options{Keepalive: time.Second})
		began := time.Now()
		p.write(answer(p.expectFrame(frame.KindHello).Tag, true, plainHello()))
		p.expectFrame(frame.KindPing)
		<-p.conn.Done()
		require.ErrorIs(t, p.conn.Wait(), pconn.ErrPeerSilent)
		require.LessOrEqual(t, time.Since(began), 3*time.Second+pconn.DefaultCloseTimeout)
		require.GreaterOrEqual(t, time.Since(began), 2*time.Second)
	})
}

func TestKeepaliveLetsALivePeerBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, err := pconn.Pipe(&pconn.Options{Keepalive: time.Second}, nil)
		require.NoError(t, err)
		time.Sleep(time.Minute)
		require.NoError(t, a.Err())
		require.GreaterOrEqual(t, a.Counters().PingsOut.Load(), uint64(20))
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}

// Bytes of a packet that takes long are signs of life.
func TestKeepaliveCountsBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := raw(t, &pconn.Options{Keepalive: time.Second, Handler: pconn.HandlerFunc(mirror)})
		p.write(answer(p.expectFrame(frame.KindHello).Tag, true, plainHello()))
		req := request(5, 1, string(make([]byte, 100_000)))
		for len(req) > 0 {
			n := min(len(req), 10_000)
			p.write(req[:n])
			req = req[n:]
			time.Sleep(900 * time.Millisecond)
		}
		p.expectFrame(frame.KindHeaders)
		require.Len(t, p.read().Payload, 100_000)
	})
}

// Of a peer that says much and never answers, only the last PING is remembered.
func TestKeepaliveOfAPeerThatDoesNotAnswer(t *testing.T) {
	const times = 100
	synctest.Test(t, func(t *testing.T) {
		p := raw(t, &pconn.Options{Keepalive: time.Second, Handler: pconn.HandlerFunc(echo)})
		p.write(answer(p.expectFrame(frame.KindHello).Tag, true, plainHello()))
		var tags []uint64
		for i := range uint64(times) {
			tags = append(tags, p.expectFrame(frame.KindPing).Tag)
			p.nothingMore(5 + i)
		}
		for _, tag := range tags {
			p.write(answer(tag, true, nil))
		}
		p.nothingMore(5 + times)
		require.EqualValues(t, times-1, p.conn.Counters().LateResponses.Load())
	})
}

func TestGoAway(t *testing.T) {
	g := newGate(t)
	a, b := extendedPair(t, serve(mirror), serve(g.serve))
	at := do(soon(t), a, pconn.Request{Type: 1})
	receiveFrom(t, g.entered)
	require.NoError(t, b.GoAway(soon(t), 3, "new version"))
	_, err := b.Ping(soon(t)) // a has seen it
	require.NoError(t, err)
	_, sent, err := a.Attempt(soon(t), pconn.Request{Type: 2})
	require.Equal(t, &pconn.GoAwayError{Code: 3, Text: "new version"}, err)
	require.ErrorIs(t, err, pconn.ErrGoingAway)
	require.False(t, sent)
	// The other direction goes on, and what was accepted is finished.
	_, err = b.Do(soon(t), pconn.Request{})
	require.NoError(t, err)
	g.release()
	require.NoError(t, receiveFrom(t, at).err)
	require.NoError(t, b.GoAway(soon(t), 4, "again"))
	require.NoError(t, a.Shutdown(soon(t)))
}

// Requests that cross the news are rejected, so that the caller knows that nothing was done.
func TestGoAwayCrossesARequest(t *testing.T) {
	p := extended(t, serve(mirror))
	require.NoError(t, p.conn.GoAway(soon(t), 0, ""))
	p.expectFrame(frame.KindGoAway)
	p.write(request(5, 1, ""))
	headers := p.expectFrame(frame.KindHeaders)
	f, err := frame.ParseHeaders(headers.Payload)
	require.NoError(t, err)
	require.Equal(t, frame.Headers{Reason: frame.ReasonGoingAway}, f)
	p.expectResponse(5, false, "rejecting request: going away")

	// And seen from the other side.
	q := extended(t, nil)
	out := do(soon(t), q.conn, pconn.Request{Type: 1})
	q.expectFrame(frame.KindHeaders)
	tag := q.expectRequest(1, "")
	q.write(frameOf(frame.KindHeaders, tag, frame.FlagResponse, headers.Payload))
	q.write(encode(rejection(tag)))
	require.ErrorIs(t, receiveFrom(t, out).err, pconn.ErrGoingAway)
}

// Callers that wait for room are told, too.
func TestGoAwayWakesWaitingCallers(t *testing.T) {
	hello := frame.Hello{Version: 1, MaxRequests: 1}
	p := raw(t, nil)
	p.sayHello(hello.Append(nil))
	first := do(context.Background(), p.conn, pconn.Request{Type: 1})
	tag := p.expectRequest(1, "")
	var outs []<-chan outcome
	for range 3 {
		outs = append(outs, do(context.Background(), p.conn, pconn.Request{Type: 2}))
	}
	p.write(frameOf(frame.KindGoAway, 0, 0, nil))
	for _, out := range outs {
		require.ErrorIs(t, receiveFrom(t, out).err, pconn.ErrGoingAway)
	}
	p.write(response(tag, ""))
	require.NoError(t, receiveFrom(t, first).err)
}

func TestGoAwayOfAPlainPeer(t *testing.T) {
	p := raw(t, &pconn.Options{Handler: pconn.HandlerFunc(mirror), Extensions: pconn.ExtensionsOff})
	require.NoError(t, p.conn.GoAway(soon(t), 1, "bye"))
	p.write(request(5, 1, ""))
	p.expectResponse(5, false, "rejecting request: going away")
}

// What the peer takes is what our callers keep to.
func TestPeerWithSmallLimits(t *testing.T) {
	hello := frame.Hello{Version: 1, MaxPayload: 10, MaxRequests: 2}
	p := raw(t, serve(func(context.Context, *pconn.Request) (pconn.Reply, error) { return pconn.Bytes(make([]byte, 11)), nil }))
	p.sayHello(hello.Append(nil))
	var limit *pconn.LimitError
	_, err := p.conn.Do(soon(t), pconn.Request{Payload: make([]byte, 11)})
	require.ErrorAs(t, err, &limit)
	require.EqualValues(t, 10, limit.Max)
	p.write(request(5, 1, ""))
	p.expectResponse(5, false, `pconn: reply payload, bytes: 11 is over the limit of 10`)
	for range 3 {
		do(soon(t), p.conn, pconn.Request{Type: 1})
	}
	p.expectFrame(frame.KindHeaders)
	p.expectRequest(1, "")
	p.expectFrame(frame.KindHeaders)
	tag := p.expectRequest(1, "")
	require.EqualValues(t, 2, len(p.conn.InFlight()))
	p.write(response(tag, ""))
	p.expectFrame(frame.KindHeaders)
	p.expectRequest(1, "")
}

// Streams are new work, too.
func TestGoAwayRefusesStreams(t *testing.T) {
	a, b := extendedPair(t, nil, nil)
	l, err := b.Listen("")
	require.NoError(t, err)
	defer l.Close()
	old, err := a.OpenStream(soon(t), "old", nil)
	require.NoError(t, err)
	taken, err := l.Accept()
	require.NoError(t, err)
	require.NoError(t, b.GoAway(soon(t), 0, ""))
	_, err = b.Ping(soon(t))
	require.NoError(t, err)
	_, err = a.OpenStream(soon(t), "new", nil)
	require.ErrorIs(t, err, pconn.ErrGoingAway)
	_, err = old.Write([]byte("still"))
	require.NoError(t, err)
	got := make([]byte, 5)
	_, err = io.ReadFull(taken, got)
	require.NoError(t, err)
	require.Equal(t, "still", string(got))
}
