//go:build !race

package bufio

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestQuickCallsNeverBlock makes them on a socket that somebody else has made block. If they did, no memory could be
// collected meanwhile: so the socket has a limit for that.
func TestQuickCallsNeverBlock(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	const limit = 2 * time.Second
	tv := unix.NsecToTimeval(int64(limit))
	require.NoError(t, unix.SetsockoptTimeval(fds[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv))
	require.NoError(t, unix.SetsockoptTimeval(fds[0], unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv))
	p := make([]byte, 4<<10)

	began := time.Now()
	_, err = quickRead(fds[0], p)
	require.Equal(t, unix.EAGAIN, err)
	for err = nil; err == nil; {
		_, err = quickWrite(fds[0], p)
	}
	require.Equal(t, unix.EAGAIN, err)
	require.Less(t, time.Since(began), limit)

	n, err := unix.Write(fds[1], []byte("abc"))
	require.NoError(t, err)
	got, err := quickRead(fds[0], p)
	require.NoError(t, err)
	require.Equal(t, n, got)
	require.Equal(t, "abc", string(p[:n]))
}
