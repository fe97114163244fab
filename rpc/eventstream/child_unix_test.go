//go:build unix

package eventstream_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/eventstreamtest"
	"github.com/packetstream/packetstream/rpc/eventstream"
)

// stdio is a pair of pipes as one connection.
type stdio struct {
	io.ReadCloser
	out io.WriteCloser
}

func (s stdio) Write(p []byte) (int, error) { return s.out.Write(p) }

func (s stdio) Close() error {
	_ = s.out.Close()
	return s.ReadCloser.Close()
}

// serveStdio is the child: it serves until its input ends. The descriptors are made non-blocking so that Close
// ends a Read.
func serveStdio() {
	for fd := range 2 {
		if err := syscall.SetNonblock(fd, true); err != nil {
			os.Exit(3)
		}
	}
	conn := stdio{os.NewFile(0, "stdin"), os.NewFile(1, "stdout")}
	_ = eventstreamtest.New().ServeConn(context.Background(), conn)
	os.Exit(0)
}

// startChild runs this test program as a server on pipes.
func startChild(t *testing.T) io.ReadWriteCloser {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestSubprocess$")
	cmd.Env = append(os.Environ(), "EVENTSTREAM_TEST_CHILD=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		assert.NoError(t, cmd.Wait())
	})
	return stdio{out, in}
}

// TestSubprocess talks to a server on a child's standard input and output.
func TestSubprocess(t *testing.T) {
	if os.Getenv("EVENTSTREAM_TEST_CHILD") != "" {
		serveStdio()
		return
	}
	conn := startChild(t)
	c, err := eventstream.NewClient(t.Context(), conn, nil)
	require.NoError(t, err)
	m, err := c.Call(t.Context(), "interop#Echo", text("through pipes"))
	require.NoError(t, err)
	assert.Equal(t, "through pipes", string(m.Payload))
	body := bytes.Repeat([]byte("x"), 1<<20)
	m, err = c.Call(t.Context(), "interop#Echo", &eventstream.Message{Payload: body})
	require.NoError(t, err)
	assert.True(t, bytes.Equal(body, m.Payload))
	require.NoError(t, c.Close())
}
