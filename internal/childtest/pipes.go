package childtest

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// startLimit bounds how long a server takes to say where it listens; one in Java takes its time.
const startLimit = time.Minute

// pipes are two pipes as one connection.
type pipes struct {
	io.ReadCloser
	w io.WriteCloser
}

func (p pipes) Write(b []byte) (int, error) { return p.w.Write(b) }

func (p pipes) Close() error {
	_ = p.w.Close()
	return p.ReadCloser.Close()
}

// Stdio returns this process's standard input and output as one connection. Close does not end a Read.
func Stdio() io.ReadWriteCloser { return pipes{os.Stdin, os.Stdout} }

// Connect starts a command, with its standard error as ours, and returns its standard input and output as one
// connection. When the test has ended its input ends, and it must exit with status 0 within Limit.
func Connect(t testing.TB, cmd *exec.Cmd) io.ReadWriteCloser {
	t.Helper()
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		late := time.AfterFunc(Limit, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		_ = in.Close()
		_, _ = io.Copy(io.Discard, out) // what it says last is not to keep it from ending
		assert.NoError(t, cmd.Wait())
	})
	return pipes{out, in}
}

// StartServer starts a command that prints a line once it serves, and serves until its input ends. It returns the
// line, which says where. When the test has ended the command must exit with status 0 within Limit.
func StartServer(t testing.TB, cmd *exec.Cmd) (line string) {
	t.Helper()
	out := Connect(t, cmd)
	late := time.AfterFunc(startLimit, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err, "the server does not say that it serves")
	return strings.TrimSpace(line)
}
