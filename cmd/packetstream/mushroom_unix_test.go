//go:build unix

package main

import (
	"bufio"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMushroomStdioIsInterrupted while its standard input stays open, and something is put off.
func TestMushroomStdioIsInterrupted(t *testing.T) {
	t.Parallel()
	cmd := command(t, "mushroom", "serve", "--stdio")
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = io.WriteString(stdin, `[2,0,"push_later",["m",1,1,3600]]`+"\n")
	require.NoError(t, err)
	lines := bufio.NewScanner(stdout)
	for _, line := range []string{`[0,0]`, `[3,0,0,"soon"]`} {
		require.True(t, lines.Scan())
		require.Equal(t, line, lines.Text())
	}
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.True(t, lines.Scan())
	assert.Equal(t, "[-1]", lines.Text())
	assert.NoError(t, cmd.Wait())
}

// TestMushroomCallEndsWhatItsCommandStarted, which holds standard error as long as it lives.
func TestMushroomCallEndsWhatItsCommandStarted(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	cmd := command(t, "mushroom", "call", "ping", "--timeout", "100ms", "--", "sh", "-c", "sleep 3600 & cat >/dev/null; wait")
	cmd.Stderr = w
	err = cmd.Run()
	w.Close()
	assert.Equal(t, exitTimeout, exitStatus(t, err))
	require.NoError(t, r.SetReadDeadline(time.Now().Add(timeLimit)))
	_, err = io.ReadAll(r)
	assert.NoError(t, err)
}

// TestMushroomCallOfACommandThatStays: it has answered, and that it has to be killed is no failure of the call.
func TestMushroomCallOfACommandThatStays(t *testing.T) {
	t.Parallel()
	got := packetstream(t, "mushroom", "call", "echo", "5", "--", "sh", "-c",
		`trap "" TERM; "$0" mushroom serve --stdio; sleep 3600`, self(t))
	assert.Equal(t, ran{exitOK, "5\n", ""}, got)
}

// TestMushroomCallTellsHowItsCommandEnded, where that is why there is no answer.
func TestMushroomCallTellsHowItsCommandEnded(t *testing.T) {
	t.Parallel()
	got := packetstream(t, "mushroom", "call", "m", "--", "sh", "-c", "read line; exit 7")
	assert.Equal(t, exitLost, got.code)
	assert.Contains(t, got.stderr, "exit status 7")
}

// TestMushroomStdioTellsOfACutLine.
func TestMushroomStdioTellsOfACutLine(t *testing.T) {
	t.Parallel()
	cmd := command(t, "mushroom", "serve", "--stdio")
	cmd.Stdin = strings.NewReader(`[2,0,"echo","x"]`)
	out, err := cmd.CombinedOutput()
	assert.Equal(t, exitLost, exitStatus(t, err))
	assert.Contains(t, string(out), "inside a line")
}
