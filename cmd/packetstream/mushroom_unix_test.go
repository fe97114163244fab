//go:build unix

package main

import (
	"bufio"
	"io"
	"os"
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
