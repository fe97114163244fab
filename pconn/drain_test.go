package pconn_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

func TestPeersEOFWhileHandlersWork(t *testing.T) {
	g := newGate(t)
	p := raw(t, serve(g.serve))
	ours := do(soon(t), p.conn, pconn.Request{})
	p.expectRequest(0, "")
	for tag := uint64(10); tag < 13; tag++ {
		p.write(request(tag, tag, fmt.Sprint(tag)))
		receiveFrom(t, g.entered)
	}
	p.write(eof)
	require.Equal(t, pconn.ErrPeerClosed, receiveFrom(t, ours).err, "no answer can follow")
	_, err := p.conn.Do(soon(t), pconn.Request{})
	require.Equal(t, pconn.ErrPeerClosed, err)
	g.release()
	seen := map[uint64]bool{}
	for range 3 {
		got := p.read()
		require.Equal(t, fmt.Sprint(got.Tag), string(got.Payload))
		seen[got.Tag] = true
	}
	require.Len(t, seen, 3)
	p.expectEOF()
	require.NoError(t, p.conn.Wait())
}

// TestAnswersBeforePeersEOFDoNotWait has answers of one read with the peer's EOF leave while another request is at work.
func TestAnswersBeforePeersEOFDoNotWait(t *testing.T) {
	g := newGate(t)
	mux := pconn.NewMux()
	mux.Handle(0, pconn.HandlerFunc(g.serve))
	mux.Handle(1, pconn.NonBlocking(pconn.HandlerFunc(echo)))
	p := raw(t, &pconn.Options{Handler: mux})
	p.write(request(10, 0, "slow"))
	receiveFrom(t, g.entered)
	p.write(slices.Concat(request(11, 1, "b"), request(12, 1, "c"), eof))
	p.expectResponse(11, true, "b")
	p.expectResponse(12, true, "c")
	g.release()
	p.expectResponse(10, true, "slow")
	p.expectEOF()
}

// tookAbout checks how long something took in a bubble's time. A handler that blocks costs a fraction of a
// millisecond there, until receiving goes on elsewhere.
func tookAbout(t *testing.T, want time.Duration, begun time.Time) {
	t.Helper()
	require.InDelta(t, want.Seconds(), time.Since(begun).Seconds(), 0.02)
}

func TestDrainTimeoutCutsHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		p := raw(t, serve(g.serveCtx))
		p.write(request(10, 1, ""))
		synctest.Wait()
		begun := time.Now()
		p.write(eof)
		p.expectResponse(10, false, failedText) // its context ended
		tookAbout(t, pconn.DefaultDrainTimeout, begun)
		p.expectEOF()
		<-p.conn.Done()
		require.NoError(t, p.conn.Wait())
	})
}

func TestDrainTimeoutAndHandlersThatStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		o := serve(g.serve)
		o.DrainTimeout, o.CloseTimeout = 3*time.Second, 4*time.Second
		p := raw(t, o)
		p.write(request(10, 1, ""))
		synctest.Wait()
		begun := time.Now()
		p.write(eof)
		p.expectEOF() // it is not kept back for ever
		<-p.conn.Done()
		tookAbout(t, 7*time.Second, begun)
		var stay *pconn.StayError
		require.ErrorAs(t, p.conn.Wait(), &stay)
	})
}

func TestStayErrorNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		o := serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
			if req.Type == 3 {
				return g.serveCtx(ctx, req)
			}
			return g.serve(ctx, req)
		})
		p := raw(t, o)
		for typ := range uint64(12) {
			p.write(request(100+typ, typ, ""))
		}
		time.Sleep(time.Second) // receiving has left the handlers that block, one after another
		synctest.Wait()
		begun := time.Now()
		err := p.conn.Close()
		tookAbout(t, pconn.DefaultCloseTimeout, begun)
		var stay *pconn.StayError
		require.ErrorAs(t, err, &stay)
		require.Len(t, stay.Handlers, 11, "all but the one that minds its context")
		for _, h := range stay.Handlers {
			require.False(t, h.Out)
			require.Equal(t, h.Type+100, h.Tag)
			require.NotEqualValues(t, 3, h.Type)
			require.Equal(t, pconn.StateAtWork, h.State)
			require.GreaterOrEqual(t, h.Age, pconn.DefaultCloseTimeout)
		}
		require.Contains(t, err.Error(), "11 handlers still at work")
		require.Contains(t, err.Error(), "...")
		require.Equal(t, err, p.conn.Close(), "the same for everybody")
		require.ErrorIs(t, p.conn.Wait(), err)
		g.release()
		synctest.Wait()
	})
}

// TestQueuedRequestsAreNotBegunAfterTheEnd lets a handler that stayed return after Close.
func TestQueuedRequestsAreNotBegunAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		var begun atomic.Int32
		o := serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
			begun.Add(1)
			return g.serve(ctx, req)
		})
		o.MaxHandlers = 1
		p := raw(t, o)
		for tag := range uint64(5) {
			p.write(request(10+tag, 1, ""))
		}
		time.Sleep(time.Second) // receiving has left the first handler, and queued the others
		synctest.Wait()
		var stay *pconn.StayError
		require.ErrorAs(t, p.conn.Close(), &stay)
		require.Len(t, stay.Handlers, 1)
		g.release()
		synctest.Wait()
		require.EqualValues(t, 1, begun.Load())
		require.EqualValues(t, 4, p.conn.Counters().DroppedRequests.Load())
		require.Empty(t, p.conn.InFlight())
	})
}

// A peer that says EOF and waits for ours gets it before EndError returns, which may wait for what the peer does then.
// Whoever calls meanwhile gets the same end.
func TestGoodbyeIsAnsweredBeforeEndError(t *testing.T) {
	asked, answered := make(chan struct{}), make(chan struct{})
	p := raw(t, &pconn.Options{EndError: func(err error) error {
		close(asked)
		<-answered
		return fmt.Errorf("explained: %w", err)
	}})
	early := do(soon(t), p.conn, pconn.Request{})
	p.expectRequest(0, "")
	p.write(eof)
	receiveFrom(t, asked)
	late := do(soon(t), p.conn, pconn.Request{})
	p.expectEOF()
	select {
	case <-late:
		require.FailNow(t, "answered before the end is known")
	default:
	}
	close(answered)
	err := receiveFrom(t, early).err
	require.EqualError(t, err, "explained: "+pconn.ErrPeerClosed.Error())
	require.True(t, err == receiveFrom(t, late).err)
	receiveFrom(t, p.conn.Done())
}

func TestRequestsAfterOurEOFAreDropped(t *testing.T) {
	p := raw(t, serve(echo))
	down := make(chan error, 1)
	go func() { down <- p.conn.Shutdown(soon(t)) }()
	p.expectEOF()
	p.write(request(5, 1, "too late"))
	p.write(request(6, 1, string(pattern(100_000))))
	p.write(eof)
	require.NoError(t, receiveFrom(t, down))
	require.EqualValues(t, 2, p.conn.Counters().DroppedRequests.Load())
}
