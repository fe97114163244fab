//go:build unix

package endpoint

import (
	"errors"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/pconn"
)

// takeStdio moves standard input and output to descriptors of our own.
func takeStdio() (*bufio.Input, *bufio.Output, pconn.Peer, error) {
	var none pconn.Peer
	for fd := range 2 {
		if err := checkStdio(fd); err != nil {
			return nil, nil, none, &StdioError{FD: fd, Err: err}
		}
	}
	in, out, err := openDescriptors(0, 1)
	if err != nil {
		return nil, nil, none, stdioError(err)
	}
	peer := peerOfFD(0)
	if err := divertStdio(); err != nil {
		_ = in.Close()
		_ = out.Close()
		return nil, nil, none, err
	}
	catchBrokenPipes()
	return in, out, peer, nil
}

// checkStdio finds out why a standard descriptor cannot be a connection.
func checkStdio(fd int) error {
	var st, null unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	// The runtime opens the null device where a process begins with a closed standard descriptor.
	if err := unix.Stat(os.DevNull, &null); err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == null.Rdev {
		return ErrNoStream
	}
	if term.IsTerminal(fd) {
		return ErrTerminal
	}
	return nil
}

// stdioError says which of the two descriptors could not be opened.
func stdioError(err error) error {
	var d *bufio.DescriptorError
	if errors.As(err, &d) {
		return &StdioError{FD: d.FD, Err: d.Err}
	}
	return err
}

// divertStdio makes descriptor 0 the null device and descriptor 1 a copy of standard error.
func divertStdio() error {
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &StdioError{FD: 0, Err: os.NewSyscallError("open "+os.DevNull, err)}
	}
	defer unix.Close(null)
	// Output first: it is the one that can fail, where standard error is closed, and nothing has changed then.
	if err := dup2(2, 1); err != nil {
		return &StdioError{FD: 1, Err: os.NewSyscallError("dup", err)}
	}
	if err := dup2(null, 0); err != nil {
		return &StdioError{FD: 0, Err: os.NewSyscallError("dup", err)}
	}
	return nil
}

// catchBrokenPipes makes a write to descriptor 1 or 2 whose reader is gone an error, where it would otherwise end
// the process. The signal is caught rather than ignored, since what is ignored stays so in children.
func catchBrokenPipes() {
	// Nobody reads the channel: what does not fit is dropped.
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)
}

// closeDescriptors closes descriptors of the process's own.
func closeDescriptors(r, w int) {
	_ = unix.Close(r)
	if w != r {
		_ = unix.Close(w)
	}
}
