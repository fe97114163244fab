//go:build linux

package endpoint_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

// output is what a helper said, and how it ended.
func output(cmd *exec.Cmd) (string, int) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	_ = cmd.Run() // the exit status tells
	return stderr.String(), cmd.ProcessState.ExitCode()
}

func TestServeStdioRefusals(t *testing.T) {
	childtest.NoLeaks(t)
	terminal, other := openTerminal(t)
	defer terminal.Close()
	defer other.Close()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	directory, err := os.Open(t.TempDir())
	require.NoError(t, err)
	defer directory.Close()
	for name, test := range map[string]struct {
		in, out *os.File
		status  int
		text    string
	}{
		"terminal in":  {terminal, w, statusTerminal, "standard input: it is a terminal; packets are for programs"},
		"terminal out": {r, terminal, statusTerminal, "standard output: it is a terminal"},
		"null in":      {nil, w, statusNoStream, "standard input: it is closed, or the null device"},
		"null out":     {r, nil, statusNoStream, "standard output: it is closed, or the null device"},
		"directory":    {directory, w, statusStdio, "standard input: is a directory"},
		"wrong way in": {w, w, statusStdio, "standard input: bad file descriptor"},
		"wrong way":    {r, r, statusStdio, "standard output: bad file descriptor"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := childtest.Command("serve")
			if test.in != nil {
				cmd.Stdin = test.in
			}
			if test.out != nil {
				cmd.Stdout = test.out
			}
			text, code := output(cmd)
			require.Equal(t, test.status, code)
			require.Contains(t, text, "endpoint: "+test.text)
		})
	}
	for name, redirect := range map[string]string{"input": "<&-", "output": ">&-"} {
		t.Run("closed "+name, func(t *testing.T) {
			cmd := childtest.Command("serve")
			cmd.Args = []string{"/bin/sh", "-c", `exec "$0" ` + redirect, cmd.Path}
			cmd.Path = "/bin/sh"
			cmd.Stdin, cmd.Stdout = r, w
			text, code := output(cmd)
			require.Equal(t, statusNoStream, code)
			require.Contains(t, text, "standard "+name+": it is closed")
		})
	}
}

// Standard input and output may be any kind of stream, and the flags of those who share them stay.
func TestServeStdioOverAnything(t *testing.T) {
	serve := func(t *testing.T, in, out *os.File) *exec.Cmd {
		cmd := childtest.Command("serve")
		cmd.Stdin, cmd.Stdout = in, out
		cmd.Stderr = os.Stderr
		require.NoError(t, cmd.Start())
		return cmd
	}
	t.Run("pipes", func(t *testing.T) {
		childtest.NoLeaks(t)
		r1, w1, err := os.Pipe()
		require.NoError(t, err)
		r2, w2, err := os.Pipe()
		require.NoError(t, err)
		cmd := serve(t, r1, w2)
		talk(t, r2, w1)
		// The open file descriptions that the helper was given are still ours, and block as exec made them.
		require.Equal(t, "blocks blocks", fmt.Sprint(blocking(int(r1.Fd())), " ", blocking(int(w2.Fd()))))
		closeFiles(r1, w1, r2, w2)
		require.NoError(t, cmd.Wait())
	})
	t.Run("one socket", func(t *testing.T) {
		childtest.NoLeaks(t)
		ours, theirs := socketPair(t)
		cmd := serve(t, theirs, theirs)
		talk(t, ours, ours)
		require.Equal(t, "blocks", blocking(int(theirs.Fd())))
		closeFiles(ours, theirs)
		require.NoError(t, cmd.Wait())
	})
	t.Run("files", func(t *testing.T) {
		childtest.NoLeaks(t)
		dir := t.TempDir()
		var b []byte
		for tag := range uint64(3) {
			p := packet.Packet{Tag: tag + 2, Type: typeEcho + 1, Request: true, Payload: []byte("recorded")}
			var err error
			b, err = p.Append(b)
			require.NoError(t, err)
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, "in"), b, 0o600))
		in, err := os.Open(filepath.Join(dir, "in"))
		require.NoError(t, err)
		out, err := os.Create(filepath.Join(dir, "out"))
		require.NoError(t, err)
		require.NoError(t, serve(t, in, out).Wait())
		closeFiles(in, out)
		answers, err := os.ReadFile(filepath.Join(dir, "out"))
		require.NoError(t, err)
		require.Equal(t, 3, bytes.Count(answers, []byte("recorded")))
	})
}

func closeFiles(files ...*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// talk calls a helper, prints there, and ends in good order.
func talk(t *testing.T, r, w *os.File) {
	t.Helper()
	conn, err := pconn.New(bufio.NewInput(r), bufio.NewOutput(w), nil)
	require.NoError(t, err)
	resp, err := conn.Do(t.Context(), pconn.Request{Payload: []byte("x")})
	require.NoError(t, err)
	require.Equal(t, "x", string(resp.Payload))
	_, err = conn.Do(t.Context(), pconn.Request{Type: typePrint})
	require.NoError(t, err)
	require.NoError(t, conn.Shutdown(t.Context()))
}

// A print to a standard error that nobody reads any more does not end the helper.
func TestServeStdioSurvivesBrokenStderr(t *testing.T) {
	childtest.NoLeaks(t)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	cmd := childtest.Command("serve")
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = w
	require.NoError(t, cmd.Start())
	closeFiles(r, w)
	conn, err := pconn.New(bufio.NewInput(stdout), bufio.OwnOutput(stdin), nil)
	require.NoError(t, err)
	resp, err := conn.Do(t.Context(), pconn.Request{Type: typePrint})
	require.NoError(t, err)
	require.Contains(t, string(resp.Payload), "broken pipe")
	require.NoError(t, conn.Shutdown(t.Context()))
	require.NoError(t, cmd.Wait())
}

// The error of the connection is what the helper may exit with.
func TestServeStdioReturnsWhatEndedIt(t *testing.T) {
	childtest.NoLeaks(t)
	cmd := childtest.Command("serve")
	cmd.Stdin = bytes.NewReader([]byte("GET / HTTP/1.1\r\n\r\n"))
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	require.NoError(t, err)
	defer out.Close()
	cmd.Stdout = out
	text, code := output(cmd)
	require.Equal(t, 1, code)
	require.Contains(t, text, `"GET / HTTP/1.1\r\n\r\n"`)
}

// A helper whose standard input is a socket knows who is at the other end; nothing is known of a pipe's.
func TestFDPeer(t *testing.T) {
	childtest.NoLeaks(t)
	ours, theirs := socketPair(t)
	defer closeFiles(ours, theirs)
	conn, err := endpoint.FD{R: int(theirs.Fd()), W: int(theirs.Fd())}.Dial(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, pconn.Peer{PID: os.Getpid(), UID: os.Getuid(), HasUID: true}, conn.Peer())
	require.NoError(t, conn.Close())

	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer closeFiles(r, w)
	conn, err = endpoint.FD{R: int(r.Fd()), W: int(w.Fd())}.Dial(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, pconn.Peer{}, conn.Peer())
	require.NoError(t, conn.Close())
}

// socketPair returns two connected sockets, in files outside of the poller that block.
func socketPair(t testing.TB) (*os.File, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	return os.NewFile(uintptr(fds[0]), "a"), os.NewFile(uintptr(fds[1]), "b")
}
