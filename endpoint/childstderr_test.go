//go:build linux

package endpoint_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/internal/syncbuf"
	"github.com/packetstream/packetstream/pconn"
)

// What the child floods its standard error with is read, and its last part kept, though the writer it is handed to
// takes nothing.
func TestChildFloodsStderr(t *testing.T) {
	childtest.NoLeaks(t)
	stuck := newStuckWriter()
	defer stuck.release()
	cmd := childtest.Command("serve")
	cmd.Stderr = stuck
	child := startCommand(t, nil, cmd)
	flood := append(bytes.Repeat([]byte("0123456789abcde\n"), 256<<10), "the end"...)
	_, err := child.Do(t.Context(), pconn.Request{Type: typeStderr, Payload: flood})
	require.NoError(t, err)
	require.NoError(t, child.Close())
	require.Equal(t, flood[len(flood)-64<<10:], child.Stderr())
}

// A writer that keeps up gets everything.
func TestChildStderrIsHandedOn(t *testing.T) {
	childtest.NoLeaks(t)
	var out syncbuf.Buffer
	cmd := childtest.Command("serve")
	cmd.Stderr = &out
	child := startCommand(t, nil, cmd)
	flood := bytes.Repeat([]byte("0123456789abcde\n"), 64<<10)
	_, err := child.Do(t.Context(), pconn.Request{Type: typeStderr, Payload: flood})
	require.NoError(t, err)
	require.NoError(t, child.Close())
	require.True(t, out.String() == string(flood))
}

// stuckWriter takes nothing until it is released.
type stuckWriter struct {
	released chan struct{}
}

func newStuckWriter() *stuckWriter { return &stuckWriter{make(chan struct{})} }

func (w *stuckWriter) release() { close(w.released) }

func (w *stuckWriter) Write(_ []byte) (int, error) {
	<-w.released
	return 0, io.ErrClosedPipe
}
