//go:build unix

package bufio

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawSink writes to a descriptor through its RawConn with one closure, made once.
type rawSink struct {
	// What each write needs comes first, since among many streams none of it is in a cache.

	gate
	rc   syscall.RawConn
	step func(fd uintptr) bool

	// One write under way.
	src  Source
	bufs [][]byte
	err  error
	wait bool

	tries  bool   // can be told not to wait
	quick  bool   // a socket in the runtime's poller
	passes bool   // asks its source for descriptors
	half   bool   // close by CloseWrite where there is one
	wake   waiter // not nil for a descriptor that blocks
	kind   fdKind
	vec    vectors
	file   *os.File // not nil for an os.File
	owned  io.Closer
	name   string

	enlarged atomic.Bool // the pipe is one of bulkPipes
}

// newRawSink returns nil for what is not a descriptor that can be written to in this way.
func newRawSink(w io.Writer, owned io.Closer) sink {
	if f, ok := w.(*os.File); ok {
		return newFileSink(f, owned)
	}
	conn, rc := rawSocket(w)
	if rc == nil || conn.SetWriteDeadline(time.Time{}) != nil {
		return nil
	}
	s := newSinkOf(rc, "poller", owned)
	s.tries, s.quick = true, true
	s.apply = func(stop bool) { conn.SetWriteDeadline(stopTime(stop)) }
	return s
}

func newFileSink(f *os.File, owned io.Closer) sink {
	rc, err := f.SyscallConn()
	if err != nil {
		return nil
	}
	kind, err := kindOf(rc)
	if err != nil {
		return nil
	}
	s := newSinkOf(rc, "file", owned)
	s.file, s.kind = f, kind
	switch {
	case kind.regular:
	case kind.nonblock && f.SetWriteDeadline(time.Time{}) == nil:
		s.name, s.tries, s.quick = "poller", true, kind.socket
		s.apply = func(stop bool) { f.SetWriteDeadline(stopTime(stop)) }
	default:
		s.name = "blocking"
		if s.wake = newSinkWaiter(); s.wake != nil {
			s.apply = s.wake.set
			if kind.socket {
				s.name, s.tries = "socket", true
			}
		}
	}
	return s
}

func newSinkOf(rc syscall.RawConn, name string, owned io.Closer) *rawSink {
	s := &rawSink{rc: rc, name: name, owned: owned, half: true}
	s.step = s.run
	return s
}

func (s *rawSink) nonBlocking() bool { return s.tries }
func (s *rawSink) mode() string      { return s.name }

func (s *rawSink) write(src Source, wait bool) error {
	if !wait && !s.tries {
		return ErrWouldBlock
	}
	seen, err := s.enter()
	if err != nil {
		return err
	}
	s.src, s.wait, s.err = src, wait, nil
	err = s.rc.Write(s.step)
	if err == nil {
		err = s.err
	}
	s.src = nil
	s.forget()
	stopped := s.leave(seen)
	switch {
	case err == nil || err == ErrWouldBlock:
		return err
	case stopped != nil && (stopped == ErrClosed || isTimeout(err) || err == ErrInterrupted):
		return stopped
	}
	return s.explain(err)
}

// explain puts os.ErrClosed for the unexported error that a RawConn of a closed os.File gives.
func (s *rawSink) explain(err error) error {
	if s.file != nil && !isErrno(err) {
		if _, ferr := s.file.Write(nil); errors.Is(ferr, os.ErrClosed) {
			return ferr
		}
	}
	return peerError(err)
}

// run writes until there is nothing more or the descriptor takes no more. It returns false to be called again
// when it does: the poller is edge-triggered, so waiting must follow an attempt that failed in the same call.
func (s *rawSink) run(fd uintptr) bool {
	for {
		if s.err = s.check(); s.err != nil {
			return true
		}
		if s.wake != nil && !s.tries {
			s.wake.wait(int(fd), unix.POLLOUT)
			if s.err = s.check(); s.err != nil {
				return true
			}
		}
		s.bufs = nonEmpty(s.src.Next(s.bufs[:0]))
		if len(s.bufs) == 0 {
			return true
		}
		handles := s.handles()
		n, size, err := s.put(int(fd), handles)
		s.src.Wrote(n)
		if handles != nil && n > 0 {
			handles.Close()
		}
		switch {
		case err == nil && n == 0:
			s.err = io.ErrShortWrite
			return true
		case err == nil && n < size && !s.wait:
			// What takes only a part is full.
			s.err = ErrWouldBlock
			return true
		case err == nil || err == unix.EINTR:
		case err == unix.EAGAIN && !s.wait:
			s.err = ErrWouldBlock
			return true
		case err == unix.EAGAIN && s.wake == nil:
			return false
		case err == unix.EAGAIN:
			s.wake.wait(int(fd), unix.POLLOUT)
		default:
			s.err = os.NewSyscallError("write", err)
			return true
		}
	}
}

// handles returns the descriptors that go with what the source just gave.
func (s *rawSink) handles() *Handles {
	if !s.passes {
		return nil
	}
	if src, ok := s.src.(HandleSource); ok {
		return src.Handles()
	}
	return nil
}

// put makes one system call, with descriptors if there are any, and returns how many bytes were written, of how many.
func (s *rawSink) put(fd int, handles *Handles) (n, size int, err error) {
	if len(s.bufs) > 1 || handles != nil || s.wake != nil || len(s.bufs[0]) > maxRead {
		return s.gather(fd, handles)
	}
	// Of one slice there is less to say: who writes a little has little on its stack, which is in no cache then.
	b := s.bufs[0]
	if s.quick {
		n, err = quickWrite(fd, b)
	} else {
		n, err = plainWrite(fd, b)
	}
	return max(n, 0), len(b), err
}

// gather is put for whatever there is to write.
func (s *rawSink) gather(fd int, handles *Handles) (n, size int, err error) {
	bufs := s.bufs[:min(len(s.bufs), maxVectors)]
	if s.kind.pipe {
		bufs = bufs[:wellPlaced(bufs)]
	}
	limit := maxRead
	if s.wake != nil && !s.tries {
		limit = blockingChunk
		if s.kind.terminal {
			limit = terminalChunk
		}
	}
	for i, b := range bufs {
		if size+len(b) > limit {
			bufs[i] = b[:limit-size]
			bufs = nonEmpty(bufs[:i+1])
			size = limit
			break
		}
		size += len(b)
	}
	switch {
	case handles != nil:
		n, err = s.vec.sendHandles(fd, bufs, handles)
	case s.kind.socket && s.wake != nil:
		n, err = s.vec.sendNow(fd, bufs)
	default:
		n, err = s.vec.writev(fd, bufs)
	}
	return max(n, 0), size, err
}

// wellPlaced returns how many of the slices are best written to a pipe at once: all, unless what comes before a
// large one would have the system copy that to places which lie a few bytes further into their pages than those it
// is copied from. Some processors take four times as long for such a copy as for any other, and a small header
// before page-aligned memory is the usual case. A large slice that begins its write fills pages from their starts.
// Among several, whose headers add up, all but the first are well placed, and another write would cost more.
func wellPlaced(bufs [][]byte) int {
	before, slow := 0, len(bufs)
	for i, b := range bufs {
		if len(b) >= gatherSize {
			ahead := (before - int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))%pageSize)) & (pageSize - 1)
			switch bad := i > 0 && 0 < ahead && ahead < slowAhead; {
			case bad && len(b) >= worthAWrite:
				return i
			case bad:
				slow = i
			default:
				slow = len(bufs)
			}
		}
		before += len(b)
	}
	return slow
}

// forget lets go of the memory that was written from.
func (s *rawSink) forget() {
	s.vec.forget()
	clear(s.bufs[:cap(s.bufs)])
}

func (s *rawSink) close() error {
	if !s.shut() {
		return nil
	}
	s.shrunk()
	var err error
	if s.owned != nil {
		if s.half {
			err = closeWrite(s.owned)
		} else {
			err = s.owned.Close()
		}
	}
	if s.wake != nil {
		err = errors.Join(err, s.wake.close())
	}
	return err
}
