package bufio_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/packetstream/packetstream/bufio"
)

func pipeSize(t *testing.T, f *os.File) int {
	t.Helper()
	rc, err := f.SyscallConn()
	require.NoError(t, err)
	var size int
	require.NoError(t, rc.Control(func(fd uintptr) {
		size, err = unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0)
	}))
	require.NoError(t, err)
	return size
}

func TestEnlargeAPipe(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	out := bufio.OwnOutput(w)
	defer out.Close()
	require.Equal(t, bufio.DefaultPipe, pipeSize(t, r))
	out.Enlarge()
	require.Equal(t, 1<<20, pipeSize(t, r))
}

func TestEnlargeLeavesAChosenSize(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	out := bufio.OwnOutput(w)
	defer out.Close()
	rc, err := w.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, rc.Control(func(fd uintptr) {
		_, err = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 4096)
	}))
	require.NoError(t, err)
	out.Enlarge()
	require.Equal(t, 4096, pipeSize(t, r))
}

// A process enlarges no more than sixteen pipes at a time, and closing one makes way for another.
func TestEnlargeIsBounded(t *testing.T) {
	var outs []*bufio.Output
	var ends []*os.File
	defer func() {
		for i, out := range outs {
			out.Close()
			ends[i].Close()
		}
	}()
	enlarged := func() bool {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		out := bufio.OwnOutput(w)
		outs, ends = append(outs, out), append(ends, r)
		out.Enlarge()
		return pipeSize(t, r) == 1<<20
	}
	n := 0
	for enlarged() {
		n++
		require.LessOrEqual(t, n, 16)
	}
	require.Equal(t, 16, n)
	require.NoError(t, outs[0].Close())
	require.True(t, enlarged())
}
