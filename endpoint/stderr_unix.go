//go:build unix

package endpoint

import (
	"io"

	"golang.org/x/sys/unix"
)

// ownStderr writes to this process's standard error. It writes to the descriptor itself: through os.Stderr a broken pipe
// would end the program.
type ownStderr struct{}

func (ownStderr) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		n, err := unix.Write(2, p[written:])
		switch {
		case err == unix.EAGAIN:
			// Whoever shares it has made it non-blocking.
			fds := [1]unix.PollFd{{Fd: 2, Events: unix.POLLOUT}}
			_, _ = unix.Poll(fds[:], -1) // the next write tells
		case err == unix.EINTR:
		case err != nil:
			return written, err
		case n == 0:
			return written, io.ErrShortWrite
		default:
			written += n
		}
	}
	return written, nil
}
