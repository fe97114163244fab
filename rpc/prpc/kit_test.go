package prpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/packetstream/packetstream/internal/prpctest"
	"github.com/packetstream/packetstream/rpc/prpc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// kit runs the checks of the kit's client.py with our client, against any server that
// offers the kit's services.
type kit struct {
	url         string
	readTimeout time.Duration // the server's
}

func (k *kit) connect(t *testing.T, o *prpc.Options) *prpc.Conn {
	t.Helper()
	c, err := prpc.Dial(t.Context(), k.url, o)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = c.Close()
		c.Wait()
	})
	return c
}

func (k *kit) run(t *testing.T) {
	checks := []struct {
		name  string
		check func(*kit, *testing.T)
	}{
		{"handshake", (*kit).handshake},
		{"unary_values", (*kit).unaryValues},
		{"unary_kwargs", (*kit).unaryKwargs},
		{"large_payload", (*kit).largePayload},
		{"all_call_types_on_one_method", (*kit).allCallTypes},
		{"istream_ended_by_result", func(k *kit, t *testing.T) { k.istream(t, 0, 1, 31, 32, 33, 200) }},
		{"istream_ended_by_close", func(k *kit, t *testing.T) { k.istream(t, 0, 1, 32, 200, true) }},
		{"istream_left_early_is_cancelled", (*kit).leftEarly},
		{"istream_result_asked_first_closes_it", (*kit).askedFirst},
		{"ostream", (*kit).ostream},
		{"bistream_lockstep", (*kit).lockstep},
		{"bistream_closed_by_callee", (*kit).closedByCallee},
		{"method_error", (*kit).methodError},
		{"error_in_every_stream_type", (*kit).streamErrors},
		{"method_not_found", (*kit).notFound},
		{"server_error", (*kit).serverError},
		{"unserializable_return", (*kit).unserializable},
		{"cancel_unary", (*kit).cancelUnary},
		{"cancel_stream_then_reuse", (*kit).cancelStream},
		{"cancel_races_with_result", (*kit).cancelRaces},
		{"call_timeout", (*kit).callTimeout},
		{"parallel_calls", (*kit).parallelCalls},
		{"parallel_streams", (*kit).parallelStreams},
		{"call_back_into_the_caller", (*kit).callBack},
		{"callee_buffer_overflow", (*kit).calleeOverflow},
		{"caller_buffer_overflow", (*kit).callerOverflow},
		{"client_close_fails_pending_calls", (*kit).clientCloses},
		{"server_close_fails_pending_calls", (*kit).serverCloses},
	}
	require.Len(t, checks, 28)
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.check(k, t) })
	}
}

// Our client passes the kit's list against our own server.
func TestKitAgainstOurServer(t *testing.T) {
	methods, err := prpctest.Services()
	require.NoError(t, err)
	handler := prpc.NewServer(&prpc.Options{Methods: methods, ReadTimeout: 300 * time.Millisecond})
	server := httptest.NewServer(handler)
	defer server.Close()
	defer func() { _ = handler.Close() }()
	k := &kit{url: wsURL(server), readTimeout: 300 * time.Millisecond}
	k.run(t)
}

func (k *kit) handshake(t *testing.T) {
	data := map[string]any{"who": "kit", "n": []any{int64(1), []byte{0}}}
	c := k.connect(t, &prpc.Options{Data: data})
	got, err := prpc.Invoke[[]any](t.Context(), c, "util.handshake")
	require.NoError(t, err)
	assert.Equal(t, []any{data, c.ID()}, got)
	assert.Len(t, c.ID(), 32)
	assert.NotEqual(t, c.ID(), k.connect(t, nil).ID())
}

func (k *kit) unaryValues(t *testing.T) {
	c := k.connect(t, nil)
	longList := make([]any, 70000)
	for i := range longList {
		longList[i] = int64(i)
	}
	for i, args := range [][]any{
		{},
		{"text", []byte("bytes"), int64(1), 1.5, true, false, nil},
		{int64(0), int64(127), int64(128), int64(255), int64(65536), int64(1<<63 - 1), uint64(1<<64 - 1)},
		{int64(-1), int64(-32), int64(-33), int64(-129), int64(-32769), int64(-1 << 63)},
		{"", "é", "日本語", "\U0001f600", strings.Repeat("x", 65536)},
		{[]byte{}, []byte{0, 255}, make([]byte, 65536)},
		{[]any{}, []any{[]any{}}, longList},
		{map[string]any{}, prpc.Map{{Key: []byte("bytes key"), Value: "v"}}, prpc.Map{{Key: int64(1), Value: "int key"}}},
		{1e308, 5e-324},
	} {
		got, err := c.Call(t.Context(), "echo.args", args...)
		require.NoError(t, err)
		assert.Equal(t, args, got, "values %d", i)
	}
}

func (k *kit) unaryKwargs(t *testing.T) {
	c := k.connect(t, nil)
	keywords := prpc.Keywords{"a": int64(1), "b": []any{[]byte("x"), nil}, "é": map[string]any{"z": 2.5}}
	got, err := prpc.Invoke[prpc.Keywords](t.Context(), c, "echo.kwargs", keywords)
	require.NoError(t, err)
	assert.Equal(t, keywords, got)
	both, err := c.Call(t.Context(), "echo.both", 1, "two", prpc.Keywords{"k": 3})
	require.NoError(t, err)
	assert.Equal(t, []any{[]any{int64(1), "two"}, map[string]any{"k": int64(3)}, "echo.both", int64(20)}, both)
	k.ping(t, c)
}

func (k *kit) ping(t *testing.T, c *prpc.Conn) {
	t.Helper()
	pong, err := prpc.Invoke[string](t.Context(), c, "ping")
	require.NoError(t, err)
	assert.Equal(t, "pong", pong)
}

func (k *kit) largePayload(t *testing.T) {
	c := k.connect(t, nil)
	for _, size := range []int{100_000, 1_000_000, 3_900_000} {
		got, err := prpc.Invoke[[][]byte](t.Context(), c, "echo.args", make([]byte, size))
		require.NoError(t, err)
		assert.Len(t, got[0], size)
	}
}

func (k *kit) start(t *testing.T, c *prpc.Conn, kind prpc.CallType, method string, args ...any) *prpc.Call {
	t.Helper()
	call, err := c.Start(t.Context(), kind, method, args...)
	require.NoError(t, err)
	t.Cleanup(func() { call.Cancel() })
	return call
}

func result(t *testing.T, call *prpc.Call) any {
	t.Helper()
	got, err := call.Result(t.Context())
	require.NoError(t, err)
	return got
}

func messages(t *testing.T, call *prpc.Call) []any {
	t.Helper()
	got := []any{}
	for m, err := range call.Stream().All(t.Context()) {
		require.NoError(t, err)
		got = append(got, m)
	}
	return got
}

func (k *kit) allCallTypes(t *testing.T) {
	c := k.connect(t, nil)
	assert.Equal(t, []any{"unary", int64(1), int64(2)}, result(t, k.start(t, c, prpc.Unary, "echo.any_type", 1, 2)))
	in := k.start(t, c, prpc.IStream, "echo.any_type", 1, "b")
	assert.Equal(t, []any{int64(1), "b"}, messages(t, in))
	assert.Equal(t, "istream", result(t, in))
	out := k.start(t, c, prpc.OStream, "echo.any_type")
	require.NoError(t, out.Stream().Send(t.Context(), map[string]any{"x": []byte("1")}))
	assert.Equal(t, []any{"ostream", map[string]any{"x": []byte("1")}}, result(t, out))
	both := k.start(t, c, prpc.BiStream, "echo.any_type")
	require.NoError(t, both.Stream().Send(t.Context(), "there"))
	got, err := both.Stream().Recv(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "there", got)
	assert.Equal(t, "bistream", result(t, both))
}

// istream takes counts, and true if the callee closes first.
func (k *kit) istream(t *testing.T, counts ...any) {
	c := k.connect(t, nil)
	first := counts[len(counts)-1] == true
	for _, n := range counts {
		count, ok := n.(int)
		if !ok {
			continue
		}
		call := k.start(t, c, prpc.IStream, "streams.emit", count, first)
		assert.Len(t, messages(t, call), count)
		assert.Equal(t, prpc.StreamClosed, call.Stream().State())
		assert.Equal(t, int64(count), result(t, call))
	}
}

func (k *kit) leftEarly(t *testing.T) {
	c := k.connect(t, nil)
	call := k.start(t, c, prpc.IStream, "streams.flood")
	for want := range 10 {
		m, err := prpc.Recv[[]any](t.Context(), call.Stream())
		require.NoError(t, err)
		assert.EqualValues(t, want, m[0])
	}
	assert.True(t, call.Cancel())
	k.ping(t, c)
	assert.Zero(t, c.Active())
}

func (k *kit) askedFirst(t *testing.T) {
	c := k.connect(t, nil)
	call := k.start(t, c, prpc.IStream, "streams.flood")
	_, err := call.Stream().Recv(t.Context())
	require.NoError(t, err)
	_, err = call.Result(t.Context())
	var remote *prpc.RemoteError
	require.ErrorAs(t, err, &remote)
	assert.Equal(t, prpc.StatusMethodError, remote.Status)
	assert.Equal(t, "InvalidStreamState", remote.CauseType)
}

func (k *kit) ostream(t *testing.T) {
	c := k.connect(t, nil)
	call := k.start(t, c, prpc.OStream, "streams.collect")
	want := []any{}
	for n := range 137 {
		item := []any{int64(n), []byte("d")}
		want = append(want, item)
		require.NoError(t, call.Stream().Send(t.Context(), item))
	}
	require.NoError(t, call.Stream().Close())
	assert.Equal(t, want, result(t, call))
	for kind, count := range map[prpc.CallType]int{prpc.OStream: 500, prpc.BiStream: 40} {
		call := k.start(t, c, kind, "streams.count")
		for n := range count {
			require.NoError(t, call.Stream().Send(t.Context(), n))
		}
		assert.EqualValues(t, count, result(t, call))
	}
	assert.EqualValues(t, 0, result(t, k.start(t, c, prpc.OStream, "streams.count")))
}

func (k *kit) lockstep(t *testing.T) {
	c := k.connect(t, nil)
	call := k.start(t, c, prpc.BiStream, "echo.duplex", "done")
	for _, m := range []any{"t", []byte("b"), int64(0), false, map[string]any{"k": []any{int64(1)}}, strings.Repeat("x", 20000)} {
		require.NoError(t, call.Stream().Send(t.Context(), m))
		got, err := call.Stream().Recv(t.Context())
		require.NoError(t, err)
		assert.Equal(t, m, got)
	}
	assert.Equal(t, "done", result(t, call))
	assert.EqualValues(t, 5, result(t, k.start(t, c, prpc.BiStream, "echo.duplex", prpc.Keywords{"result": 5})))
}

func (k *kit) closedByCallee(t *testing.T) {
	c := k.connect(t, nil)
	call := k.start(t, c, prpc.BiStream, "streams.close_first", 2)
	require.NoError(t, call.Stream().Send(t.Context(), "a"))
	require.NoError(t, call.Stream().Send(t.Context(), "b"))
	_, err := call.Stream().Recv(t.Context())
	require.ErrorIs(t, err, io.EOF)
	require.ErrorIs(t, call.Stream().Send(t.Context(), "late"), prpc.ErrStreamClosed)
	assert.Equal(t, []any{"a", "b"}, result(t, call).([]any)[0])
}

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
