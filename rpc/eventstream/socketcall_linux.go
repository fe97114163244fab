package eventstream

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls of this file do not tell the runtime that they enter the kernel, which is fit for calls that cannot block
// and copy little. An idle process whose first call does tell wakes the runtime's monitor thread: on few cores that takes
// away from the peer about as much time as a message needs.

// maxQuickCopy is the most bytes that are copied so: more take long enough for the runtime to care.
const maxQuickCopy = 64 << 10

// sendNow writes what the socket takes without waiting.
func sendNow(fd uintptr, p []byte) (int, error) {
	if len(p) == 0 || len(p) > maxQuickCopy {
		return syscall.Write(int(fd), p)
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// recvNow reads what the socket has, or fails with EAGAIN.
func recvNow(fd uintptr, p []byte) (int, error) {
	if len(p) == 0 || len(p) > maxQuickCopy {
		return syscall.Read(int(fd), p)
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
