//go:build unix

package links

import (
	"io"
	"syscall"
)

// directWriter writes to a descriptor that never waits, so that a short frame leaves on the goroutine that made it.
type directWriter struct {
	raw syscall.RawConn
	// try and what it works on are kept, so that a write takes no memory. There is one writer at a time.
	try   func(fd uintptr) bool
	batch []byte
	n     int
	err   error
}

// directOf finds the descriptor behind a stream. It must be in non-blocking mode already: the flag is shared with whoever else has the
// descriptor, so it is not ours to set.
func directOf(rw io.ReadWriteCloser) *directWriter {
	var target any = rw
	if pair, ok := rw.(duplex); ok {
		target = pair.Writer
	}
	conn, ok := target.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	d := &directWriter{raw: raw}
	nonblocking := false
	err = raw.Control(func(fd uintptr) {
		flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFL, 0)
		nonblocking = errno == 0 && flags&syscall.O_NONBLOCK != 0
	})
	if err != nil || !nonblocking {
		return nil
	}
	d.try = func(fd uintptr) bool {
		d.n, d.err = syscall.Write(int(fd), d.batch)
		return true // one try, whatever came of it
	}
	return d
}

// write writes once and returns how much was taken. A descriptor that is full, or a call that was interrupted, is no error.
func (d *directWriter) write(batch []byte) (int, error) {
	d.batch, d.n, d.err = batch, 0, nil
	err := d.raw.Write(d.try)
	d.batch = nil
	switch {
	case err != nil:
		return 0, err
	case d.err == syscall.EAGAIN || d.err == syscall.EINTR:
		return 0, nil
	default:
		return max(d.n, 0), d.err
	}
}
