//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// prpcCommand runs a command line in this process and returns what it printed.
func prpcCommand(ctx context.Context, in string, args ...string) (string, error) {
	var out bytes.Buffer
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(strings.NewReader(in))
	root.SetOut(&out)
	root.SetErr(io.Discard)
	err := root.ExecuteContext(ctx)
	return out.String(), err
}

// servePRPC starts a server and returns its URL.
func servePRPC(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	root := newRootCommand()
	root.SetArgs(append([]string{"prpc", "serve", "--listen", "127.0.0.1:0"}, args...))
	root.SetOut(io.Discard)
	root.SetErr(w)
	served := make(chan error, 1)
	go func() { served <- root.ExecuteContext(ctx) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-served)
	})
	line, err := bufio.NewReader(r).ReadString('\n')
	require.NoError(t, err)
	url, found := strings.CutPrefix(strings.TrimSpace(line), "LISTENING ")
	require.True(t, found, line)
	return url
}

func TestPRPCCall(t *testing.T) {
	url := servePRPC(t, "--path", "/rpc", "--data", `"from server"`, "--trace")
	assert.True(t, strings.HasSuffix(url, "/rpc"), url)
	for name, row := range map[string]struct {
		in   string
		args []string
		want string
	}{
		"unary":    {"", []string{url, "echo.args", "1", `"two"`, `{"$bin": "33"}`}, `[1,"two",{"$bin":"33"}]` + "\n"},
		"keywords": {"", []string{"-k", "a=1", "-k", `b={"c": null}`, url, "echo.kwargs"}, `{"a":1,"b":{"c":null}}` + "\n"},
		"data":     {"", []string{"--data", `{"who": "me"}`, url, "util.handshake"}, `[{"who":"me"},"`},
		"istream":  {"", []string{"--type", "istream", "-k", "count=2", url, "streams.emit"}, "0\n1\n2\n"},
		"ostream":  {"1\n\"b\"\n", []string{"--type", "ostream", url, "streams.collect"}, `[1,"b"]` + "\n"},
		"bistream": {"1\n2\n", []string{"--json", "--type", "bistream", url, "echo.duplex", `"end"`},
			`{"message":1}` + "\n" + `{"message":2}` + "\n" + `{"result":"end"}` + "\n"},
		"closed by the method": {"1\n2\n3\n", []string{"--type", "bistream", url, "streams.close_first", "1"},
			`[[1],"InvalidStreamState"]` + "\n"},
		"timeout that is met": {"", []string{"--timeout", "1m", url, "ping"}, `"pong"` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := prpcCommand(t.Context(), row.in, append([]string{"prpc", "call"}, row.args...)...)
			require.NoError(t, err)
			assert.True(t, strings.HasPrefix(got, row.want), got)
		})
	}
	for name, row := range map[string]struct {
		in   string
		args []string
		want string
	}{
		"not found":      {"", []string{url, "nope"}, "method 'nope' is not found"},
		"failure":        {"", []string{url, "util.fail", `"OSError"`, `"away"`}, "away (OSError)"},
		"bad argument":   {"", []string{url, "ping", "hello"}, `argument 1, hello: bad JSON value`},
		"bad keyword":    {"", []string{"-k", "a", url, "ping"}, "not NAME=JSON"},
		"bad value":      {"", []string{"-k", "a=x", url, "ping"}, "--keyword a: bad JSON"},
		"bad data":       {"", []string{"--data", "x", url, "ping"}, "--data: bad JSON"},
		"bad type":       {"", []string{"--type", "x", url, "ping"}, "not unary, istream"},
		"no method":      {"", []string{url}, "no METHOD given"},
		"no server":      {"", []string{"ws://127.0.0.1:1/", "ping"}, "refused"},
		"timeout":        {"", []string{"--timeout", "10ms", url, "util.sleep", "30"}, "time was up after 10ms"},
		"bad timeout":    {"", []string{"--timeout", "-1s", url, "ping"}, "from 0 up"},
		"bad input":      {"x\n", []string{"--type", "ostream", url, "streams.count"}, "bad JSON"},
		"failing stream": {"", []string{"--type", "istream", url, "util.fail", `"OSError"`, `"away"`}, "away (OSError)"},
		"no command":     {"", []string{"ping", "--", "/no/such/command"}, "no such file"},
		"wrong command":  {"", []string{"ping", "--", "true"}, "connection closed"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := prpcCommand(t.Context(), row.in, append([]string{"prpc", "call"}, row.args...)...)
			require.ErrorContains(t, err, row.want)
		})
	}
}

// The exit codes are those of the other commands.
func TestPRPCExitCodes(t *testing.T) {
	url := servePRPC(t)
	for code, args := range map[int][]string{
		exitOK:      {url, "ping"},
		exitFailed:  {url, "nope"},
		exitUsage:   {url, "ping", "hello"},
		exitLost:    {"ws://127.0.0.1:1/", "ping"},
		exitTimeout: {"--timeout", "10ms", url, "util.sleep", "30"},
	} {
		_, err := prpcCommand(t.Context(), "", append([]string{"prpc", "call"}, args...)...)
		assert.Equal(t, code, exitCode(err), "%v", err)
	}
}

func TestPRPCServeRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		"there is only test": {"--handler", "x"},
		"--data: bad JSON":   {"--data", "x"},
		"listen tcp":         {"--listen", "nowhere:-1"},
	} {
		_, err := prpcCommand(t.Context(), "", append([]string{"prpc", "serve"}, args...)...)
		require.ErrorContains(t, err, want)
	}
}

// Over the pipes of a subprocess, all of them processes.
func TestPRPCSubprocess(t *testing.T) {
	server := []string{self(t), "prpc", "serve", "--stdio", "--handler", "test"}
	call := func(peer []string, args ...string) ran {
		t.Helper()
		return packetstream(t, append(append([]string{"prpc", "call"}, args...), append([]string{"--"}, peer...)...)...)
	}
	assert.Equal(t, ran{exitOK, "[1]\n", ""}, call(server, "echo.args", "1"))
	assert.Equal(t, ran{exitOK, "0\n1\n2\n", ""}, call(server, "--type", "istream", "-k", "count=2", "streams.emit"))

	got := call(server, "nope")
	assert.Equal(t, exitFailed, got.code)
	assert.Contains(t, got.stderr, "method 'nope' is not found")

	got = call(server, "--timeout", "100ms", "util.sleep", "30")
	assert.Equal(t, exitTimeout, got.code)
	assert.Contains(t, got.stderr, "time was up after 100ms")

	// A command that neither speaks nor ends is killed, with what it started.
	got = call([]string{"sh", "-c", "sleep 1000; true"}, "--timeout", "100ms", "ping")
	assert.Equal(t, exitTimeout, got.code)
	got = call([]string{"sh", "-c", "exit 7"}, "ping")
	assert.Equal(t, exitLost, got.code)
	assert.Contains(t, got.stderr, "connection closed")

	// A result that came counts, but a server that fails after it is told of.
	got = call([]string{"sh", "-c", `"$0" "$@"; exit 7`, server[0], "prpc", "serve", "--stdio"}, "ping")
	assert.Equal(t, exitLost, got.code)
	assert.Equal(t, "\"pong\"\n", got.stdout)
	assert.Contains(t, got.stderr, "exit status 7")
}

func TestPRPCDryRun(t *testing.T) {
	got, err := prpcCommand(t.Context(), "", "prpc", "call", "--dry-run", "ping", "--", "server", "a b")
	require.NoError(t, err)
	assert.Equal(t, "would start exec:server 'a b'\n", got)
	got, err = prpcCommand(t.Context(), "", "prpc", "call", "--dry-run", "ws://nowhere.example/", "ping")
	require.NoError(t, err)
	assert.Equal(t, "would connect to ws://nowhere.example/\n", got)
}

// Input that does not come holds up neither the time limit nor an interrupt.
func TestPRPCInputThatDoesNotCome(t *testing.T) {
	url := servePRPC(t)
	in, out, err := os.Pipe()
	require.NoError(t, err)
	defer func() { _, _ = in.Close(), out.Close() }()
	cmd := command(t, "prpc", "call", "--type", "ostream", "--timeout", "100ms", url, "streams.count")
	cmd.Stdin = in
	assert.Equal(t, exitTimeout, runs(t, cmd).code)
}

// The server ends in good order with a signal, and is not for terminals.
func TestPRPCServeEnds(t *testing.T) {
	for _, args := range [][]string{{"--listen", "127.0.0.1:0"}, {"--stdio"}} {
		cmd := command(t, append([]string{"prpc", "serve"}, args...)...)
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		says := cmd.StderrPipe
		if len(args) == 1 {
			says = cmd.StdoutPipe
		}
		out, err := says()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		if len(args) == 1 {
			// A handshake, and its answer: the server is up.
			_, err = in.Write([]byte("\x00\x00\x00\x07\x93\x01\x01\x93\x01\xc0\xc0"))
			require.NoError(t, err)
		}
		_, err = out.Read(make([]byte, 1))
		require.NoError(t, err)
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		_, _ = io.Copy(io.Discard, out)
		assert.Equal(t, 0, exitStatus(t, cmd.Wait()), "%v", args)
	}

	terminal, other, err := pty.Open()
	require.NoError(t, err)
	defer func() { _, _ = terminal.Close(), other.Close() }()
	cmd := command(t, "prpc", "serve", "--stdio")
	cmd.Stdin = other
	got := runs(t, cmd)
	assert.Equal(t, exitUsage, got.code)
	assert.Contains(t, got.stderr, "it is a terminal")
}
