package pconn_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

func TestShutdownFinishesWhatIsOutstanding(t *testing.T) {
	there, here := newGate(t), newGate(t)
	a, b := pair(t, serve(here.serve), serve(there.serve))
	ours := do(soon(t), a, pconn.Request{Payload: []byte("ours")})
	theirs := do(soon(t), b, pconn.Request{Payload: []byte("theirs")})
	receiveFrom(t, there.entered)
	receiveFrom(t, here.entered)
	down := make(chan error, 1)
	go func() { down <- a.Shutdown(soon(t)) }()
	eventually(t, "new calls are refused", func() bool {
		_, err := a.Submit(soon(t), pconn.Request{Channel: 77})
		return err == pconn.ErrDraining
	})
	_, err := a.Do(soon(t), pconn.Request{})
	require.Equal(t, pconn.ErrDraining, err)
	require.Equal(t, pconn.ErrDraining, a.Notify(soon(t), pconn.Request{}))
	require.NoError(t, a.Err(), "it still receives")
	here.release()
	require.NoError(t, receiveFrom(t, theirs).err)
	select {
	case <-a.Done():
		require.FailNow(t, "ended before our own call was answered")
	default:
	}
	there.release()
	got := receiveFrom(t, ours)
	require.NoError(t, got.err)
	require.Equal(t, "ours", string(got.resp.Payload))
	require.NoError(t, receiveFrom(t, down))
	require.Equal(t, pconn.ErrClosed, a.Err())
	require.NoError(t, b.Wait())
	require.Equal(t, pconn.ErrPeerClosed, b.Err())
}

// TestNestedCallsDuringDrain has an accepted handler call back, and the peer's answer call back again,
// after Shutdown was called.
func TestNestedCallsDuringDrain(t *testing.T) {
	g := newGate(t)
	nest := func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		if req.Type == 1 {
			g.entered <- 1
			<-g.open
		}
		if req.Flags == 0 {
			return pconn.Text("bottom"), nil
		}
		resp, err := req.Conn.Do(ctx, pconn.Request{Flags: req.Flags - 1})
		return pconn.Bytes(resp.Payload), err
	}
	a, b := pair(t, serve(nest), serve(nest))
	res := do(soon(t), b, pconn.Request{Type: 1, Flags: 20})
	receiveFrom(t, g.entered)
	down := make(chan error, 1)
	go func() { down <- a.Shutdown(soon(t)) }()
	eventually(t, "new calls are refused", func() bool {
		_, err := a.Submit(soon(t), pconn.Request{})
		return err == pconn.ErrDraining
	})
	g.release()
	got := receiveFrom(t, res)
	require.NoError(t, got.err)
	require.Equal(t, "bottom", string(got.resp.Payload))
	require.NoError(t, receiveFrom(t, down))
}

func TestBothEndsShutDownAtOnce(t *testing.T) {
	for range 50 {
		a, b := pair(t, serve(echo), serve(echo))
		for _, c := range []*pconn.Conn{a, b} {
			for range 5 {
				_, err := c.Submit(soon(t), pconn.Request{Payload: []byte("x")})
				require.NoError(t, err)
			}
		}
		results := make(chan error, 2)
		go func() { results <- a.Shutdown(soon(t)) }()
		go func() { results <- b.Shutdown(soon(t)) }()
		require.NoError(t, receiveFrom(t, results))
		require.NoError(t, receiveFrom(t, results))
		// Whose EOF came before the other's Shutdown was called has closed both.
		for _, c := range []*pconn.Conn{a, b} {
			require.Contains(t, []error{pconn.ErrClosed, pconn.ErrPeerClosed}, c.Err())
		}
	}
}

func TestEndingTwiceAndConcurrently(t *testing.T) {
	a, b := pair(t, serve(echo), serve(echo))
	var wg sync.WaitGroup
	for i := range 40 {
		c := []*pconn.Conn{a, b}[i%2]
		wg.Go(func() {
			switch i % 4 {
			case 0, 1:
				assert.NoError(t, c.Close())
			case 2:
				if err := c.Shutdown(soon(t)); err != nil {
					assert.NotErrorIs(t, err, context.DeadlineExceeded)
				}
			default:
				assert.NoError(t, c.Wait())
			}
			<-c.Done()
			assert.Error(t, c.Err())
		})
	}
	within(t, wg.Wait)
	for _, c := range []*pconn.Conn{a, b} {
		require.NoError(t, c.Close())
		require.NoError(t, c.Shutdown(soon(t)))
		require.NoError(t, c.Wait())
	}
}

func TestShutdownWithAnEndedContext(t *testing.T) {
	p := raw(t, nil) // the peer never answers EOF
	res := do(soon(t), p.conn, pconn.Request{})
	p.expectRequest(0, "")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.True(t, p.conn.Shutdown(ctx) == context.Canceled)
	require.Equal(t, pconn.ErrClosed, receiveFrom(t, res).err)
	receiveFrom(t, p.conn.Done())
	require.NoError(t, p.conn.Shutdown(ctx), "it is over")
}

func TestShutdownAgainstAPeerThatNeverAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := raw(t, nil)
		r, err := p.conn.Submit(t.Context(), pconn.Request{})
		require.NoError(t, err)
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		require.True(t, p.conn.Shutdown(ctx) == context.DeadlineExceeded)
		require.Equal(t, 7*time.Second, time.Since(begun))
		_, err = r.Wait(t.Context())
		require.Equal(t, pconn.ErrClosed, err)
		<-p.conn.Done()
	})
}

// TestShutdownWaitsForThePeersEnd has the peer send EOF, or end its stream, only after ours.
func TestShutdownWaitsForThePeersEnd(t *testing.T) {
	for _, packets := range []bool{true, false} {
		p := raw(t, nil)
		down := make(chan error, 1)
		go func() { down <- p.conn.Shutdown(soon(t)) }()
		p.expectEOF()
		select {
		case err := <-down:
			require.FailNow(t, "did not wait for the peer", "%v", err)
		default:
		}
		if packets {
			p.write(eof)
		} else {
			p.out.Close()
		}
		require.NoError(t, receiveFrom(t, down))
		require.Equal(t, pconn.ErrClosed, p.conn.Err())
	}
}

func TestErrAndDoneBeforeTheEnd(t *testing.T) {
	a, _ := pair(t, nil, nil)
	require.NoError(t, a.Err())
	select {
	case <-a.Done():
		require.FailNow(t, "not over yet")
	default:
	}
}

func TestEndErrorHasTheLastWord(t *testing.T) {
	exit := errors.New("exit status 3")
	var calls atomic.Int32
	p := raw(t, &pconn.Options{EndError: func(err error) error { calls.Add(1); return fmt.Errorf("%w: %w", exit, err) }})
	res := do(soon(t), p.conn, pconn.Request{})
	p.expectRequest(0, "")
	p.out.Close()
	err := receiveFrom(t, res).err
	require.ErrorIs(t, err, exit)
	require.ErrorIs(t, err, pconn.ErrPeerClosed)
	require.True(t, p.conn.Err() == err)
	receiveFrom(t, p.conn.Done())
	require.EqualValues(t, 1, calls.Load())
}
