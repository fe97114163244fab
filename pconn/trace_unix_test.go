//go:build unix

package pconn_test

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/packetstream/packetstream/pconn"
)

// tracedChild returns a command that makes one call with the trace on its standard error.
func tracedChild(t *testing.T) *exec.Cmd {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(soon(t), self, "-test.run=^TestTraceToStderr$")
	cmd.Env = append(os.Environ(), pconn.TraceVariable+"=stderr")
	return cmd
}

func TestTraceToStderr(t *testing.T) {
	if os.Getenv(pconn.TraceVariable) == "stderr" {
		a, _ := pair(t, &pconn.Options{Name: "a"}, serve(echo))
		_, err := a.Do(soon(t), pconn.Request{Type: 7, Payload: []byte("abc")})
		require.NoError(t, err)
		return
	}
	cmd := tracedChild(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Run())
	require.Regexp(t, `a > channel 0 tag 2 request type 7 flags 0x0 payload 3\n`, stderr.String())
	require.Regexp(t, `a < channel 0 tag 2 response ok flags 0x0 payload 3\n`, stderr.String())
}

// TestTraceToABrokenStderr has nobody read the trace, which would end the program through os.Stderr.
func TestTraceToABrokenStderr(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	cmd := tracedChild(t)
	cmd.Stderr = w
	require.NoError(t, cmd.Run())
	require.NoError(t, w.Close())
}

func TestTraceWithHolesSaysSo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(path, 0o600))
	r, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer r.Close()
	t.Setenv(pconn.TraceVariable, path)
	p := raw(t, serve(echo))
	const n = 20_000 // each makes two lines, and the first thousands of them fill pipe and queue
	go func() {
		for tag := range uint64(n) {
			if p.tryWrite(request(tag+2, 1, "")) != nil {
				return
			}
		}
	}()
	for range n {
		p.read()
	}
	dropped := p.conn.Counters().DroppedLogs.Load()
	require.Positive(t, dropped)
	lines := bufio.NewScanner(r)
	hole := regexp.MustCompile(`^\d+ lines dropped about here$`)
	for lines.Scan() && !hole.MatchString(lines.Text()) {
	}
	require.Regexp(t, hole, lines.Text())
}
