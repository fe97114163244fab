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
	toLib, send, err := os.Pipe()
	require.NoError(t, err)
	recv, fromLib, err := os.Pipe()
	require.NoError(t, err)
	inFD, outFD := int(toLib.Fd()), int(fromLib.Fd())
	in, err := bufio.InputFD(inFD)
	require.NoError(t, err)
	out, err := bufio.OutputFD(outFD)
	require.NoError(t, err)
	return &wire{
		in: in, out: out, recv: recv,
		send: func(b []byte) error {
			_, err := send.Write(b)
			return err
		},
		closeSend: func() { send.Close() },
		closeRecv: func() { recv.Close() },
		fds:       func() (bool, bool) { return isOpen(inFD), isOpen(outFD) },
		release: func() {
			require.NoError(t, in.Close())
			require.NoError(t, toLib.Close())
			require.NoError(t, fromLib.Close())
		},
	}
}

func isOpen(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil
}
