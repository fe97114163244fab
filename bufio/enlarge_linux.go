package bufio

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// bulkPipe is what a pipe is made to hold, in bytes, when it carries bulk: with it, writer and
	// reader change places a sixteenth as often. It is what an unprivileged process may ask for.
	bulkPipe = 1 << 20

	// maxBulkPipes is how many pipes of that size a process has at a time. A user's pipes share a soft
	// limit of 64 MiB, past which every new pipe of any of the user's programs holds two pages.
	maxBulkPipes = 16
)

// bulkPipes counts the pipes that this process has enlarged and not closed. The limit that it keeps
// to is the process's.
var bulkPipes atomic.Int32

// enlarge makes the pipe hold bulkPipe bytes, if it is one and the system allows it.
func (s *rawSink) enlarge() {
	if bulkPipes.Add(1) > maxBulkPipes {
		bulkPipes.Add(-1)
		return
	}
	done := false
	_ = s.rc.Control(func(fd uintptr) {
		size, err := unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0)
		// A size that somebody has chosen stays.
		if err == nil && size == DefaultPipe {
			_, err = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, bulkPipe)
			done = err == nil
		}
	})
	if !done {
		bulkPipes.Add(-1)
		return
	}
	s.enlarged.Store(true)
}

// shrunk is called when the descriptor is closed.
func (s *rawSink) shrunk() {
	if s.enlarged.CompareAndSwap(true, false) {
		bulkPipes.Add(-1)
	}
}
