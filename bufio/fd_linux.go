package bufio

import (
	"io"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reopen returns an open file description of our own for a pipe, which may be non-blocking without anybody
// else's being so, or nil where the system refuses.
func reopen(fd, access int) *os.File {
	f, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(fd), access|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	return f
}

func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// newPolled reads a descriptor that blocks: a socket by trying and poll(2), anything else on a goroutine, which
// reads once poll(2) has said that there is something.
func newPolled(f *os.File, rc syscall.RawConn, kind fdKind, owned io.Closer) origin {
	wake, err := newWaker()
	if err != nil {
		return nil
	}
	if kind.socket {
		o := newRaw(rc, "socket", owned)
		o.file, o.try, o.plain, o.wake = f, recvNow, false, wake
		o.apply = wake.set
		return o
	}
	r := &pollReader{rc: rc, wake: wake, terminal: kind.terminal}
	r.step = r.once
	p := newPump(r)
	p.done = func() { wake.close() }
	p.stop = func() error {
		r.closed.Store(true)
		wake.set(true)
		if owned != nil {
			return owned.Close()
		}
		return nil
	}
	return p
}

// pollReader reads a descriptor once it is readable, so that what comes after the end of an Input is left to
// whoever reads next.
type pollReader struct {
	rc       syscall.RawConn
	wake     waiter
	terminal bool
	closed   atomic.Bool
	step     func(fd uintptr) bool

	p   []byte
	n   int
	err error
}

func (r *pollReader) Read(p []byte) (int, error) {
	r.p, r.n, r.err = p, 0, nil
	if err := r.rc.Read(r.step); err != nil {
		return 0, err
	}
	return r.n, r.err
}

func (r *pollReader) once(fd uintptr) bool {
	for {
		r.wake.wait(int(fd), unix.POLLIN)
		if r.closed.Load() {
			r.err = ErrClosed
			return true
		}
		n, err := unix.Read(int(fd), r.p)
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
		case err == unix.EIO && r.terminal || err == nil && n == 0:
			// A terminal whose other side is closed says EIO.
			r.err = io.EOF
			return true
		case err != nil:
			r.err = os.NewSyscallError("read", err)
			return true
		default:
			r.n = n
			return true
		}
	}
}

// waker is a waiter by poll(2) on the descriptor and an eventfd.
type waker struct {
	event  *os.File // never in the poller, since it blocks
	rc     syscall.RawConn
	raised bool // guarded by who calls set

	// One wait under way.
	fds  [2]unix.PollFd
	step func(fd uintptr)
}

func newWaker() (*waker, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	w := &waker{event: os.NewFile(uintptr(fd), "eventfd")}
	w.step = w.poll
	if w.rc, err = w.event.SyscallConn(); err != nil {
		w.event.Close()
		return nil, err
	}
	return w, nil
}

func (w *waker) wait(fd int, events int16) {
	w.fds[0] = unix.PollFd{Fd: int32(fd), Events: events}
	// An error says that the waker is closed, and so is what it waited for.
	_ = w.rc.Control(w.step)
}

func (w *waker) poll(event uintptr) {
	w.fds[1] = unix.PollFd{Fd: int32(event), Events: unix.POLLIN}
	for {
		if _, err := unix.Poll(w.fds[:], -1); err != unix.EINTR {
			return
		}
	}
}

func (w *waker) set(stop bool) {
	if w.raised == stop {
		return
	}
	w.raised = stop
	var one [8]byte
	one[0] = 1
	_ = w.rc.Control(func(fd uintptr) {
		if stop {
			unix.Write(int(fd), one[:])
		} else {
			unix.Read(int(fd), one[:])
		}
	})
}

func (w *waker) close() error { return w.event.Close() }

// recvNow is recv(2) with MSG_DONTWAIT. The one of x/sys allocates the sender's address.
func recvNow(fd int, p []byte) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
		uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
