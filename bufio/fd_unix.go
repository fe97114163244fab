//go:build unix

package bufio

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// InputFD returns an Input that reads from a descriptor, which stays its owner's, open and with its flags
// unchanged: see the package's comment for how. Close closes only what the Input opened for itself.
//
// The error is a *DescriptorError: EBADF for a descriptor that is not open or not open for reading, EISDIR for
// a directory, and errors.ErrUnsupported for a socket that is not a byte stream.
func InputFD(fd int) (*Input, error) {
	f, name, err := ownFD("read", fd, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	o := newFileOrigin(f, f)
	if o == nil {
		f.Close()
		return nil, &DescriptorError{Op: "read", FD: fd, Err: errors.ErrUnsupported}
	}
	if r, ok := o.(*raw); ok && name != "" {
		r.name = name
	}
	return newInput(o), nil
}

// OutputFD returns an Output that writes to a descriptor, which stays its owner's, open and with its flags
// unchanged: see the package's comment for how. Close closes only what the Output opened for itself, so that
// the reader of a pipe sees the end once the owner has closed the descriptor too.
//
// The error is a *DescriptorError: EBADF for a descriptor that is not open or not open for writing, EISDIR for
// a directory, and errors.ErrUnsupported for a socket that is not a byte stream.
func OutputFD(fd int) (*Output, error) {
	f, name, err := ownFD("write to", fd, unix.O_WRONLY)
	if err != nil {
		return nil, err
	}
	s := newFileSink(f, f)
	if s == nil {
		f.Close()
		return nil, &DescriptorError{Op: "write to", FD: fd, Err: errors.ErrUnsupported}
	}
	if r, ok := s.(*rawSink); ok {
		r.half = false
		if name != "" {
			r.name = name
		}
	}
	return newOutput(s), nil
}

// ownFD makes a descriptor of our own for the object behind fd, and names the way if it is not the usual one.
func ownFD(op string, fd, access int) (*os.File, string, error) {
	fail := func(err error) (*os.File, string, error) {
		return nil, "", &DescriptorError{Op: op, FD: fd, Err: err}
	}
	if fd < 0 {
		return fail(unix.EBADF)
	}
	kind, err := fdKindOf(fd)
	switch {
	case err != nil:
		return fail(err)
	case kind.directory:
		return fail(unix.EISDIR)
	case kind.access != access && kind.access != unix.O_RDWR:
		return fail(unix.EBADF)
	}
	if kind.socket {
		if t, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || t != unix.SOCK_STREAM {
			return fail(errors.ErrUnsupported)
		}
	}
	if kind.pipe {
		if f := reopen(fd, access); f != nil {
			return f, "reopened", nil
		}
	}
	// Never below 3: the runtime takes a broken pipe on descriptor 1 or 2 for a reason to end.
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return fail(err)
	}
	return os.NewFile(uintptr(own), "descriptor"), "", nil
}
