//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lockedBuffer is an output that is read while a command writes it.
type lockedBuffer struct {
	mu     sync.Mutex // guards buffer
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// runMushroom runs "packetstream mushroom ARGS".
func runMushroom(ctx context.Context, in io.Reader, args ...string) (stdout, stderr string, err error) {
	var out, errs lockedBuffer
	root := newRootCommand()
	root.SetArgs(append([]string{"mushroom"}, args...))
	root.SetIn(in)
	root.SetOut(&out)
	root.SetErr(&errs)
	err = root.ExecuteContext(ctx)
	return out.String(), errs.String(), err
}

// startMushroom runs "packetstream mushroom serve ARGS" until the test's end and returns its address.
func startMushroom(t *testing.T, args ...string) string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var errs lockedBuffer
	root := newRootCommand()
	root.SetArgs(append([]string{"mushroom", "serve", "--listen", "localhost:0"}, args...))
	root.SetOut(io.Discard)
	root.SetErr(&errs)
	done := make(chan error, 1)
	go func() { done <- root.ExecuteContext(ctx) }()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-done)
	})
	address := regexp.MustCompile(`listening on (http://\S+)`)
	require.Eventually(t, func() bool { return address.MatchString(errs.String()) }, 10*time.Second, time.Millisecond)
	return address.FindStringSubmatch(errs.String())[1]
}

func mushroomContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestMushroomCall(t *testing.T) {
	url := startMushroom(t, "--auth", `"secret"`, "--path", "/rpc/", "--verbose")
	assert.True(t, strings.HasSuffix(url, "/rpc/"))
	for _, transport := range []string{"ws", "poll", "poll,ws"} {
		flags := []string{"--transport", transport, "--auth", `"secret"`}
		call := func(in string, args ...string) (string, string, error) {
			return runMushroom(mushroomContext(t), strings.NewReader(in), append(append([]string{"call", url}, args...), flags...)...)
		}
		out, _, err := call("", "echo", `{"a": [1, "é"]}`)
		require.NoError(t, err)
		assert.Equal(t, "{\"a\":[1,\"é\"]}\n", out)

		out, _, err = call(`[1, 2]`, "echo", "-")
		require.NoError(t, err)
		assert.Equal(t, "[1,2]\n", out)

		out, _, err = call("", "nope")
		require.ErrorContains(t, err, `"rpc_nope"`)
		assert.Equal(t, exitFailed, exitCode(err))
		assert.Empty(t, out)

		out, _, err = call("", "note", "1", "--notify")
		require.NoError(t, err)
		assert.Empty(t, out)
	}
	_, _, err := runMushroom(mushroomContext(t), nil, "call", url, "ping")
	require.ErrorContains(t, err, "authentication failed")
	assert.Equal(t, exitLost, exitCode(err))
}

func TestMushroomFollow(t *testing.T) {
	url := startMushroom(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	out, _, err := runMushroom(ctx, nil, "call", url, "push", `["tick", "x", 3]`, "--follow")
	require.NoError(t, err)
	var ticks []string
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "{") {
			assert.Equal(t, "3\n", line, "the answer")
			continue
		}
		var n struct {
			Method string
			Data   json.RawMessage
		}
		require.NoError(t, json.Unmarshal([]byte(line), &n))
		assert.Equal(t, "tick", n.Method)
		ticks = append(ticks, string(n.Data))
	}
	assert.Equal(t, []string{`[0,"x"]`, `[1,"x"]`, `[2,"x"]`}, ticks)

	_, _, err = runMushroom(mushroomContext(t), nil, "call", url, "drop_me", "--follow")
	require.ErrorContains(t, err, "session ended")

	_, _, err = runMushroom(mushroomContext(t), nil, "call", url, "slow", "9", "--timeout", "50ms")
	assert.Equal(t, exitTimeout, exitCode(err))
}

func TestMushroomCallRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		"no URL":             {"call"},
		"no method":          {"call", "http://localhost:1/"},
		"too many arguments": {"call", "http://localhost:1/", "m", "1", "2"},
		"is no JSON":         {"call", "http://localhost:1/", "m", "text"},
		"auth":               {"call", "http://localhost:1/", "m", "--auth", "{"},
		"no command":         {"call", "m", "--"},
		"no-such-program":    {"call", "m", "--", "no-such-program"},
		"refused":            {"call", "http://127.0.0.1:1/", "m"},
		"address":            {"serve", "--listen", "nonsense"},
		"auth: ":             {"serve", "--auth", "{"},
		"none of the others": {"serve", "--demo", "--stdio"},
		"unknown transport":  {"serve", "--transport", "pigeon"},
	} {
		_, stderr, err := runMushroom(mushroomContext(t), nil, args...)
		require.Error(t, err, "%q", args)
		assert.Contains(t, stderr+err.Error(), want, "%q", args)
	}
}

func TestMushroomDemo(t *testing.T) {
	url := startMushroom(t, "--demo")
	defer http.DefaultClient.CloseIdleConnections()
	response, err := http.Get(url)
	require.NoError(t, err)
	page, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Contains(t, string(page), "<title>mushroom demo</title>")
	out, _, err := runMushroom(mushroomContext(t), nil, "call", url+"rpc/", "ping")
	require.NoError(t, err)
	assert.Equal(t, "\"pong\"\n", out)
}

// TestMushroomOverPipes calls a copy of this program by its standard input and output.
func TestMushroomOverPipes(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	t.Setenv("MUSHROOM_TEST_STDIO", "1")
	out, stderr, err := runMushroom(mushroomContext(t), nil, "call", "echo", `"by pipe"`, "--", self, "-test.run", "TestMushroomStdioChild")
	require.NoError(t, err, stderr)
	assert.Equal(t, "\"by pipe\"\n", out)

	out, _, err = runMushroom(mushroomContext(t), nil, "call", "m", "--dry-run", "--", "helper", "--flag")
	require.NoError(t, err)
	assert.Equal(t, "helper --flag\n", out)
}

// TestMushroomStdioChild is what TestMushroomOverPipes starts.
func TestMushroomStdioChild(t *testing.T) {
	if os.Getenv("MUSHROOM_TEST_STDIO") == "" {
		t.Skip("is started by TestMushroomOverPipes")
	}
	root := newRootCommand()
	root.SetArgs([]string{"mushroom", "serve", "--stdio"})
	if root.ExecuteContext(context.Background()) != nil {
		os.Exit(1)
	}
	os.Exit(0)
}
