package pconn_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/pconn"
)

// A payload as large as a pipe does not fit there by the length of its header. The few bytes that are left tell
// of bulk as much as many would.
func TestPayloadOfAPipesSizeEnlargesIt(t *testing.T) {
	for _, size := range []int{bufio.DefaultPipe, 1 << 20} {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		defer r.Close()
		idle, idleW, err := os.Pipe()
		require.NoError(t, err)
		defer idleW.Close()
		conn, err := pconn.New(bufio.OwnInput(idle), bufio.OwnOutput(w), &pconn.Options{CloseInput: true})
		require.NoError(t, err)
		require.Equal(t, bufio.DefaultPipe, pipeSize(t, r))
		require.NoError(t, conn.Notify(soon(t), pconn.Request{Payload: pattern(size)}))
		eventually(t, "a larger pipe", func() bool { return pipeSize(t, r) > bufio.DefaultPipe })
		require.NoError(t, r.Close())
		within(t, func() { _ = conn.Close() })
	}
}

func pipeSize(t *testing.T, f *os.File) int {
	t.Helper()
	rc, err := f.SyscallConn()
	require.NoError(t, err)
	var size int
	require.NoError(t, rc.Control(func(fd uintptr) { size, err = unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0) }))
	require.NoError(t, err)
	return size
}
