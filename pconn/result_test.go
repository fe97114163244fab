package pconn_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

func TestResult(t *testing.T) {
	p := raw(t, nil)
	var decoded atomic.Int32
	r, err := p.conn.Submit(soon(t), pconn.Request{Type: 1, Decode: func(resp pconn.Response) (any, error) {
		decoded.Add(1)
		return "decoded " + string(resp.Payload), nil
	}})
	require.NoError(t, err)
	select {
	case <-r.Done():
		require.FailNow(t, "done before the answer")
	default:
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = r.Wait(ctx)
	require.True(t, err == context.Canceled)
	_, err = r.Value(ctx)
	require.True(t, err == context.Canceled)
	require.Len(t, p.conn.InFlight(), 1, "it stays outstanding")

	p.write(response(p.expectRequest(1, ""), "x"))
	receiveFrom(t, r.Done())
	require.Zero(t, decoded.Load(), "nobody has waited")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			v, err := r.Value(soon(t))
			assert.NoError(t, err)
			assert.Equal(t, "decoded x", v)
			resp, err := r.Wait(ctx) // the outcome is there, whatever the context
			assert.NoError(t, err)
			assert.Equal(t, "x", string(resp.Payload))
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, decoded.Load())
	require.False(t, r.Cancel(), "there was an outcome already")
	_, err = r.Wait(soon(t))
	require.NoError(t, err)
}

func TestResultValueWithoutDecode(t *testing.T) {
	a, _ := pair(t, nil, serve(echo))
	r, err := a.Submit(soon(t), pconn.Request{Flags: 2, Payload: []byte("p")})
	require.NoError(t, err)
	v, err := r.Value(soon(t))
	require.NoError(t, err)
	require.Equal(t, pconn.Response{OK: true, Flags: 2, Payload: []byte("p")}, v)
}

func TestResultDecodeErrorIsEverybodys(t *testing.T) {
	a, _ := pair(t, nil, serve(echo))
	want := errors.New("bad payload")
	runs := 0
	r, err := a.Submit(soon(t), pconn.Request{Decode: func(pconn.Response) (any, error) { runs++; return nil, want }})
	require.NoError(t, err)
	for range 3 {
		_, err = r.Value(soon(t))
		require.Equal(t, want, err)
	}
	require.Equal(t, 1, runs)
	_, err = r.Wait(soon(t))
	require.NoError(t, err, "the response itself is fine")
}

func TestResultDecodePanic(t *testing.T) {
	a, _ := pair(t, nil, serve(echo))
	r, err := a.Submit(soon(t), pconn.Request{Decode: func(pconn.Response) (any, error) { panic("no") }})
	require.NoError(t, err)
	require.PanicsWithValue(t, "no", func() { r.Value(soon(t)) })
	_, err = r.Value(soon(t))
	require.Error(t, err, "nobody takes the missing value for a value")
}

func TestResultRejectedIsNotDecoded(t *testing.T) {
	a, _ := pair(t, nil, nil)
	r, err := a.Submit(soon(t), pconn.Request{Decode: func(pconn.Response) (any, error) { panic("not ok is not decoded") }})
	require.NoError(t, err)
	_, err = r.Value(soon(t))
	var remote *pconn.RemoteError
	require.ErrorAs(t, err, &remote)
	require.Equal(t, "no request handler", string(remote.Payload))
}

func TestResultCancel(t *testing.T) {
	p := raw(t, nil)
	r, err := p.conn.Submit(soon(t), pconn.Request{})
	require.NoError(t, err)
	tag := p.expectRequest(0, "")
	waiter := make(chan error, 1)
	go func() {
		_, err := r.Wait(context.Background())
		waiter <- err
	}()
	require.True(t, r.Cancel())
	require.False(t, r.Cancel())
	require.Equal(t, pconn.ErrCancelled, receiveFrom(t, waiter))
	receiveFrom(t, r.Done())
	_, err = r.Value(soon(t))
	require.Equal(t, pconn.ErrCancelled, err)
	p.write(response(tag, "late"))
	eventually(t, "the late answer is counted", func() bool { return p.conn.Counters().LateResponses.Load() == 1 })
}

func TestCancelRacesWithAnswer(t *testing.T) {
	a, _ := pair(t, nil, serve(echo))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				r, err := a.Submit(soon(t), pconn.Request{Payload: []byte("x")})
				if !assert.NoError(t, err) {
					return
				}
				cancelled := make(chan bool)
				go func() { cancelled <- r.Cancel() }()
				resp, err := r.Wait(soon(t))
				if <-cancelled {
					assert.Equal(t, pconn.ErrCancelled, err)
				} else {
					assert.NoError(t, err)
					assert.Equal(t, "x", string(resp.Payload))
				}
			}
		})
	}
	wg.Wait()
	require.Empty(t, a.InFlight())
	eventually(t, "all late answers came", func() bool { return a.Counters().LateResponses.Load() == a.Counters().Cancelled.Load() })
}
