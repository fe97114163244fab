//go:build unix

package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/syncbuf"
)

// server is a running command that says on standard error what it does, as packetstream serve does.
type server struct {
	cmd    *exec.Cmd
	at     string // where it listens, if it does
	stderr *lines
}

// running runs a command line until the test ends.
func running(t testing.TB, args ...string) *server {
	t.Helper()
	s := &server{cmd: command(t, args...), stderr: &lines{}}
	s.cmd.Stderr = s.stderr
	require.NoError(t, s.cmd.Start())
	t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			_ = s.cmd.Process.Kill()
			_ = s.cmd.Wait()
		}
	})
	return s
}

// listening runs a command line that listens at an endpoint, until the test ends.
func listening(t testing.TB, scheme string, args ...string) *server {
	t.Helper()
	s := running(t, args...)
	s.at = scheme + ":" + s.listensAt(t, "")
	return s
}

// listensAt returns what the next line says of where the command listens, behind some words.
func (s *server) listensAt(t testing.TB, words string) string {
	t.Helper()
	line := s.stderr.next(t)
	addr, found := strings.CutPrefix(line, "LISTENING "+words)
	require.True(t, found, line)
	return addr
}

// serveAt runs packetstream serve with flags on an endpoint that listens, until the test ends.
func serveAt(t testing.TB, at string, flags ...string) *server {
	t.Helper()
	scheme, _, _ := strings.Cut(at, ":")
	return listening(t, scheme, append(append([]string{"serve"}, flags...), at)...)
}

func (s *server) signal(t testing.TB, sig os.Signal) {
	t.Helper()
	require.NoError(t, s.cmd.Process.Signal(sig))
}

// awaitRefusal waits until a server at a Unix socket takes no more connections.
func (s *server) awaitRefusal(t testing.TB) {
	t.Helper()
	eventually(t, "nobody is taken any more", func() bool {
		c, err := net.Dial("unix", strings.TrimPrefix(s.at, "unix:"))
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
}

// end waits for the server's end and returns its exit code.
func (s *server) end(t testing.TB) int {
	t.Helper()
	return exitStatus(t, s.cmd.Wait())
}

// lines are the lines of a process's standard error as they come.
type lines struct {
	syncbuf.Buffer
	read int // how much of it next has returned
}

// next waits for the next line.
func (l *lines) next(t testing.TB) string {
	t.Helper()
	var line string
	eventually(t, "another line of standard error", func() bool {
		var found bool
		line, _, found = strings.Cut(l.String()[l.read:], "\n")
		return found
	})
	l.read += len(line) + 1
	return line
}

// dial connects to an endpoint, until the test ends.
func dial(t testing.TB, at string) *endpoint.Conn {
	t.Helper()
	c, err := endpoint.Dial(t.Context(), at, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeLimit)
	t.Cleanup(cancel)
	return ctx
}

func TestServeEcho(t *testing.T) {
	r := packetstream(t, "call", "--flags=9", "--type=3", "--payload=abc", "--", self(t), "serve")
	assert.Equal(t, ran{exitOK, "abc\n", "request 0: flags 0x9\n"}, r)

	r = packetstream(t, "call", "--flags=0x2000000000000000", "--", self(t), "serve", "--handler", "echo")
	assert.Equal(t, ran{exitFailed, "", "packetstream: request 0 rejected: flags 0x2000000000000000 do not fit in an answer\n"}, r)
}

func TestServeListens(t *testing.T) {
	for _, at := range []string{"unix:" + filepath.Join(t.TempDir(), "s"), "tcp:127.0.0.1:0"} {
		t.Run(at, func(t *testing.T) {
			s := serveAt(t, at, "--handler", "test")
			var clients sync.WaitGroup
			for range 4 {
				clients.Go(func() {
					r := packetstream(t, "check", "--requests=50", "--mode=duplex", s.at)
					assert.Equal(t, exitOK, r.code, r.stdout+r.stderr)
				})
			}
			clients.Wait()
			s.signal(t, syscall.SIGTERM)
			assert.Equal(t, exitOK, s.end(t))
			assert.Equal(t, "LISTENING "+strings.SplitN(s.at, ":", 2)[1]+"\n", s.stderr.String())
		})
	}
}

// The limits are those that the flags say.
func TestServeLimits(t *testing.T) {
	s := serveAt(t, "tcp:127.0.0.1:0", "--max-requests=2", "--max-conns=1", "--first-packet=50ms")
	silent := dial(t, s.at)
	for range 2 { // each waits until the one before has gone
		r := packetstream(t, "call", "--count=3", "--payload=x", s.at)
		assert.Equal(t, "x\nx\n", r.stdout)
		assert.NotEqual(t, exitOK, r.code)
	}
	assert.NoError(t, silent.Wait(), "it was closed")
}

func TestServeActivation(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	require.NoError(t, err)
	defer file.Close()
	cmd := command(t, "serve", "activation:web")
	cmd.Args = []string{"/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, cmd.Path, "serve", "activation:web"}
	cmd.Path = "/bin/sh"
	cmd.Env = append(cmd.Env, "LISTEN_FDS=1", "LISTEN_FDNAMES=web")
	cmd.ExtraFiles = []*os.File{file}
	stderr := &lines{}
	cmd.Stderr = stderr
	require.NoError(t, cmd.Start())
	assert.Equal(t, "LISTENING "+l.Addr().String(), stderr.next(t))
	r := packetstream(t, "call", "--payload=x", "tcp:"+l.Addr().String())
	assert.Equal(t, "x\n", r.stdout, r.stderr)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	assert.NoError(t, cmd.Wait())
}

func TestServeDescriptors(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer ours.Close()
	serve := command(t, "serve", "--handler", "test", "fd:3")
	serve.ExtraFiles = []*os.File{theirs}
	require.NoError(t, serve.Start())
	require.NoError(t, theirs.Close())
	call := command(t, "call", "--type=2", "--payload=x", "fd:3,3")
	call.ExtraFiles = []*os.File{ours}
	assert.Equal(t, ran{exitOK, "x\n", ""}, runs(t, call))
	assert.NoError(t, serve.Wait())
}

// What is printed to standard output by mistake, here by commands that inherit it, does not hurt.
func TestServeStrayPrints(t *testing.T) {
	// /proc/PID/fd/1 is the server's own standard output.
	r := packetstream(t, "call", "--count=3", "--", self(t), "serve", "--handler", "exec:echo stray >/proc/$PPID/fd/1; echo answer")
	assert.Equal(t, exitOK, r.code)
	assert.Equal(t, strings.Repeat("answer\n\n", 3), r.stdout)
	assert.Equal(t, strings.Repeat("stray\n", 3), r.stderr)
}

func TestServeTerminal(t *testing.T) {
	terminal, other, err := pty.Open()
	require.NoError(t, err)
	defer terminal.Close()
	defer other.Close()
	for name, stdio := range map[string]func(*exec.Cmd){
		"both":   func(cmd *exec.Cmd) { cmd.Stdin, cmd.Stdout = other, other },
		"input":  func(cmd *exec.Cmd) { cmd.Stdin = other },
		"output": func(cmd *exec.Cmd) { cmd.Stdin, cmd.Stdout = strings.NewReader(""), other },
	} {
		t.Run(name, func(t *testing.T) {
			cmd := command(t, "serve")
			stdio(cmd)
			r := runs(t, cmd)
			assert.Equal(t, exitUsage, r.code)
			assert.Empty(t, r.stdout)
			assert.Contains(t, r.stderr, "it is a terminal")
			assert.Contains(t, r.stderr, "packetstream call -- COMMAND")
		})
	}
}

func TestServeWithoutInput(t *testing.T) {
	r := packetstream(t, "serve") // its input is the null device
	assert.Equal(t, exitLost, r.code)
	assert.Contains(t, r.stderr, "standard input")
}

// The end of its input in good order is a good end; one in the middle of a packet is not.
func TestServeEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		input string
		code  int
		want  string
	}{
		"EOF packet":       {"\x03\x00\x02\x00", exitOK, ""},
		"end of stream":    {"", exitOK, ""},
		"inside a packet":  {"\x05\x00\x02", exitLost, "inside a packet"},
		"no packet at all": {"GET / HTTP/1.1\r\n\r\n", exitLost, "GET / HTTP/1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := command(t, "serve")
			cmd.Stdin = strings.NewReader(tc.input)
			r := runs(t, cmd)
			assert.Equal(t, tc.code, r.code, r.stderr)
			assert.Contains(t, r.stderr, tc.want)
			if tc.code == exitOK {
				assert.Empty(t, r.stderr)
			}
		})
	}
}
