//go:build unix

package interop

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/packetstream/packetstream/bufio"
)

// pipeWire is two pipes of the system, of which the connection is given descriptors that stay the
// application's.
func pipeWire(t *testing.T) *wire {
	t.Helper()
	var toLib, fromLib [2]int
	require.NoError(t, unix.Pipe2(toLib[:], unix.O_CLOEXEC))
	require.NoError(t, unix.Pipe2(fromLib[:], unix.O_CLOEXEC))
	require.NoError(t, unix.SetNonblock(toLib[1], true))
	require.NoError(t, unix.SetNonblock(fromLib[0], true))
	send, recv := os.NewFile(uintptr(toLib[1]), "to the library"), os.NewFile(uintptr(fromLib[0]), "from the library")
	in, err := bufio.InputFD(toLib[0])
	require.NoError(t, err)
	out, err := bufio.OutputFD(fromLib[1])
	require.NoError(t, err)
	return &wire{
		in: in, out: out, recv: recv,
		send: func(b []byte) error {
			_, err := send.Write(b)
			return err
		},
		closeSend: func() { send.Close() },
		closeRecv: func() { recv.Close() },
		fds:       func() (bool, bool) { return isOpen(toLib[0]), isOpen(fromLib[1]) },
		release: func() {
			require.NoError(t, in.Close())
			require.NoError(t, unix.Close(toLib[0]))
			require.NoError(t, unix.Close(fromLib[1]))
		},
	}
}

func isOpen(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil
}
