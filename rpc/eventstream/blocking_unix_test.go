//go:build unix

package eventstream_test

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/eventstreamtest"
	"github.com/packetstream/packetstream/rpc/eventstream"
)

// TestBlockingSockets runs over a pair of sockets that were inherited as they are, in blocking mode, so that the
// runtime cannot wait for them.
func TestBlockingSockets(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	syscall.CloseOnExec(fds[0])
	syscall.CloseOnExec(fds[1])
	server := eventstreamtest.New()
	ended := make(chan error, 1)
	go func() {
		ended <- server.ServeConn(t.Context(), shutdownSocket{os.NewFile(uintptr(fds[0]), "server"), fds[0]})
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := eventstream.NewClient(ctx, shutdownSocket{os.NewFile(uintptr(fds[1]), "client"), fds[1]}, nil)
	require.NoError(t, err)
	for _, size := range []int{0, 1, 100_000, 1 << 20} {
		m, err := c.Call(ctx, "interop#Echo", &eventstream.Message{Payload: make([]byte, size)})
		require.NoError(t, err)
		assert.Len(t, m.Payload, size)
	}
	require.NoError(t, c.Close())
	require.ErrorIs(t, await(t, ended, "end of the server"), eventstream.ErrPeerClosed)
}

// shutdownSocket ends a blocked Read as it is closed, which the owner of a blocking descriptor has to see to.
type shutdownSocket struct {
	*os.File
	fd int
}

func (s shutdownSocket) Close() error {
	_ = syscall.Shutdown(s.fd, syscall.SHUT_RDWR)
	return s.File.Close()
}
