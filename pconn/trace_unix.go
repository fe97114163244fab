//go:build unix

package pconn

import "golang.org/x/sys/unix"

// writeStderr writes to descriptor 2, and waits where that has no room. The writes are bare ones: through
// os.Stderr a broken pipe would end the program.
func writeStderr(line string) {
	for b := []byte(line); len(b) > 0; {
		n, err := unix.Write(2, b)
		switch err {
		case nil:
			b = b[n:]
		case unix.EINTR:
		case unix.EAGAIN:
			fds := [1]unix.PollFd{{Fd: 2, Events: unix.POLLOUT}}
			_, _ = unix.Poll(fds[:], -1)
		default:
			return
		}
	}
}
