//go:build !race

package bufio

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// quickBytes is up to how many bytes a system call on a socket that does not block is made without telling the runtime of
// it. For a thread in a system call that it was told of, the runtime has another one take over as soon as it has seen that
// for 20 µs; with more threads than cores that happens whenever the system takes the core away, and the two are then in
// each other's way. Such a call only copies; so many bytes take less time than a goroutine may run anyway. A pipe is
// something else: its lock is held by the peer for as long as its copy takes, page faults included, and this whole process
// would wait for that.
const quickBytes = 64 << 10

func quickRead(fd int, p []byte) (int, error) {
	if len(p) > quickBytes {
		return unix.Read(fd, p)
	}
	return quickCall(unix.SYS_READ, fd, p)
}

func quickWrite(fd int, p []byte) (int, error) {
	if len(p) > quickBytes {
		return unix.Write(fd, p)
	}
	return quickCall(unix.SYS_WRITE, fd, p)
}

func quickCall(trap uintptr, fd int, p []byte) (int, error) {
	n, _, errno := unix.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
