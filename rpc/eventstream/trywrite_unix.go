//go:build unix

package eventstream

import (
	"io"
	"syscall"
)

// tryWriter returns a function that writes to w what its descriptor takes at once, or nil if w is no
// socket: those alone are known to be non-blocking.
func tryWriter(w io.Writer) func([]byte) (int, error) {
	sc, ok := w.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil || !isSocket(raw) {
		return nil
	}
	return func(p []byte) (n int, err error) {
		ctlErr := raw.Write(func(fd uintptr) bool {
			n, err = syscall.Write(int(fd), p)
			return true
		})
		if ctlErr != nil {
			return 0, ctlErr
		}
		return max(n, 0), err
	}
}

func isSocket(raw syscall.RawConn) (yes bool) {
	err := raw.Control(func(fd uintptr) {
		_, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_TYPE)
		yes = err == nil
	})
	return yes && err == nil
}
