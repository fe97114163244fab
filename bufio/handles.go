package bufio

import (
	"errors"
	"os"
)

// Handles are descriptors on their way to another process, with bytes of a Unix socket. They are copies, so that what
// they were made of may be closed. They are not safe for concurrent use.
type Handles struct{ fds []int }

// NewHandles copies the descriptors of files, which stay their owner's. The error is that of a file which is closed, or
// the system's, or errors.ErrUnsupported where descriptors cannot be passed at all.
func NewHandles(files []*os.File) (*Handles, error) {
	h := &Handles{fds: make([]int, 0, len(files))}
	for _, f := range files {
		fd, err := copyDescriptor(f)
		if err != nil {
			h.Close()
			return nil, err
		}
		h.fds = append(h.fds, fd)
	}
	return h, nil
}

// Len returns how many there are.
func (h *Handles) Len() int { return len(h.fds) }

// Close closes the copies. The second call does nothing, nor does one of a nil Handles.
func (h *Handles) Close() {
	if h == nil {
		return
	}
	for _, fd := range h.fds {
		closeDescriptor(fd)
	}
	h.fds = nil
}

// HandleSource is a Source with whose bytes descriptors may go.
type HandleSource interface {
	Source
	// Handles is asked after Next, and returns the descriptors that go with the first of the bytes which that gave, or
	// nil. If any of those bytes are written the Output closes them, after Wrote.
	Handles() *Handles
}

// PassHandles makes the Output ask a HandleSource for descriptors to send, and reports whether it can: the stream is a
// Unix socket, on Linux. It is called before the first Write.
func (o *Output) PassHandles() bool {
	s, ok := o.sink.(interface{ passHandles() bool })
	return ok && s.passHandles()
}

// TakeFiles makes the Input take descriptors that come with the bytes, and reports whether it can: the stream is a Unix
// socket, on Linux. Until LeaveFiles they wait for Files, at most 256 at a time, past which reading fails with
// ErrTooManyFiles. Where the system gives fewer than came, since this process can have no more, reading fails with
// ErrFilesLost.
//
// stray is called, by whoever reads, with files that were not asked for although all bytes that they came with are
// taken. They are its own. Nobody reads when TakeFiles is called.
func (in *Input) TakeFiles(stray func([]*os.File)) bool {
	o, ok := in.org.(interface {
		takeFiles(func([]*os.File)) bool
	})
	return ok && o.takeFiles(stray)
}

// Files returns the files that came with the bytes of which the one at offset start is the first or a later one, or nil.
// They are the caller's. It is called by whoever reads.
func (in *Input) Files(start int64) []*os.File {
	if o, ok := in.org.(interface{ files(int64) []*os.File }); ok {
		return o.files(start)
	}
	return nil
}

// LeaveFiles undoes TakeFiles. Those that wait go to stray. Nobody reads when it is called.
func (in *Input) LeaveFiles() {
	if o, ok := in.org.(interface{ leaveFiles() }); ok {
		o.leaveFiles()
	}
}

var (
	// ErrFilesLost says that the system did not give all descriptors that came, as a rule because this process has as
	// many open as it may have.
	ErrFilesLost = errors.New("bufio: descriptors that came were lost")

	// ErrTooManyFiles says that too many descriptors have come that were not asked for.
	ErrTooManyFiles = errors.New("bufio: too many descriptors have come")
)
