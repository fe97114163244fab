package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// When it is started by TestPRPCSubprocess, the test is the command.
func TestMain(m *testing.M) {
	if os.Getenv("PACKETSTREAM_TEST_COMMAND") != "" {
		os.Exit(run(context.Background(), os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

// command runs the command line and returns what it printed.
func command(ctx context.Context, in string, args ...string) (string, error) {
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
	root.SetOut(w)
	served := make(chan error, 1)
	go func() { served <- root.ExecuteContext(ctx) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-served)
	})
	url, err := bufio.NewReader(r).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(url)
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
			got, err := command(t.Context(), row.in, append([]string{"prpc", "call"}, row.args...)...)
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
		"timeout":        {"", []string{"--timeout", "10ms", url, "util.sleep", "30"}, "deadline exceeded"},
		"bad input":      {"x\n", []string{"--type", "ostream", url, "streams.count"}, "bad JSON"},
		"failing stream": {"", []string{"--type", "istream", url, "util.fail", `"OSError"`, `"away"`}, "away (OSError)"},
		"no command":     {"", []string{"ping", "--", "/no/such/command"}, "no such file"},
		"wrong command":  {"", []string{"ping", "--", "true"}, "connection closed"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := command(t.Context(), row.in, append([]string{"prpc", "call"}, row.args...)...)
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
		_, err := command(t.Context(), "", append([]string{"prpc", "call"}, args...)...)
		assert.Equal(t, code, exitCode(err), "%v", err)
	}
}

func TestPRPCServeRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		"there is only test": {"--handler", "x"},
		"--data: bad JSON":   {"--data", "x"},
		"listen tcp":         {"--listen", "nowhere:-1"},
	} {
		_, err := command(t.Context(), "", append([]string{"prpc", "serve"}, args...)...)
		require.ErrorContains(t, err, want)
	}
}

// Over the pipes of a subprocess.
func TestPRPCSubprocess(t *testing.T) {
	t.Setenv("PACKETSTREAM_TEST_COMMAND", "1")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	server := []string{os.Args[0], "prpc", "serve", "--stdio", "--handler", "test"}
	got, err := command(ctx, "", append([]string{"prpc", "call", "echo.args", "1", "--"}, server...)...)
	require.NoError(t, err)
	assert.Equal(t, "[1]\n", got)
	_, err = command(ctx, "", append([]string{"prpc", "call", "nope", "--"}, server...)...)
	require.ErrorContains(t, err, "not found")
	got, err = command(ctx, "", append([]string{"prpc", "call", "--dry-run", "ping", "--"}, server...)...)
	require.NoError(t, err)
	assert.Equal(t, strings.Join(server, " ")+"\n", got)
}
