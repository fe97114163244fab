//go:build unix

package endpoint

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// socket makes a connected pair of Unix sockets, and returns the child's.
func (w *wires) socket() (*os.File, error) {
	// Until they are close-on-exec no child may be started.
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "socket")
	w.theirs = append(w.theirs, theirs)
	ours := os.NewFile(uintptr(fds[0]), "socket")
	defer ours.Close() // the connection has a copy
	nc, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}
	w.in, w.out = nc, nc
	return theirs, nil
}
