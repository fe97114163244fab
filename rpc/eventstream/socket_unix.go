//go:build unix

package eventstream

import (
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// tryWriter writes to a socket what it takes without waiting. One goroutine at a time may use it.
type tryWriter struct {
	raw   syscall.RawConn
	write func(fd uintptr) bool // made once, for it would be allocated

	p   []byte
	n   int
	err error
}

// newTryWriter returns nil if w is no socket, or one in blocking mode.
func newTryWriter(w io.Writer) *tryWriter {
	raw := socketOf(w)
	if raw == nil {
		return nil
	}
	t := &tryWriter{raw: raw}
	t.write = func(fd uintptr) bool {
		t.n, t.err = sendNow(fd, t.p)
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

// socketReader reads from a socket as the socket's own Read does, by recvNow.
type socketReader struct {
	raw  syscall.RawConn
	read func(fd uintptr) bool // made once, for it would be allocated

	p   []byte
	n   int
	err error
}

// newSocketReader returns r itself if it is no socket.
func newSocketReader(r io.Reader) io.Reader {
	raw := socketOf(r)
	if raw == nil {
		return r
	}
	s := &socketReader{raw: raw}
	s.read = func(fd uintptr) bool {
		for {
			s.n, s.err = recvNow(fd, s.p)
			if s.err != syscall.EINTR {
				return s.err != syscall.EAGAIN
			}
		}
	}
	return s
}

func (s *socketReader) Read(p []byte) (int, error) {
	s.p = p
	err := s.raw.Read(s.read)
	s.p = nil
	switch {
	case err != nil:
		return 0, err
	case s.err != nil:
		return 0, s.err
	case s.n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	return s.n, nil
}

// socketOf returns the descriptor of v if it is a socket that the runtime can wait for, else nil: an inherited one may
// be in blocking mode.
func socketOf(v any) syscall.RawConn {
	sc, ok := v.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	socket := false
	err = raw.Control(func(fd uintptr) {
		_, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_TYPE)
		flags, flagsErr := unix.FcntlInt(fd, unix.F_GETFL, 0)
		socket = err == nil && flagsErr == nil && flags&unix.O_NONBLOCK != 0
	})
	if err != nil || !socket {
		return nil
	}
	return raw
}
