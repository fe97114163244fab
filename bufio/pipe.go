package bufio

import (
	"io"
	"sync"
)

// Pipe returns the two ends of a byte stream in memory, which holds up to size bytes between them: DefaultPipe
// for 0, at most MaxPipe. Writes that would have to wait can be told not to. Close of the Output ends the stream, behind
// what was written; after Close of the Input a Write returns ErrPeerGone. It does no I/O, and starts no goroutine.
func Pipe(size int) (*Input, *Output) {
	if size <= 0 {
		size = DefaultPipe
	}
	p := &pipe{limit: min(size, MaxPipe)}
	p.readable.L, p.writable.L = &p.mu, &p.mu
	return newInput(pipeOrigin{p}), newOutput(&pipeSink{p: p})
}

// pipe is a ring of bytes.
type pipe struct {
	limit int

	// mu guards what follows. Nothing else is locked under it.
	mu                 sync.Mutex
	readable, writable sync.Cond
	buf                []byte // from the pool up to its sizes; nil while empty and waited for
	head, n            int    // n bytes from buf[head], around the end
	in, out            pipeEnd
}

// pipeEnd is the state of one end.
type pipeEnd struct {
	interrupted, closed bool
	interrupts          uint64
}

func (e *pipeEnd) state(seen uint64) error {
	switch {
	case e.closed:
		return ErrClosed
	case e.interrupted || e.interrupts != seen:
		return ErrInterrupted
	}
	return nil
}

func (p *pipe) interrupt(e *pipeEnd) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.interrupted = true
	e.interrupts++
	p.readable.Broadcast()
	p.writable.Broadcast()
}

func (p *pipe) resume(e *pipeEnd) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.interrupted = false
}

func (p *pipe) close(e *pipeEnd) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.closed = true
	if p.in.closed {
		p.drop()
	}
	p.readable.Broadcast()
	p.writable.Broadcast()
}

// drop gives the memory back. It is called with mu held.
func (p *pipe) drop() {
	putBuffer(p.buf)
	p.buf, p.head, p.n = nil, 0, 0
}

// pipeOrigin is the reading end.
type pipeOrigin struct{ p *pipe }

func (o pipeOrigin) skip(int64) bool   { return false }
func (o pipeOrigin) mode() string      { return "memory" }
func (o pipeOrigin) nonBlocking() bool { return true }
func (o pipeOrigin) interrupt()        { o.p.interrupt(&o.p.in) }
func (o pipeOrigin) resume()           { o.p.resume(&o.p.in) }
func (o pipeOrigin) close() error      { o.p.close(&o.p.in); return nil }

func (o pipeOrigin) read(in *Input, wait bool) (int, error) {
	p := o.p
	if wait {
		in.waits()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.in.interrupts
	for {
		if err := p.in.state(seen); err != nil {
			return 0, err
		}
		switch {
		case p.n > 0:
			return p.take(in.space()), nil
		case p.out.closed:
			return 0, io.EOF
		case !wait:
			return 0, ErrWouldBlock
		}
		p.drop()
		in.idle()
		p.readable.Wait()
	}
}

// take copies out of the ring. It is called with mu held.
func (p *pipe) take(b []byte) int {
	got := 0
	for p.n > 0 && got < len(b) {
		k := copy(b[got:], p.buf[p.head:min(p.head+p.n, len(p.buf))])
		got += k
		p.n -= k
		p.head = (p.head + k) % len(p.buf)
	}
	if p.n == 0 {
		p.head = 0
	}
	p.writable.Signal()
	return got
}

// put copies as much as there is room for. It is called with mu held.
func (p *pipe) put(b []byte) int {
	b = b[:min(len(b), p.limit-p.n)]
	if p.n+len(b) > len(p.buf) {
		p.grow(p.n + len(b))
	}
	for rest := b; len(rest) > 0; {
		at := (p.head + p.n) % len(p.buf)
		k := copy(p.buf[at:min(at+len(p.buf)-p.n, len(p.buf))], rest)
		p.n += k
		rest = rest[k:]
	}
	return len(b)
}

// grow makes room for n bytes, which are at most limit.
func (p *pipe) grow(n int) {
	var b []byte
	if n <= MaxPeek {
		b = getBuffer(n)
	} else {
		b = make([]byte, min(max(n, 2*len(p.buf)), max(p.limit, n)))
	}
	held := copy(b, p.buf[p.head:min(p.head+p.n, len(p.buf))])
	copy(b[held:p.n], p.buf)
	putBuffer(p.buf)
	p.buf, p.head = b, 0
}

// pipeSink is the writing end.
type pipeSink struct {
	p    *pipe
	bufs [][]byte
}

func (s *pipeSink) nonBlocking() bool { return true }
func (s *pipeSink) mode() string      { return "memory" }
func (s *pipeSink) interrupt()        { s.p.interrupt(&s.p.out) }
func (s *pipeSink) resume()           { s.p.resume(&s.p.out) }
func (s *pipeSink) close() error      { s.p.close(&s.p.out); return nil }

func (s *pipeSink) write(src Source, wait bool) error {
	defer func() { clear(s.bufs[:cap(s.bufs)]) }()
	seen := s.interrupts()
	for {
		if err := s.state(seen); err != nil {
			return err
		}
		s.bufs = nonEmpty(src.Next(s.bufs[:0]))
		if len(s.bufs) == 0 {
			return nil
		}
		n, full, err := s.put()
		src.Wrote(n)
		switch {
		case err != nil:
			return err
		case !full:
			continue
		case !wait:
			return ErrWouldBlock
		}
		if err := s.waitRoom(seen); err != nil {
			return err
		}
	}
}

func (s *pipeSink) interrupts() uint64 {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return s.p.out.interrupts
}

func (s *pipeSink) state(seen uint64) error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return s.p.out.state(seen)
}

// put copies what there is room for, and reports whether that was not all. A reader that has gone is an
// error only to who has something to write.
func (s *pipeSink) put() (n int, full bool, err error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if s.p.in.closed {
		return 0, false, ErrPeerGone
	}
	for _, b := range s.bufs {
		k := s.p.put(b)
		n += k
		if k < len(b) {
			full = true
			break
		}
	}
	s.p.readable.Signal()
	return n, full, nil
}

func (s *pipeSink) waitRoom(seen uint64) error {
	p := s.p
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.n >= p.limit && !p.in.closed {
		if err := p.out.state(seen); err != nil {
			return err
		}
		p.writable.Wait()
	}
	return nil
}
