package bufio

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// copyDescriptor returns a descriptor of our own for what f is.
func copyDescriptor(f *os.File) (int, error) {
	rc, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	var own int
	var dupErr error
	err = rc.Control(func(fd uintptr) { own, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3) })
	switch {
	case err != nil:
		return -1, fmt.Errorf("bufio: file %s: %w", f.Name(), os.ErrClosed)
	case dupErr != nil:
		return -1, fmt.Errorf("bufio: file %s: %w", f.Name(), os.NewSyscallError("fcntl", dupErr))
	}
	return own, nil
}

func closeDescriptor(fd int) { _ = unix.Close(fd) }

// isUnixStream reports whether a descriptor is a Unix socket that carries bytes.
func isUnixStream(fd int) bool {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || domain != unix.AF_UNIX {
		return false
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	return err == nil && kind == unix.SOCK_STREAM
}

func (s *rawSink) passHandles() bool {
	if !s.passes && s.tries {
		_ = s.rc.Control(func(fd uintptr) { s.passes = isUnixStream(int(fd)) })
	}
	return s.passes
}

// sendHandles is sendmsg(2) without waiting, with descriptors for the first byte. The system has either taken that and
// them or nothing.
func (v *vectors) sendHandles(fd int, bufs [][]byte, h *Handles) (int, error) {
	v.set(bufs)
	rights := unix.UnixRights(h.fds...)
	msg := unix.Msghdr{Iov: unsafe.SliceData(v.iov), Control: unsafe.SliceData(rights)}
	msg.SetIovlen(len(v.iov))
	msg.SetControllen(len(rights))
	n, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func (o *raw) takeFiles(stray func([]*os.File)) bool {
	takes := false
	if !o.seeks {
		_ = o.rc.Control(func(fd uintptr) { takes = isUnixStream(int(fd)) })
	}
	if takes {
		o.taken = &takenFiles{stray: stray, room: make([]byte, takenRoom)}
	}
	return takes
}

func (o *raw) leaveFiles() {
	if o.taken != nil {
		o.taken.dropAll()
		o.taken = nil
	}
}

func (o *raw) files(start int64) []*os.File {
	if o.taken == nil {
		return nil
	}
	return o.taken.take(start)
}

// takenRoom holds as many descriptors as the system passes at once, and the credentials that a socket may give.
var takenRoom = unix.CmsgSpace(maxAtOnce*4) + unix.CmsgSpace(unix.SizeofUcred)

// maxAtOnce is how many descriptors Linux passes in one call (SCM_MAX_FD).
const maxAtOnce = 253

// takenFiles are descriptors that came with bytes. Only who reads uses it.
//
// The system never gives those of two calls of their sender's in one read, and ends a read behind the bytes of a call
// that had some. So they wait in sets, each with the offset behind the read that it came with.
type takenFiles struct {
	stray func([]*os.File)
	sets  []fileSet
	n     int    // files in them
	room  []byte // for what comes beside the bytes
}

type fileSet struct {
	files []*os.File
	end   int64
}

// read reads once, as recvNow does. Before that it looks for files that nobody has asked for: whoever comes to read has
// seen all packets that are whole.
func (t *takenFiles) read(fd int, in *Input) (int, error) {
	t.drop(in.off)
	p := in.space()
	iov := unix.Iovec{Base: unsafe.SliceData(p)}
	iov.SetLen(len(p))
	msg := unix.Msghdr{Iov: &iov, Control: unsafe.SliceData(t.room)}
	msg.SetIovlen(1)
	msg.SetControllen(len(t.room))
	r, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)),
		unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if errno != 0 {
		return 0, errno
	}
	n := int(r)
	if msg.Controllen == 0 && msg.Flags&unix.MSG_CTRUNC == 0 {
		return n, nil
	}
	files := t.parse(t.room[:msg.Controllen])
	if msg.Flags&unix.MSG_CTRUNC != 0 || t.n+len(files) > maxTakenFiles {
		t.stray(files)
		if msg.Flags&unix.MSG_CTRUNC != 0 {
			return 0, ErrFilesLost
		}
		return 0, ErrTooManyFiles
	}
	if len(files) > 0 {
		t.sets = append(t.sets, fileSet{files, in.got + int64(n)})
		t.n += len(files)
	}
	return n, nil
}

// parse makes files of the descriptors that came.
func (t *takenFiles) parse(control []byte) []*os.File {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil // the system's own words are well-formed
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // credentials
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return files
}

// take returns the set that came with the byte at an offset. Those that came before it are strays.
func (t *takenFiles) take(start int64) []*os.File {
	t.drop(start)
	if len(t.sets) == 0 {
		return nil
	}
	return t.first()
}

// drop gives away the sets that came with bytes before an offset only.
func (t *takenFiles) drop(before int64) {
	for len(t.sets) > 0 && t.sets[0].end <= before {
		t.stray(t.first())
	}
}

func (t *takenFiles) dropAll() {
	for len(t.sets) > 0 {
		t.stray(t.first())
	}
}

func (t *takenFiles) first() []*os.File {
	files := t.sets[0].files
	t.sets[0] = fileSet{}
	t.sets = t.sets[1:]
	t.n -= len(files)
	return files
}
