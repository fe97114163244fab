//go:build unix

package tick

import "golang.org/x/sys/unix"

// writeStderr asks poll(2) first. A pipe that is writable has room for a page, far more than a tick. The write is a
// bare one: through os.Stderr a broken pipe would end the program.
func writeStderr(b []byte) bool {
	fds := [1]unix.PollFd{{Fd: 2, Events: unix.POLLOUT}}
	for {
		n, err := unix.Poll(fds[:], 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 || fds[0].Revents != unix.POLLOUT {
			return false
		}
		n, err = unix.Write(2, b)
		if err != unix.EINTR {
			return err == nil && n == len(b)
		}
	}
}
