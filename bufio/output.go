package bufio

import (
	"io"
	"os"
	"time"
)

// Source gives an Output what to write. It is asked right before each system call, so what it gives may
// still change between two of them.
type Source interface {
	// Next appends the slices to be written now. None, or only empty ones, means that there is nothing more. At
	// most 1024 are used. They must not change before Wrote.
	Next(bufs [][]byte) [][]byte
	// Wrote follows each Next that gave something: n bytes of that are written, from 0 to all.
	Wrote(n int)
}

// Output is the writing end of a byte stream. One goroutine at a time writes to it; NonBlocking, Interrupt, Resume and
// Close may be called from any.
type Output struct {
	sink sink
}

// sink is where an Output's bytes go. One goroutine calls write; the rest may be called from any.
type sink interface {
	write(src Source, wait bool) error
	nonBlocking() bool
	interrupt()
	resume()
	close() error
	mode() string
}

// NewOutput returns an Output that writes to w, which stays its owner's: Close does not close it.
//
// An *os.File in the runtime's poller, a *net.TCPConn and a *net.UnixConn are written without blocking, several slices
// at once. Any other writer blocks, and is given what belongs together in one Write of up to 32 KiB.
//
// To find out about deadlines it clears the one that w may have for writing.
func NewOutput(w io.Writer) *Output { return newOutput(newSink(w, nil)) }

// OwnOutput is NewOutput for a stream that Close is to end: by CloseWrite where w has it, so that the other
// direction of a socket goes on, else by Close.
func OwnOutput(w io.WriteCloser) *Output { return newOutput(newSink(w, w)) }

func newOutput(s sink) *Output { return &Output{sink: s} }

// NonBlocking reports whether Write can be told not to wait. If not, a Write that waits may hold on to the
// slices it was given for as long as the other side does not read.
func (o *Output) NonBlocking() bool { return o.sink.nonBlocking() }

// Mode says how the stream is written, for logs: see the package's comment.
func (o *Output) Mode() string { return o.sink.mode() }

// Write writes until src has nothing more to give. With wait false it returns ErrWouldBlock as soon as the
// stream takes no more, which is at once if not NonBlocking. ErrPeerGone says that nobody will read what is
// written, ErrInterrupted and ErrClosed that Interrupt or Close was called. Whatever the error, src knows through Wrote
// what was written, and a later Write goes on from there. Write takes no memory.
func (o *Output) Write(src Source, wait bool) error { return o.sink.write(src, wait) }

// Enlarge asks the system to let the stream hold more bytes on their way, since much is about to be written. It does
// nothing where that cannot be had. No Write may be under way.
func (o *Output) Enlarge() {
	if e, ok := o.sink.(interface{ enlarge() }); ok {
		e.enlarge()
	}
}

// Interrupt makes a blocked Write, and every later one, return ErrInterrupted, until Resume. A Write that is blocked
// inside of a writer without deadlines goes on until that returns. It may be called from any goroutine, and does not wait.
func (o *Output) Interrupt() { o.sink.interrupt() }

// Resume undoes Interrupt. It clears a write deadline of what was passed in. It may be called from any goroutine.
func (o *Output) Resume() { o.sink.resume() }

// Close closes what the Output itself opened, or ends what OwnOutput was given, and makes a blocked Write and
// every later one return ErrClosed. What was passed to NewOutput stays open. It may be called from any goroutine; the
// second call does nothing and returns nil.
func (o *Output) Close() error { return o.sink.close() }

// plain writes to any io.Writer.
type plain struct {
	gate
	w       io.Writer
	owned   io.Closer
	name    string
	bufs    [][]byte
	scratch []byte
}

// newSink finds the way to write to w. What owned is not nil is ended by close.
func newSink(w io.Writer, owned io.Closer) sink {
	if f, ok := w.(*os.File); w == nil || ok && f == nil {
		return &plain{w: closedWriter{}, name: "none"}
	}
	if s := newRawSink(w, owned); s != nil {
		return s
	}
	s := &plain{w: w, owned: owned, name: "blocking"}
	if d, ok := w.(interface{ SetWriteDeadline(time.Time) error }); ok && d.SetWriteDeadline(time.Time{}) == nil {
		s.name = "deadlines"
		s.apply = func(stop bool) { d.SetWriteDeadline(stopTime(stop)) }
	}
	return s
}

type closedWriter struct{}

func (closedWriter) Write([]byte) (int, error) { return 0, os.ErrInvalid }

func (s *plain) nonBlocking() bool { return false }
func (s *plain) mode() string      { return s.name }

func (s *plain) close() error {
	if !s.shut() {
		return nil
	}
	return closeWrite(s.owned)
}

// closeWrite ends the writing direction of what an Output owns.
func closeWrite(c io.Closer) error {
	if c == nil {
		return nil
	}
	if h, ok := c.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return c.Close()
}

func (s *plain) write(src Source, wait bool) error {
	if !wait {
		return ErrWouldBlock
	}
	defer func() { clear(s.bufs[:cap(s.bufs)]) }()
	for {
		seen, err := s.enter()
		if err != nil {
			return err
		}
		s.bufs = src.Next(s.bufs[:0])
		p := s.gather(s.bufs)
		if len(p) == 0 {
			s.leave(seen)
			return nil
		}
		n, err := s.w.Write(p)
		if n < 0 || n > len(p) {
			n, err = 0, ErrBadCount
		}
		src.Wrote(n)
		stopped := s.leave(seen)
		switch {
		case err == nil && n < len(p):
			return io.ErrShortWrite
		case err != nil && (stopped == ErrClosed || stopped != nil && isTimeout(err)):
			return stopped
		case err != nil:
			return peerError(err)
		}
	}
}

// gather returns the start of what is in bufs as one slice: a large one as it is, small ones copied together.
func (s *plain) gather(bufs [][]byte) []byte {
	bufs = nonEmpty(bufs)
	if len(bufs) == 0 {
		return nil
	}
	if len(bufs) == 1 || len(bufs[0]) >= gatherSize {
		return bufs[0]
	}
	if s.scratch == nil {
		s.scratch = make([]byte, 0, gatherSize)
	}
	p := s.scratch[:0]
	for _, b := range bufs {
		p = append(p, b[:min(len(b), gatherSize-len(p))]...)
	}
	return p
}

// nonEmpty removes empty slices, in place.
func nonEmpty(bufs [][]byte) [][]byte {
	kept := bufs[:0]
	for _, b := range bufs {
		if len(b) > 0 {
			kept = append(kept, b)
		}
	}
	return kept
}
