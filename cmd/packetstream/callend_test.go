//go:build unix

package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCallRejected(t *testing.T) {
	for name, tc := range map[string]struct{ handler, want string }{
		"text":          {"exec:echo no such thing >&2; exit 3", "packetstream: request 0 rejected: the command failed: exit status 3: no such thing\n"},
		"terminal text": {`exec:printf '\033[31mred' >&2; exit 1`, `packetstream: request 0 rejected: "the command failed: exit status 1: \x1b[31mred"` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := packetstream(t, "call", "--", self(t), "serve", "--handler", tc.handler)
			assert.Equal(t, ran{exitFailed, "", tc.want}, r)
		})
	}
	t.Run("some of several", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "first")
		r := packetstream(t, "call", "--count", "3", "--", self(t), "serve", "--handler", "exec:mkdir "+dir+" && echo done")
		assert.Equal(t, exitFailed, r.code)
		assertLines(t, r.stdout, "done", "")
		assert.Equal(t, 2, strings.Count(r.stderr, " rejected: "))
		assert.Contains(t, r.stderr, "request 1 rejected")
		assert.Contains(t, r.stderr, "request 2 rejected")
	})
}

func TestCallLosesConnection(t *testing.T) {
	for name, tc := range map[string]struct {
		script string
		want   []string
	}{
		"child exits":           {"echo oops >&2; exit 7", []string{"exit status 7", "oops"}},
		"child is killed":       {"echo help >&2; kill -9 $$", []string{"signal: killed", "help"}},
		"child exits well":      {"exit 0", []string{"exit status 0"}},
		"child prints text":     {"echo Usage: something else", []string{"Usage: something else"}},
		"child prints and goes": {"printf 'Connecting to'; exit 4", []string{"text instead of packets", "Connecting to", "exit status 4"}},
		"child sends garbage":   {`printf '\003\000\002'; exit 5`, []string{"inside a packet", "exit status 5"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := callShell(t, tc.script)
			assert.Equal(t, exitLost, r.code)
			assert.Empty(t, r.stdout)
			for _, want := range tc.want {
				assert.Contains(t, r.stderr, want)
			}
			// Its standard error is passed through besides.
			assert.Equal(t, 1, strings.Count(r.stderr, "packetstream: "), r.stderr)
		})
	}
	t.Run("in the middle", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "first")
		r := packetstream(t, "call", "--count", "1000", "--", self(t), "serve", "--handler", "exec:mkdir "+dir+" && echo first || kill -9 $PPID")
		assert.Equal(t, exitLost, r.code)
		assertLines(t, r.stdout, "first", "")
		assert.Contains(t, r.stderr, "signal: killed")
	})
	t.Run("after the last answer", func(t *testing.T) {
		r := callShell(t, `"$0" serve --handler test; exit 6`, "--type=2", "--payload=x", "--count=1")
		assert.Equal(t, exitLost, r.code)
	})
	t.Run("nobody there", func(t *testing.T) {
		r := packetstream(t, "call", "unix:"+filepath.Join(t.TempDir(), "none"))
		assert.Equal(t, exitLost, r.code)
		assert.Contains(t, r.stderr, "no such file or directory")
	})
	t.Run("no such command", func(t *testing.T) {
		r := packetstream(t, "call", "--", filepath.Join(t.TempDir(), "none"))
		assert.Equal(t, exitLost, r.code)
		assert.Contains(t, r.stderr, "no such file or directory")
	})
	t.Run("no such descriptor", func(t *testing.T) {
		r := packetstream(t, "call", "fd:77,78")
		assert.Equal(t, exitLost, r.code)
		assert.Contains(t, r.stderr, "77")
	})
}

// A child whose answers are fine and whose end is not is told of, with the answers printed.
func TestCallChildEndsBadly(t *testing.T) {
	script := `"$0" serve --handler test; echo sorry >&2; exit 6`
	r := packetstream(t, "call", "--type=2", "--payload=x", "--", "sh", "-c", script, self(t))
	assert.Equal(t, exitLost, r.code)
	assertLines(t, r.stdout, "x")
	assert.Contains(t, r.stderr, "exit status 6")
	assert.Contains(t, r.stderr, "sorry")

	r = packetstream(t, "call", "--type=5", "--", "sh", "-c", script, self(t))
	assert.Equal(t, exitFailed, r.code, "the rejection counts")
	assert.Contains(t, r.stderr, "rejected: exception during handler")
	assert.Contains(t, r.stderr, "exit status 6")
}

func TestCallTimeout(t *testing.T) {
	t.Parallel()
	t.Run("no answer", func(t *testing.T) {
		r := callSelf(t, "--type=6", "--payload=700", "--timeout=200ms")
		assert.Equal(t, ran{exitTimeout, "", "packetstream: time was up after 200ms\n"}, r)
	})
	t.Run("text instead of packets", func(t *testing.T) {
		// It reads as the start of a request of 67 bytes.
		r := callShell(t, "printf 'Connecting to nowhere'; while read -r x; do :; done", "--timeout=300ms")
		assert.Equal(t, exitTimeout, r.code)
		assert.Empty(t, r.stdout)
		assertLines(t, r.stderr, `packetstream: time was up after 300ms; the peer sent text instead of packets: "Connecting to nowhere"`)
	})
	t.Run("no payload", func(t *testing.T) {
		in, _, closeIn := pipe(t)
		defer closeIn()
		cmd := command(t, "call", "--payload=-", "--timeout=100ms", "--", self(t), "serve")
		cmd.Stdin = in
		assert.Equal(t, ran{exitTimeout, "", "packetstream: time was up after 100ms\n"}, runs(t, cmd))
	})
	t.Run("some answers", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "first")
		r := packetstream(t, "call", "--count=3", "--timeout=1s", "--", self(t), "serve", "--handler", "exec:mkdir "+dir+" || sleep 2")
		assert.Equal(t, exitTimeout, r.code)
		assertLines(t, r.stdout, "")
	})
	t.Run("nobody accepts", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		r := packetstream(t, "call", "--timeout=100ms", "tcp:"+l.Addr().String())
		assert.Equal(t, exitTimeout, r.code)
	})
}

func pipe(t testing.TB) (r, w *os.File, closeBoth func()) {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	return r, w, func() {
		_ = r.Close()
		_ = w.Close()
	}
}

func TestCallInterrupted(t *testing.T) {
	t.Run("in a call", func(t *testing.T) {
		at := filepath.Join(t.TempDir(), "at work")
		cmd := command(t, "call", "--", self(t), "serve", "--handler", "exec:touch '"+at+"'; sleep 1")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		require.NoError(t, cmd.Start())
		waitForFile(t, at)
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		assert.Equal(t, exitInterrupted, exitStatus(t, cmd.Wait()))
		assert.Equal(t, "packetstream: interrupted\n", stderr.String())
	})
}

func waitForFile(t testing.TB, path string) {
	t.Helper()
	eventually(t, path, func() bool {
		_, err := os.Stat(path)
		return err == nil
	})
}

// A reader of the output that has had enough is no failure, and ends the rest.
func TestCallClosedOutput(t *testing.T) {
	for _, form := range [][]string{nil, {"--json"}} {
		r, w, _ := pipe(t)
		require.NoError(t, r.Close())
		cmd := command(t, append(append([]string{"call", "--count=1000000000", "--in-flight=4"}, form...), "--", self(t), "serve")...)
		cmd.Stdout = w
		got := runs(t, cmd)
		require.NoError(t, w.Close())
		assert.Equal(t, ran{code: exitOK}, got)
	}
	r, w, _ := pipe(t)
	require.NoError(t, r.Close())
	defer w.Close()
	cmd := command(t, "help")
	cmd.Stdout = w
	assert.Equal(t, ran{code: exitOK}, runs(t, cmd))
}

func TestCallFullOutput(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full")
	}
	defer full.Close()
	cmd := command(t, "call", "--", self(t), "serve")
	cmd.Stdout = full
	r := runs(t, cmd)
	assert.Equal(t, exitFailed, r.code)
	assert.Contains(t, r.stderr, "standard output: ")
	assert.Contains(t, r.stderr, "no space left on device")
}

// A peer that no longer reads is a lost connection, and not taken for a closed standard output.
func TestCallPeerStopsReading(t *testing.T) {
	r := callShell(t, "exec <&-; sleep 1", "--payload="+strings.Repeat("x", 100000), "--timeout=20s")
	assert.Equal(t, exitLost, r.code)
	assert.NotEmpty(t, r.stderr)
}

// Whoever gives a request up stops the work at the other end.
func TestCallThatIsGivenUpStopsItsCommand(t *testing.T) {
	began := time.Now()
	r := packetstream(t, "call", "--extensions=required", "--timeout=300ms", "--", self(t), "serve", "--handler=exec:sleep 60")
	assert.NotEqual(t, exitOK, r.code)
	assert.Less(t, time.Since(began), 30*time.Second)
	assert.Contains(t, r.stderr, "300ms")
}
