//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/testservice"
	"github.com/packetstream/packetstream/pconn"
)

// asVariable makes the test binary another program, so that tests run real processes.
const asVariable = "PACKETSTREAM_TEST_AS"

func TestMain(m *testing.M) {
	switch os.Getenv(asVariable) {
	case "":
		if signal.Ignored(syscall.SIGHUP) { // as by nohup, which processes of the tests would inherit
			signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
		}
		goleak.VerifyTestMain(m)
	case "packetstream":
		main()
	case "wrong":
		os.Exit(serveOverStdio(pconn.Options{Handler: wrongFlags{testservice.New(version())}}))
	case "ordered":
		os.Exit(serveOverStdio(pconn.Options{Handler: neverBack{testservice.New(version())}, MaxHandlers: 1}))
	case "bare":
		os.Exit(echoBarely())
	}
}

// serveOverStdio serves over standard input and output, and returns the status to exit with.
func serveOverStdio(opts pconn.Options) int {
	if err := endpoint.ServeStdio(context.Background(), &opts); err != nil {
		return exitLost
	}
	return exitOK
}

// wrongFlags is the test service with one answer that is wrong.
type wrongFlags struct{ *testservice.Service }

func (s wrongFlags) ServePacket(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
	if req.Type == testservice.Flags && req.Flags == 0x1234 {
		return pconn.Flags(0x1235), nil
	}
	return s.Service.ServePacket(ctx, req)
}

// neverBack is the test service without requests that are asked back.
type neverBack struct{ *testservice.Service }

func (s neverBack) ServePacket(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
	if req.Type == testservice.Back {
		return pconn.None(), errors.New("nothing is asked back")
	}
	return s.Service.ServePacket(ctx, req)
}

// timeLimit bounds every process that a test starts.
const timeLimit = 30 * time.Second

// self is the test binary, which is the command where asVariable says so.
func self(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	require.NoError(t, err)
	return path
}

// command returns a command line of packetstream, to be started within the time limit. Commands that it starts
// by self are packetstream too.
func command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeLimit)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, self(t), args...)
	cmd.Env = environment()
	cmd.WaitDelay = timeLimit / 2 // large output takes its time on a busy machine
	return cmd
}

// environment is that of commands.
func environment() []string {
	return append(os.Environ(), asVariable+"=packetstream", "NO_COLOR=", "TERM=xterm",
		"GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE")) // it is a second for each process otherwise
}

// ran is how a command line ended.
type ran struct {
	code           int // minus the signal that ended it
	stdout, stderr string
}

// packetstream runs a command line to its end.
func packetstream(t testing.TB, args ...string) ran {
	t.Helper()
	return runs(t, command(t, args...))
}

// runs runs a command, which may have its Stdin set.
func runs(t testing.TB, cmd *exec.Cmd) ran {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &stdout
	}
	cmd.Stderr = &stderr
	code := exitStatus(t, cmd.Run())
	return ran{code, stdout.String(), stderr.String()}
}

func exitStatus(t testing.TB, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	if err == nil {
		return 0
	}
	if status, isUnix := exit.Sys().(syscall.WaitStatus); isUnix && status.Signaled() {
		return -int(status.Signal())
	}
	return exit.ExitCode()
}

// eventually waits for a state, with a deadline.
func eventually(t testing.TB, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(timeLimit); !reached(); time.Sleep(2 * time.Millisecond) {
		require.False(t, time.Now().After(deadline), "not reached: %s", what)
	}
}

// assertLines asserts that the text consists of these lines.
func assertLines(t testing.TB, text string, lines ...string) {
	t.Helper()
	assert.Equal(t, strings.Join(lines, "\n")+"\n", text)
}
