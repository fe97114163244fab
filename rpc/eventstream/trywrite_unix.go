//go:build unix

package eventstream

import (
	"io"
	"syscall"
)

// tryWriter writes to a socket what it takes without waiting. One goroutine at a time may use it.
type tryWriter struct {
	raw   syscall.RawConn
	write func(fd uintptr) bool // made once, for it would be allocated

	p   []byte
	n   int
	err error
}

// newTryWriter returns nil if w is no socket: those alone are known to be non-blocking.
func newTryWriter(w io.Writer) *tryWriter {
	sc, ok := w.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil || !isSocket(raw) {
		return nil
	}
	t := &tryWriter{raw: raw}
	t.write = func(fd uintptr) bool {
		t.n, t.err = syscall.Write(int(fd), t.p)
		return true
	}
	return t
}

// try returns how much of p was written, and any error, that the socket is full among them.
func (t *tryWriter) try(p []byte) (int, error) {
	t.p = p
	err := t.raw.Write(t.write)
	t.p = nil
	if err != nil {
		return 0, err
	}
	return max(t.n, 0), t.err
}

func isSocket(raw syscall.RawConn) (yes bool) {
	err := raw.Control(func(fd uintptr) {
		_, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_TYPE)
		yes = err == nil
	})
	return yes && err == nil
}
