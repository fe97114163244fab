package bufio

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// vectors is what one gathered write or scattered read needs, kept so that it takes no memory.
type vectors struct {
	iov []unix.Iovec
	msg *unix.Msghdr // for a socket that blocks
}

// set fills iov from bufs.
func (v *vectors) set(bufs [][]byte) {
	v.iov = v.iov[:0]
	for _, b := range bufs {
		if len(b) == 0 {
			continue
		}
		io := unix.Iovec{Base: unsafe.SliceData(b)}
		io.SetLen(len(b))
		v.iov = append(v.iov, io)
	}
}

// forget lets go of the memory that was written from or read to.
func (v *vectors) forget() {
	clear(v.iov)
	if v.msg != nil {
		*v.msg = unix.Msghdr{}
	}
}

func (v *vectors) writev(fd int, bufs [][]byte) (int, error) {
	if len(bufs) == 1 {
		return unix.Write(fd, bufs[0])
	}
	v.set(bufs)
	return v.transfer(unix.SYS_WRITEV, fd)
}

// readv reads into one slice after another.
func (v *vectors) readv(fd int, bufs ...[]byte) (int, error) {
	v.set(bufs)
	return v.transfer(unix.SYS_READV, fd)
}

// transfer is writev(2) or readv(2) with what is set.
func (v *vectors) transfer(trap uintptr, fd int) (int, error) {
	n, _, errno := unix.Syscall(trap, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(v.iov))), uintptr(len(v.iov)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// sendNow is sendmsg(2) with MSG_DONTWAIT, for a socket that blocks.
func (v *vectors) sendNow(fd int, bufs [][]byte) (int, error) {
	v.set(bufs)
	if v.msg == nil {
		v.msg = new(unix.Msghdr)
	}
	v.msg.Iov = unsafe.SliceData(v.iov)
	v.msg.SetIovlen(len(v.iov))
	n, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(v.msg)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// newSinkWaiter returns a waiter for a descriptor that blocks, or nil if the system has no more descriptors.
func newSinkWaiter() waiter {
	w, err := newWaker()
	if err != nil {
		return nil
	}
	return w
}
