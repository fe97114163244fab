package pconn_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

// What a peer that went away cannot have begun with is known to who asked, by either way of asking.
func TestWhatWasSent(t *testing.T) {
	p := rawSized(t, nil, 1<<20, 16)
	ask := func(payload []byte) *pconn.Result {
		r, err := p.conn.Submit(soon(t), pconn.Request{Payload: payload})
		require.NoError(t, err)
		require.True(t, r.Sent(), "nothing is sure yet")
		return r
	}
	answered := ask(nil)
	p.write(response(p.expectRequest(0, ""), "x"))
	_, err := answered.Wait(soon(t))
	require.NoError(t, err)
	require.True(t, answered.Sent())

	fills := ask(pattern(100)) // more than the pipe takes, so that what comes behind it is not begun
	behind := ask(nil)
	type outcome struct {
		sent bool
		err  error
	}
	attempt := make(chan outcome)
	go func() {
		_, sent, err := p.conn.Attempt(soon(t), pconn.Request{Payload: pattern(100_000)})
		attempt <- outcome{sent, err}
	}()
	eventually(t, "three calls outstanding", func() bool { return len(p.conn.InFlight()) == 3 })
	p.out.Close()
	_, err = fills.Wait(soon(t))
	require.Equal(t, pconn.ErrPeerClosed, err)
	require.True(t, fills.Sent(), "a part of it")
	_, err = behind.Wait(soon(t))
	require.Equal(t, pconn.ErrPeerClosed, err)
	require.False(t, behind.Sent())
	require.Equal(t, outcome{false, pconn.ErrPeerClosed}, receiveFrom(t, attempt))

	_, sent, err := p.conn.Attempt(soon(t), pconn.Request{})
	require.False(t, sent)
	require.Equal(t, pconn.ErrPeerClosed, err)
}

func TestAttemptThatIsAnsweredOrGivenUp(t *testing.T) {
	p := raw(t, nil)
	ctx, cancel := context.WithCancel(soon(t))
	type outcome struct {
		payload string
		sent    bool
		err     error
	}
	done := make(chan outcome)
	attempt := func(ctx context.Context) {
		resp, sent, err := p.conn.Attempt(ctx, pconn.Request{})
		done <- outcome{string(resp.Payload), sent, err}
	}
	go attempt(ctx)
	p.write(response(p.expectRequest(0, ""), "x"))
	require.Equal(t, outcome{"x", true, nil}, receiveFrom(t, done))
	go attempt(ctx)
	p.expectRequest(0, "")
	cancel()
	require.Equal(t, outcome{"", true, context.Canceled}, receiveFrom(t, done))
	_, sent, err := p.conn.Attempt(soon(t), pconn.Request{Flags: 1 << 62})
	require.Equal(t, pconn.ErrFlags, err)
	require.False(t, sent)
}

// A Result without a connection has exactly one outcome, and is decoded as any.
func TestNewResult(t *testing.T) {
	r, complete := pconn.NewResult(func(resp pconn.Response) (any, error) { return len(resp.Payload), nil })
	require.True(t, complete(pconn.Response{OK: true, Payload: []byte("four")}, nil))
	require.False(t, complete(pconn.Response{}, context.Canceled))
	require.False(t, r.Cancel())
	v, err := r.Value(soon(t))
	require.NoError(t, err)
	require.Equal(t, 4, v)

	r, complete = pconn.NewResult(nil)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = r.Wait(ended)
	require.Equal(t, context.Canceled, err)
	require.True(t, r.Cancel())
	receiveFrom(t, r.Done())
	require.False(t, complete(pconn.Response{}, nil))
	_, err = r.Wait(soon(t))
	require.Equal(t, pconn.ErrCancelled, err)
}

// A handler that waits for such a Result gives its place away, since the Result may depend on another handler.
func TestHandlerWaitsForNewResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, complete := pconn.NewResult(nil)
		mux := pconn.NewMux()
		mux.HandleFunc(1, func(ctx context.Context, _ *pconn.Request) (pconn.Reply, error) {
			resp, err := r.Wait(ctx)
			return pconn.Bytes(resp.Payload), err
		})
		mux.HandleFunc(2, func(context.Context, *pconn.Request) (pconn.Reply, error) {
			complete(pconn.Response{OK: true, Payload: []byte("from the second")}, nil)
			return pconn.None(), nil
		})
		a, b, err := pconn.Pipe(nil, &pconn.Options{Handler: mux, MaxHandlers: 1})
		require.NoError(t, err)
		first, err := a.Submit(t.Context(), pconn.Request{Type: 1})
		require.NoError(t, err)
		synctest.Wait()
		_, err = a.Do(t.Context(), pconn.Request{Type: 2})
		require.NoError(t, err)
		resp, err := first.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, "from the second", string(resp.Payload))
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}
