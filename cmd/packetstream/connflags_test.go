//go:build unix

package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What each end does is ticked. How the steps of two goroutines follow each other is open.
func TestTicks(t *testing.T) {
	ticked := func(r ran) []string {
		assert.Equal(t, exitOK, r.code)
		ticks := regexp.MustCompile(`Sg|>EOF|.`).FindAllString(r.stderr, -1)
		require.NotEmpty(t, ticks)
		return ticks
	}
	ticks := ticked(callSelf(t, "--type=2", "--tick"))
	assert.Equal(t, ">", ticks[0])
	assert.ElementsMatch(t, []string{">", "F", "<", "F", ">EOF", "<"}, ticks)

	ticks = ticked(callSelf(t, "--type=2", "--tick", "--grace=2ms"))
	assert.Equal(t, []string{">", "Sg"}, ticks[:2])
	assert.ElementsMatch(t, []string{">", "Sg", "F", "<", "F", ">EOF", "<"}, ticks)

	// The server's own.
	ticks = ticked(packetstream(t, "call", "--", self(t), "serve", "--tick"))
	assert.Equal(t, "<", ticks[0])
	assert.ElementsMatch(t, []string{"<", ">", "F", "<", "F", ">EOF"}, ticks)
}

// A grace delays an answer, but by no more than itself.
func TestGrace(t *testing.T) {
	r := callSelf(t, "--type=2", "--grace=300ms", "--json")
	require.Equal(t, exitOK, r.code, r.stderr)
	assert.GreaterOrEqual(t, *jsonLines(t, r.stdout)[0].MS, 300.0)
}

func TestTrace(t *testing.T) {
	cmd := command(t, "call", "--type=4", "--flags=5", "--payload=abc", "--", self(t), "serve", "--handler", "test")
	file := filepath.Join(t.TempDir(), "trace")
	cmd.Env = append(cmd.Env, "PACKETSTREAM_TRACE="+file)
	require.Equal(t, exitOK, runs(t, cmd).code)
	trace, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Regexp(t, `> channel 0 tag \d+ request type 4 flags 0x5 payload 3\n`, string(trace))
	assert.Regexp(t, `< channel 0 tag \d+ response ok flags 0x5 payload 3\n`, string(trace))
}

// onTerminal runs a command with a terminal as its standard error and returns what was written there.
func onTerminal(t testing.TB, cmd *exec.Cmd) (code int, written string) {
	t.Helper()
	terminal, other, err := pty.Open()
	require.NoError(t, err)
	defer terminal.Close()
	cmd.Stderr = other
	require.NoError(t, cmd.Start())
	require.NoError(t, other.Close())
	text, err := io.ReadAll(bufio.NewReader(terminal)) // ends with EIO when nobody has the other end
	require.ErrorIs(t, err, syscall.EIO)
	return exitStatus(t, cmd.Wait()), string(text)
}

func TestProgress(t *testing.T) {
	t.Parallel()
	progress := func(t *testing.T, env ...string) string {
		t.Helper()
		cmd := command(t, "call", "--progress", "--type=6", "--payload=1000", "--", self(t), "serve", "--handler", "test")
		cmd.Env = append(cmd.Env, env...)
		code, written := onTerminal(t, cmd)
		assert.Equal(t, exitOK, code)
		return written
	}
	written := progress(t)
	assert.Contains(t, written, "1 packets, 8 bytes")
	assert.Regexp(t, `\d B/s`, written)
	assert.NotContains(t, written, "\n")
	assert.True(t, strings.HasSuffix(written, "\x1b[2K\r"), "the line is removed: %q", written)

	assert.Empty(t, progress(t, "NO_COLOR=1"))
	assert.Empty(t, progress(t, "TERM=dumb"))
}

func TestCheckAndServeProgress(t *testing.T) {
	t.Parallel()
	cmd := command(t, "check", "--progress", "--requests=10", "--", self(t), "serve", "--handler", "test")
	code, written := onTerminal(t, cmd)
	assert.Equal(t, exitOK, code)
	assert.Contains(t, written, " packets")
	assert.True(t, strings.HasSuffix(written, "\x1b[2K\r"))

	dir := t.TempDir()
	cmd = command(t, "serve", "--progress", "--handler", "test", "unix:"+dir+"/s")
	stopped := make(chan string)
	go func() {
		_, written := onTerminal(t, cmd)
		stopped <- written
	}()
	waitForFile(t, dir+"/s")
	r := packetstream(t, "call", "--type=6", "--payload=500", "unix:"+dir+"/s")
	assert.Equal(t, exitOK, r.code)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	written = <-stopped
	assert.Contains(t, written, " packets")
	assert.True(t, strings.HasSuffix(written, "\x1b[2K\r"))
}
