package mushroom_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/internal/livepeer"
	"github.com/packetstream/packetstream/rpc/mushroom"
)

// checks runs a program that prints a line a check and counts those that are ok.
func checks(t *testing.T, name string, args ...string) (ok int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = 5 * time.Second // for what it has started itself
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	assert.NoError(t, err)
	assert.NotContains(t, string(out), "FAIL")
	return len(regexp.MustCompile(`(?m)^ok `).FindAll(out, -1))
}

func TestLivePythonClient(t *testing.T) {
	python := livepeer.Python(t, "mushroom")
	_, service, url := newService(t, "secret", mushroom.ServerOptions{PollTimeout: time.Second})
	// Two of the checks hold the server to this loss; ours sends the data otherwise.
	service.LoseData.Store(true)
	assert.Equal(t, 40, checks(t, python, "testdata/peers/client.py", url, "--auth", `"secret"`))
}

func TestLiveBrowserClientOfTheOriginal(t *testing.T) {
	dir, node := livepeer.Dir(t, "mushroom-js"), livepeer.Node(t, 20)
	_, url := newTestService(t, nil, mushroom.ServerOptions{})
	assert.Equal(t, 16, checks(t, node, "--experimental-websocket", "testdata/peers/client_js.cjs",
		"--js", dir+"/mushroom.js", "--url", url))
}

// pythonServer starts the original's server and returns its address.
func pythonServer(t testing.TB, args ...string) (url string) {
	t.Helper()
	python := livepeer.Python(t, "mushroom")
	args = append([]string{"testdata/peers/server.py", "--stdin"}, args...)
	line := childtest.StartServer(t, exec.Command(python, args...))
	var port int
	_, err := fmt.Sscanf(line, "PORT %d", &port)
	require.NoError(t, err)
	return fmt.Sprintf("http://127.0.0.1:%d/", port)
}

// calls is what a server with the test service's methods must do for our client.
func calls(t *testing.T, url, transport string, original bool) {
	ctx := testContext(t)
	methods, took := clientMethods(t)
	s := dial(t, url, &mushroom.DialOptions{
		Transports: []string{transport}, Auth: "secret", Dispatcher: methods,
	})
	assert.Equal(t, transport, s.Transport())

	for _, value := range []any{nil, true, 0.0, -1.5, "", "é日\U0001f600\u2028\"<&>", []any{}, map[string]any{"a": []any{1.0}},
		strings.Repeat("x", 70000)} {
		got, err := mushroom.Call[any](ctx, s, "echo", value)
		require.NoError(t, err)
		assert.Equal(t, value, got)
	}

	for method, want := range map[string]string{
		"nope": `"rpc_nope"`, "fail_plain": `"Internal server error"`, "fail_rpc": `{"why":1}`,
	} {
		_, err := s.Request(ctx, method, map[string]int{"why": 1})
		var failed *mushroom.RequestError
		require.ErrorAs(t, err, &failed, method)
		assert.JSONEq(t, want, string(failed.Data))
	}

	for n := range 20 {
		require.NoError(t, s.Notify("note", n))
	}
	notes, err := mushroom.Call[[]int](ctx, s, "notes", nil)
	require.NoError(t, err)
	assert.Len(t, notes, 20)

	pushed, err := mushroom.Call[int](ctx, s, "push", []any{"take", "x", 30})
	require.NoError(t, err)
	assert.Equal(t, 30, pushed)
	for n := range 30 {
		assert.JSONEq(t, fmt.Sprintf(`[%d,"x"]`, n), string(<-took))
	}

	for _, ask := range []struct{ data, want string }{
		{`["double", {"a": 1}, 5]`, `["response", [{"a": 1}, {"a": 1}]]`},
		{`["refuse", "q", 5]`, `["error", "refused: q"]`},
		{`["absent", null, 5]`, `["error", "absent"]`},
		{`["hang", null, 0.2]`, `["timeout"]`},
	} {
		got, err := s.Request(ctx, "ask", json.RawMessage(ask.data))
		require.NoError(t, err)
		assert.JSONEq(t, ask.want, string(got))
	}

	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	_, err = s.Request(short, "slow", 0.5)
	cancel()
	assert.Equal(t, context.DeadlineExceeded, err)
	_, err = s.Request(ctx, "ping", nil)
	require.NoError(t, err)
	require.NoError(t, s.Flush(ctx))
	assert.Empty(t, s.Unacknowledged())

	if original && transport == mushroom.TransportWS {
		return // its server marks the session ended and says nothing until the next frame
	}
	dropped(t, s, original)
}

// dropped is what a session must do whose server ends it.
func dropped(t *testing.T, s *mushroom.Session, original bool) {
	t.Helper()
	// Whether the answer or the end comes first is the server's affair.
	_, err := s.Request(testContext(t), "drop_me", nil)
	if err != nil {
		assert.ErrorIs(t, err, mushroom.ErrSessionEnded)
	}
	<-s.Done()
	// The original tells only a poll in progress; the client may be between two.
	if !original || !errors.Is(s.Err(), mushroom.ErrExpired) {
		assert.ErrorIs(t, s.Err(), mushroom.ErrDisconnected)
	}
	assert.ErrorIs(t, s.Notify("note", 1), mushroom.ErrSessionEnded)
}

// clientMethods are what the client offers in tests, and what its method "take" got.
func clientMethods(t testing.TB) (*mushroom.Registry, <-chan json.RawMessage) {
	t.Helper()
	took := make(chan json.RawMessage, 1000)
	var methods mushroom.Registry
	for name, f := range map[string]mushroom.HandlerFunc{
		"take": func(_ context.Context, r *mushroom.Request) (any, error) {
			took <- r.Data
			return nil, nil
		},
		"broadcast": func(context.Context, *mushroom.Request) (any, error) { return nil, nil },
		"double": mushroom.Func(func(_ context.Context, v any) ([2]any, error) {
			return [2]any{v, v}, nil
		}),
		"refuse": mushroom.Func(func(_ context.Context, why string) (any, error) {
			return nil, &mushroom.RPCError{Data: "refused: " + why}
		}),
		"hang": func(ctx context.Context, _ *mushroom.Request) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	} {
		require.NoError(t, methods.Register(name, f))
	}
	return &methods, took
}

func TestLivePythonServer(t *testing.T) {
	url := pythonServer(t, "--auth", `"secret"`, "--poll-timeout", "1")
	for _, transport := range []string{"ws", "poll"} {
		t.Run(transport, func(t *testing.T) { calls(t, url, transport, true) })
	}
	t.Run("auth", func(t *testing.T) {
		_, err := mushroom.Dial(testContext(t), url, &mushroom.DialOptions{Auth: "wrong"})
		assert.True(t, errors.Is(err, mushroom.ErrUnauthorized), "%v", err)
	})
}

func TestClientAndServer(t *testing.T) {
	_, url := newTestService(t, "secret", mushroom.ServerOptions{})
	for _, transport := range []string{"ws", "poll"} {
		t.Run(transport, func(t *testing.T) { calls(t, url, transport, false) })
	}
	t.Run("auth", func(t *testing.T) {
		_, err := mushroom.Dial(testContext(t), url, &mushroom.DialOptions{Auth: "wrong"})
		assert.ErrorIs(t, err, mushroom.ErrUnauthorized)
	})
}
