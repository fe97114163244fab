package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tells is a script that is ready, heeds no end of its input, and says which signal it got.
func tells(dir string) string {
	return fmt.Sprintf(`cd %s; for s in INT TERM HUP; do trap "echo $s >>got; exit 3" $s; done; touch ready; while :; do sleep 0.02; done`, dir)
}

// stays is a script that heeds nothing but SIGKILL, nor does its child. It says when its input has ended.
func stays(dir string) string {
	return fmt.Sprintf(`cd %s; trap '' INT TERM HUP; sleep 60 & echo $! >child; touch ready; cat >/dev/null; touch eof; wait`, dir)
}

func got(t testing.TB, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "got"))
	require.NoError(t, err)
	return strings.TrimSpace(string(b))
}

// The first signal ends what was started in good order: by the end of its input, and by SIGTERM after.
func TestSignalEndsTheChild(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		for name, c := range map[string]struct {
			args []string
			code int
		}{
			"call":    {[]string{"call"}, exitInterrupted},
			"check":   {[]string{"check"}, exitInterrupted},
			"forward": {[]string{"forward", "-D", "127.0.0.1:0"}, exitOK},
		} {
			t.Run(name+" "+sig.String(), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				cmd := command(t, append(c.args, "--", "sh", "-c", tells(dir))...)
				require.NoError(t, cmd.Start())
				waitForFile(t, filepath.Join(dir, "ready"))
				began := time.Now()
				require.NoError(t, cmd.Process.Signal(sig))
				assert.Equal(t, c.code, exitStatus(t, cmd.Wait()))
				assert.Equal(t, "TERM", got(t, dir))
				assert.GreaterOrEqual(t, time.Since(began), 3*time.Second, "it had time for the end of its input")
			})
		}
	}
}

// The same for a proxy, which lets pass first what is still said.
func TestSignalEndsTheChildOfAProxy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := listening(t, "unix", "proxy", "unix:"+filepath.Join(dir, "s"), "--", "sh", "-c", tells(dir))
	dial(t, s.at)
	waitForFile(t, filepath.Join(dir, "ready"))
	s.signal(t, syscall.SIGHUP)
	assert.Equal(t, exitLost, s.end(t), "it did not end by itself")
	assert.Equal(t, "TERM", got(t, dir))
}

// A second signal kills what was started, and all of its process group.
func TestSecondSignalKills(t *testing.T) {
	for name, args := range map[string][]string{
		"call":    {"call", "--"},
		"forward": {"forward", "-D", "127.0.0.1:0", "--"},
		"proxy":   {"proxy", "fd:0", "--"},
		"serve":   {"serve", "fd:0"},
		"shared":  {"serve", "--children=1", "fd:0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			script := []string{"sh", "-c", stays(dir)}
			if args[0] == "serve" {
				script = []string{"--exec", endpointWords(script...)}
			}
			cmd := command(t, append(args, script...)...)
			fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
			require.NoError(t, err)
			ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
			defer ours.Close()
			cmd.Stdin = theirs
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			require.NoError(t, cmd.Start())
			require.NoError(t, theirs.Close())
			waitForFile(t, filepath.Join(dir, "ready"))
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
			if name != "shared" { // whose processes are told when the connections have ended
				waitForFile(t, filepath.Join(dir, "eof"))
			}
			began := time.Now()
			require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
			assert.Equal(t, exitInterrupted, exitStatus(t, cmd.Wait()))
			assert.Less(t, time.Since(began), 2*time.Second)
			assert.Contains(t, stderr.String(), "packetstream: interrupted\n")
			eventually(t, "its child is gone", func() bool { return !aliveIn(t, filepath.Join(dir, "child")) })
		})
	}
}

// What nohup has a command ignore does not end it.
func TestIgnoredHangup(t *testing.T) {
	dir := t.TempDir()
	args := []string{"serve", "unix:" + filepath.Join(dir, "s")}
	cmd := command(t, args...)
	cmd.Path, cmd.Args = "/bin/sh", append([]string{"/bin/sh", "-c", `trap '' HUP; exec "$0" "$@"`, self(t)}, args...)
	stderr := &lines{}
	cmd.Stderr = stderr
	require.NoError(t, cmd.Start())
	stderr.next(t)
	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
	r := packetstream(t, "call", "--payload=x", args[1])
	assert.Equal(t, ran{exitOK, "x\n", ""}, r)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	assert.Equal(t, exitOK, exitStatus(t, cmd.Wait()))
}

// At a terminal ssh is in the foreground, so that Ctrl-C reaches it beside us. A terminal that goes away tells the leader of
// its session, which here are we.
func TestSignalsOfATerminal(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(terminal *os.File) error
		want string
	}{
		"Ctrl-C":  {func(f *os.File) error { _, err := f.WriteString("\x03"); return err }, "INT"},
		"hung up": {(*os.File).Close, "TERM"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			ssh := "#!/bin/sh\n" + tells(dir) + "\n"
			require.NoError(t, os.WriteFile(filepath.Join(dir, "ssh"), []byte(ssh), 0o700))
			cmd := command(t, "call", "ssh:host//helper")
			cmd.Env = append(cmd.Env, "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
			terminal, err := pty.Start(cmd)
			require.NoError(t, err)
			defer terminal.Close()
			waitForFile(t, filepath.Join(dir, "ready"))
			require.NoError(t, c.end(terminal))
			code := exitStatus(t, cmd.Wait())
			assert.Contains(t, []int{exitInterrupted, exitLost}, code, "whichever of the two ends was first")
			assert.Equal(t, c.want, got(t, dir))
		})
	}
}
