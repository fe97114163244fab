//go:build unix

package bufio

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// raw reads a descriptor through its RawConn, so that the buffer can be given back while it waits, and so that
// it can be tried without waiting. A regular file is read in the same way and never waits.
type raw struct {
	// What each read needs comes first, as in Input.

	gate
	rc   syscall.RawConn
	step func(fd uintptr) bool

	// One read under way.
	in        *Input
	n         int
	err       error
	wait      bool
	scattered bool // it used vec

	plain bool // try is read(2), in one way or another
	seeks bool // a regular file
	try   func(fd int, p []byte) (int, error)
	taken *takenFiles // not nil where descriptors are taken that come with the bytes
	wake  waiter      // not nil for a socket that blocks
	vec   vectors
	file  *os.File // not nil for an os.File
	owned io.Closer
	name  string
}

// newRawOrigin returns nil for what is not a descriptor that can be read in this way.
func newRawOrigin(r io.Reader, owned io.Closer) origin {
	if f, ok := r.(*os.File); ok {
		return newFileOrigin(f, owned)
	}
	conn, rc := rawSocket(r)
	if rc == nil || conn.SetReadDeadline(time.Time{}) != nil {
		return nil
	}
	o := newRaw(rc, "poller", owned)
	o.try = quickRead
	o.apply = func(stop bool) { conn.SetReadDeadline(stopTime(stop)) }
	return o
}

// rawSocket returns a socket and its descriptor, or nil for anything else. Types that embed a connection are not looked
// into, since their own Read and Write may do more.
func rawSocket(rw any) (net.Conn, syscall.RawConn) {
	switch rw.(type) {
	case *net.TCPConn, *net.UnixConn:
		if rc, err := rw.(syscall.Conn).SyscallConn(); err == nil {
			return rw.(net.Conn), rc
		}
	}
	return nil, nil
}

func newFileOrigin(f *os.File, owned io.Closer) origin {
	rc, err := f.SyscallConn()
	if err != nil {
		return nil
	}
	kind, err := kindOf(rc)
	if err != nil {
		return nil
	}
	switch {
	case kind.regular:
		o := newRaw(rc, "file", owned)
		o.file, o.seeks = f, true
		return o
	case kind.nonblock && f.SetReadDeadline(time.Time{}) == nil:
		o := newRaw(rc, "poller", owned)
		o.file = f
		if kind.socket {
			o.try = quickRead
		}
		o.apply = func(stop bool) { f.SetReadDeadline(stopTime(stop)) }
		return o
	}
	return newPolled(f, rc, kind, owned)
}

func newRaw(rc syscall.RawConn, name string, owned io.Closer) *raw {
	o := &raw{rc: rc, name: name, owned: owned, try: plainRead, plain: true}
	o.step = o.once
	return o
}

// waiter waits for a descriptor that blocks, and can be told to stop.
type waiter interface {
	// wait returns when fd has one of the events, or is broken, or when stop was set. One goroutine waits
	// at a time.
	wait(fd int, events int16)
	// set makes wait return at once, or undoes that. Calls do not overlap.
	set(stop bool)
	close() error
}

// fdKind is what matters of the object behind a descriptor.
type fdKind struct {
	regular, directory, pipe, socket, terminal bool
	nonblock                                   bool
	access                                     int // O_RDONLY, O_WRONLY or O_RDWR
}

func kindOf(rc syscall.RawConn) (fdKind, error) {
	var k fdKind
	var err error
	if cerr := rc.Control(func(fd uintptr) { k, err = fdKindOf(int(fd)) }); cerr != nil {
		return k, cerr
	}
	return k, err
}

func fdKindOf(fd int) (fdKind, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fdKind{}, err
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return fdKind{}, err
	}
	format := st.Mode & unix.S_IFMT
	return fdKind{
		regular:   format == unix.S_IFREG || format == unix.S_IFBLK,
		directory: format == unix.S_IFDIR,
		pipe:      format == unix.S_IFIFO,
		socket:    format == unix.S_IFSOCK,
		terminal:  format == unix.S_IFCHR && isTerminal(fd),
		nonblock:  flags&unix.O_NONBLOCK != 0,
		access:    flags & unix.O_ACCMODE,
	}, nil
}

func (o *raw) read(in *Input, wait bool) (int, error) {
	seen, err := o.enter()
	if err != nil {
		return 0, err
	}
	o.in, o.wait, o.n, o.err = in, wait, 0, nil
	err = o.rc.Read(o.step)
	in.eager.leave()
	o.in = nil
	if o.scattered {
		o.scattered = false
		o.vec.forget()
	}
	if err == nil {
		err = o.err
	}
	stopped := o.leave(seen)
	if o.n > 0 || err == nil {
		return o.n, err
	}
	if stopped != nil && (stopped == ErrClosed || isTimeout(err) || err == ErrInterrupted) {
		return 0, stopped
	}
	return 0, o.explain(err)
}

// explain puts os.ErrClosed for the unexported error that a RawConn of a closed os.File gives.
func (o *raw) explain(err error) error {
	if o.file != nil && !isErrno(err) {
		if _, ferr := o.file.Read(nil); errors.Is(ferr, os.ErrClosed) {
			return ferr
		}
	}
	return err
}

func isErrno(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno) || err == io.EOF || err == ErrWouldBlock
}

// once reads once, and returns false to be called again when there is more: the poller is edge-triggered, so
// waiting must follow an attempt that failed in the same call.
func (o *raw) once(fd uintptr) bool {
	o.in.eager.asked = false
	if o.wait && o.in.eager.comesLater() {
		o.lookAgain()
	}
	for {
		n, err := o.attempt(int(fd))
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN && !o.wait:
			o.err = ErrWouldBlock
			return true
		case err == unix.EAGAIN && o.lookAgain():
		case err == unix.EAGAIN && o.wake == nil:
			o.in.idle()
			return false
		case err == unix.EAGAIN:
			o.in.idle()
			o.wake.wait(int(fd), unix.POLLIN)
			if o.err = o.check(); o.err != nil {
				return true
			}
			o.in.eager.asked = false
		case err != nil:
			o.err = os.NewSyscallError("read", err)
			return true
		case n == 0:
			o.err = io.EOF
			return true
		default:
			o.n = n
			o.in.eager.found()
			return true
		}
	}
}

// lookAgain says whether to look again at a descriptor that has nothing, instead of waiting, and lets other goroutines
// run before.
func (o *raw) lookAgain() bool {
	e := &o.in.eager
	if !e.asked {
		e.begin(o.in.waits())
	}
	n := 0
	if o.check() != nil {
		e.leave()
	} else {
		n = e.next()
	}
	o.in.looksNext(n > 0)
	for range n {
		runtime.Gosched()
	}
	return n > 0
}

// attempt makes one system call.
func (o *raw) attempt(fd int) (int, error) {
	switch {
	case o.taken != nil:
		return o.taken.read(fd, o.in)
	case o.plain && o.in.into != nil:
		return o.scatter(fd)
	}
	return o.try(fd, o.in.space())
}

// scatter is attempt for a read that goes past the buffer.
func (o *raw) scatter(fd int) (int, error) {
	over, p, gap := o.in.behind(), o.in.space(), o.in.gap
	o.scattered = true
	return o.vec.readv(fd, p, over[:gap], p[len(p):len(p)+int(o.in.beyond)], over[gap:])
}

func (o *raw) skip(n int64) bool {
	if !o.seeks || o.check() != nil {
		return false
	}
	at, err := o.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return false
	}
	st, err := o.file.Stat()
	if err != nil || st.Size()-at < n {
		return false
	}
	_, err = o.file.Seek(n, io.SeekCurrent)
	return err == nil
}

func (o *raw) mode() string      { return o.name }
func (o *raw) nonBlocking() bool { return true }

func (o *raw) close() error {
	if !o.shut() {
		return nil
	}
	var err error
	if o.owned != nil {
		err = o.owned.Close()
	}
	if o.wake != nil {
		err = errors.Join(err, o.wake.close())
	}
	return err
}
