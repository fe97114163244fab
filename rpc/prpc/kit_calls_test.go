package prpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/packetstream/packetstream/rpc/prpc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func remoteErr(t *testing.T, err error, status prpc.Status) *prpc.RemoteError {
	t.Helper()
	var remote *prpc.RemoteError
	require.ErrorAs(t, err, &remote)
	assert.Equal(t, status, remote.Status)
	return remote
}

func (k *kit) methodError(t *testing.T) {
	c := k.connect(t, nil)
	for _, fault := range [][2]string{{"ValueError", "bad value"}, {"RuntimeError", ""}, {"OSError", "é ünï"}} {
		_, err := c.Call(t.Context(), "util.fail", fault[0], fault[1])
		remote := remoteErr(t, err, prpc.StatusMethodError)
		assert.Equal(t, fault, [2]string{remote.CauseType, remote.CauseText})
		assert.Contains(t, err.Error(), fault[1])
	}
	_, err := c.Call(t.Context(), "util.fail_chain")
	remote := remoteErr(t, err, prpc.StatusMethodError)
	assert.Equal(t, "ValueError: outer", remote.CauseType+": "+remote.CauseText)
}

func (k *kit) streamErrors(t *testing.T) {
	c := k.connect(t, nil)
	for _, kind := range []prpc.CallType{prpc.IStream, prpc.OStream, prpc.BiStream} {
		_, err := k.start(t, c, kind, "util.fail", "KeyError", "k").Result(t.Context())
		assert.Equal(t, "KeyError", remoteErr(t, err, prpc.StatusMethodError).CauseType)
	}
	call := k.start(t, c, prpc.IStream, "util.fail", "ValueError", "v")
	_, err := call.Stream().Recv(t.Context())
	require.ErrorIs(t, err, io.EOF)
	_, err = call.Result(t.Context())
	remoteErr(t, err, prpc.StatusMethodError)
}

func (k *kit) notFound(t *testing.T) {
	c := k.connect(t, nil)
	for _, name := range []string{
		"nope", "", "echo", "echo.", "echo.nope", ".ping", "hidden", "echo.args.x", "__class__",
	} {
		_, err := c.Call(t.Context(), name)
		require.ErrorIs(t, err, prpc.ErrMethodNotFound, "%q", name)
	}
	_, err := k.start(t, c, prpc.BiStream, "nope").Result(t.Context())
	require.ErrorIs(t, err, prpc.ErrMethodNotFound)
	k.ping(t, c)
}

func (k *kit) serverError(t *testing.T) {
	c := k.connect(t, nil)
	_, err := c.Call(t.Context(), "broken.not_callable")
	remoteErr(t, err, prpc.StatusServerError)
	k.ping(t, c)
}

func (k *kit) unserializable(t *testing.T) {
	c := k.connect(t, nil)
	_, err := c.Call(t.Context(), "util.unserializable")
	remoteErr(t, err, prpc.StatusMethodError)
	k.ping(t, c)
}

type counters struct {
	Started   int `msgpack:"started"`
	Cancelled int `msgpack:"cancelled"`
}

func (k *kit) cancelUnary(t *testing.T) {
	c := k.connect(t, nil)
	counted := func() counters {
		got, err := prpc.Invoke[counters](t.Context(), c, "util.counters")
		require.NoError(t, err)
		return got
	}
	before := counted()
	call := k.start(t, c, prpc.Unary, "util.sleep", 30)
	require.Eventually(t, func() bool { return counted().Started > before.Started }, 5*time.Second, time.Millisecond)
	assert.True(t, call.Cancel())
	assert.False(t, call.Cancel())
	_, err := call.Result(t.Context())
	require.ErrorIs(t, err, prpc.ErrCancelled)
	require.Eventually(t, func() bool { return counted().Cancelled == before.Cancelled+1 }, 5*time.Second, time.Millisecond)
}

func (k *kit) cancelStream(t *testing.T) {
	c := k.connect(t, nil)
	for range 20 {
		call := k.start(t, c, prpc.BiStream, "echo.duplex")
		require.NoError(t, call.Stream().Send(t.Context(), 1))
		call.Cancel()
	}
	k.ping(t, c)
}

func (k *kit) cancelRaces(t *testing.T) {
	c := k.connect(t, nil)
	for n := range 50 {
		call := k.start(t, c, prpc.Unary, "echo.args", n)
		if call.Cancel() {
			_, err := call.Result(t.Context())
			require.ErrorIs(t, err, prpc.ErrCancelled)
		}
	}
	k.ping(t, c)
}

func (k *kit) callTimeout(t *testing.T) {
	c := k.connect(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.Call(ctx, "util.sleep", 30)
	assert.Equal(t, context.DeadlineExceeded, err)
	k.ping(t, c)
}

// all runs n functions at once and returns their errors.
func all(n int, f func(n int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (k *kit) parallelCalls(t *testing.T) {
	c := k.connect(t, nil)
	start := time.Now()
	require.NoError(t, all(300, func(int) error {
		_, err := c.Call(t.Context(), "util.sleep", 0.1)
		return err
	}))
	assert.Less(t, time.Since(start), 15*time.Second, "one by one it takes 30 s")
}

func (k *kit) parallelStreams(t *testing.T) {
	c := k.connect(t, nil)
	require.NoError(t, all(30, func(n int) error {
		call, err := c.Start(t.Context(), prpc.BiStream, "echo.duplex", n)
		if err != nil {
			return err
		}
		defer call.Cancel()
		for step := range 20 {
			if err := call.Stream().Send(t.Context(), []int{n, step}); err != nil {
				return err
			}
			got, err := prpc.Recv[[]int](t.Context(), call.Stream())
			if err != nil || got[0] != n || got[1] != step {
				return fmt.Errorf("stream %d step %d: %v, %w", n, step, got, err)
			}
		}
		_, err = prpc.Result[int](t.Context(), call)
		return err
	}))
}

func (k *kit) callBack(t *testing.T) {
	add, err := prpc.Func(func(a int, b *int) int { return a + *b }, "a", "b")
	require.NoError(t, err)
	methods, err := prpc.NewTree(prpc.Tree{"mine": prpc.Tree{
		"add":   add,
		"twice": twice,
		"bad":   func() error { return &prpc.Fault{Type: "ZeroDivisionError", Text: "mine"} },
	}})
	require.NoError(t, err)
	c := k.connect(t, &prpc.Options{Methods: methods})
	sum, err := prpc.Invoke[int](t.Context(), c, "util.call_back", "mine.add", 2, prpc.Keywords{"b": 3})
	require.NoError(t, err)
	assert.Equal(t, 5, sum)
	replies, err := c.Call(t.Context(), "util.call_back_stream", "mine.twice", []any{1, "x"})
	require.NoError(t, err)
	assert.Equal(t, []any{[]any{[]any{int64(1), int64(1)}, []any{"x", "x"}}, "end"}, replies)
	bad, err := prpc.Invoke[[]string](t.Context(), c, "util.call_back_error", "mine.bad")
	require.NoError(t, err)
	assert.Equal(t, []string{"ZeroDivisionError", "mine"}, bad[1:])
	absent, err := c.Call(t.Context(), "util.call_back_error", "mine.absent")
	require.NoError(t, err)
	assert.NotNil(t, absent)
	require.NoError(t, all(50, func(n int) error {
		got, err := prpc.Invoke[int](t.Context(), c, "util.call_back", "mine.add", n, prpc.Keywords{"b": 1})
		if err == nil && got != n+1 {
			err = fmt.Errorf("%d + 1 is %d", n, got)
		}
		return err
	}))
}

func (k *kit) calleeOverflow(t *testing.T) {
	c := k.connect(t, nil)
	call := k.start(t, c, prpc.OStream, "streams.never_read")
	for n := range 33 {
		require.NoError(t, call.Stream().Send(t.Context(), n))
	}
	ctx, cancel := context.WithTimeout(t.Context(), k.readTimeout+10*time.Second)
	defer cancel()
	_, err := call.Result(ctx)
	remoteErr(t, err, prpc.StatusServerError)
	k.ping(t, c)
}

func (k *kit) callerOverflow(t *testing.T) {
	c := k.connect(t, &prpc.Options{ReadTimeout: 100 * time.Millisecond})
	call := k.start(t, c, prpc.IStream, "streams.flood")
	<-call.Done()
	_, err := call.Result(t.Context())
	require.ErrorIs(t, err, prpc.ErrStreamOverflow)
	k.ping(t, c)
}

func (k *kit) clientCloses(t *testing.T) {
	c := k.connect(t, nil)
	call := k.start(t, c, prpc.Unary, "util.sleep", 30)
	require.NoError(t, c.Close())
	_, err := call.Result(t.Context())
	require.ErrorIs(t, err, prpc.ErrClosed)
	_, err = c.Call(t.Context(), "ping")
	require.ErrorIs(t, err, prpc.ErrClosed)
	assert.Equal(t, prpc.ConnClosed, c.State())
}

func (k *kit) serverCloses(t *testing.T) {
	c := k.connect(t, nil)
	_, err := c.Call(t.Context(), "util.close_connection")
	require.ErrorIs(t, err, prpc.ErrClosed)
	var closed *prpc.CloseError
	require.ErrorAs(t, err, &closed)
	assert.Equal(t, prpc.CloseNormal, closed.Code)
	<-c.Done()
	assert.Equal(t, prpc.ConnClosed, c.State())
}
