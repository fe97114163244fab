package prpc_test

import (
	"io"
	"net/http/httptest"
	"strings"
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
