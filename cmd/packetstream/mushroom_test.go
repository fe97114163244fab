//go:build unix

package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/syncbuf"
)

// output is where a command writes while others read.
type output struct {
	syncbuf.Buffer
	written func(string) // if set, is told of all that was written after each write
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.Buffer.Write(p)
	if o.written != nil {
		o.written(o.String())
	}
	return n, err
}

// runMushroom runs "packetstream mushroom ARGS".
func runMushroom(ctx context.Context, in io.Reader, args ...string) (stdout, stderr string, err error) {
	return runMushroomInto(ctx, &output{}, in, args...)
}

func runMushroomInto(ctx context.Context, out *output, in io.Reader, args ...string) (stdout, stderr string, err error) {
	var errs syncbuf.Buffer
	root := newRootCommand()
	root.SetArgs(append([]string{"mushroom"}, args...))
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(&errs)
	err = root.ExecuteContext(ctx)
	return out.String(), errs.String(), err
}

// startMushroom runs "packetstream mushroom serve ARGS" until the test's end and returns its address.
func startMushroom(t *testing.T, args ...string) string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var errs syncbuf.Buffer
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
	address := regexp.MustCompile(`LISTENING (http://\S+)`)
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
	ctx, cancel := context.WithCancel(mushroomContext(t))
	defer cancel()
	out, _, err := runMushroomInto(ctx, &output{written: func(text string) {
		if strings.Count(text, "\n") == 4 {
			cancel()
		}
	}}, nil, "call", url, "push", `["tick", "x", 3]`, "--follow")
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
		"group [demo stdio]": {"serve", "--demo", "--stdio"},
		"group [demo auth]":  {"serve", "--demo", "--auth", "1"},
		"group [stdio auth]": {"serve", "--stdio", "--auth", "1"},
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
	got := packetstream(t, "mushroom", "call", "echo", `"by pipe"`, "--", self(t), "mushroom", "serve", "--stdio")
	assert.Equal(t, ran{exitOK, "\"by pipe\"\n", ""}, got)
}

func TestMushroomCallDryRun(t *testing.T) {
	for want, args := range map[string][]string{
		"would start exec:helper --flag\n":       {"m", "--dry-run", "--", "helper", "--flag"},
		"would connect to http://localhost:1/\n": {"http://localhost:1/", "m", "--dry-run"},
	} {
		out, _, err := runMushroom(mushroomContext(t), nil, append([]string{"call"}, args...)...)
		require.NoError(t, err)
		assert.Equal(t, want, out)
	}
}

func TestMushroomPathWithoutSlash(t *testing.T) {
	url := startMushroom(t, "--path", "rpc")
	assert.True(t, strings.HasSuffix(url, "/rpc"), url)
	out, _, err := runMushroom(mushroomContext(t), nil, "call", url, "ping")
	require.NoError(t, err)
	assert.Equal(t, "\"pong\"\n", out)
}
