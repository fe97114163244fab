//go:build !race

package bufio

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// quickBytes is up to how many bytes a system call on a socket is made without telling the runtime of it. For a thread in a
// system call that it was told of, the runtime has another one take over as soon as it has seen that for 20 µs; with more
// threads than cores that happens whenever the system takes the core away, and the two are then in each other's way. Such a
// call only copies; so many bytes take less time than a goroutine may run anyway. A pipe is something else: its lock is held
// by the peer for as long as its copy takes, page faults included, and this whole process would wait for that.
//
// A call that blocks would have the whole process wait as well, as soon as memory is to be collected. Whoever shares the
// socket, another process too, can make it block at any time: so each call says that it does not.
const quickBytes = 64 << 10

func quickRead(fd int, p []byte) (int, error) {
	if len(p) > quickBytes {
		return recvNow(fd, p)
	}
	return quickCall(unix.SYS_RECVFROM, fd, p, unix.MSG_DONTWAIT)
}

func quickWrite(fd int, p []byte) (int, error) {
	if len(p) > quickBytes {
		return unix.Write(fd, p)
	}
	return quickCall(unix.SYS_SENDTO, fd, p, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

// plainRead is read(2), and plainWrite write(2), as package unix makes them, with less on the stack of a goroutine that is in no
// cache when it goes on.
func plainRead(fd int, p []byte) (int, error) { return plainCall(unix.SYS_READ, fd, p) }

func plainWrite(fd int, p []byte) (int, error) { return plainCall(unix.SYS_WRITE, fd, p) }

func plainCall(trap uintptr, fd int, p []byte) (int, error) {
	n, _, errno := unix.Syscall(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func quickCall(trap uintptr, fd int, p []byte, flags uintptr) (int, error) {
	n, _, errno := unix.RawSyscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
