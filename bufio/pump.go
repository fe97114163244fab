package bufio

import (
	"io"
	"iter"
	"sync"
)

// pump reads from what cannot be interrupted, one blocking Read at a time, each on a goroutine that ends
// with it. Bytes that arrive after the caller was interrupted are kept for the next call. Nobody waits for the
// goroutine: it ends when its Read does, which Close brings about where it can.
type pump struct {
	r    io.Reader
	name string
	stop func() error // called once by Close: ends a blocked Read, if that can be done; may be nil
	done func()       // called once after Close, when no Read is under way; may be nil
	run  func()

	// mu guards what follows. cond is signalled when a Read ends and when a caller is to stop.
	mu         sync.Mutex
	cond       sync.Cond
	buf        []byte // read by nobody but the goroutine while reading is true
	r0, w0     int    // buf[r0:w0] is read and not taken
	err        error
	reading    bool
	stopped    bool
	closed     bool
	interrupts uint64
}

func newPump(r io.Reader) *pump {
	p := &pump{r: r, name: "goroutine"}
	p.cond.L = &p.mu
	p.run = p.readOnce
	return p
}

func (p *pump) read(in *Input, wait bool) (int, error) {
	if wait {
		in.waits()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.interrupts
	for {
		switch {
		case p.closed:
			return 0, ErrClosed
		case p.stopped || p.interrupts != seen:
			return 0, ErrInterrupted
		case p.r0 < p.w0:
			n := copy(in.space(), p.buf[p.r0:p.w0])
			p.r0 += n
			return n, nil
		case p.err != nil:
			err := p.err
			if isTimeout(err) {
				p.err = nil
			}
			return 0, err
		}
		if !p.reading {
			p.reading = true
			go p.run()
		}
		if !wait {
			return 0, ErrWouldBlock
		}
		p.cond.Wait()
	}
}

// readOnce is the goroutine.
func (p *pump) readOnce() {
	p.resize()
	n, err := readSome(p.r, p.buf)
	p.mu.Lock()
	p.r0, p.w0, p.err, p.reading = 0, n, err, false
	closed := p.closed
	p.cond.Broadcast()
	p.mu.Unlock()
	if closed {
		p.finish()
	}
}

// resize makes the buffer larger after a Read that filled it, and small again after one that did not need it.
func (p *pump) resize() {
	switch {
	case p.buf == nil || p.w0 < bufferSmall && len(p.buf) > bufferSmall:
		p.buf = make([]byte, bufferSmall)
	case p.w0 == len(p.buf) && len(p.buf) < MaxPeek:
		p.buf = make([]byte, 4*len(p.buf))
	}
}

// readSome reads at least one byte, or gives an error.
func readSome(r io.Reader, p []byte) (int, error) {
	for range maxEmpty {
		n, err := r.Read(p)
		if n < 0 || n > len(p) {
			return 0, ErrBadCount
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

func (p *pump) skip(int64) bool   { return false }
func (p *pump) mode() string      { return p.name }
func (p *pump) nonBlocking() bool { return false }

func (p *pump) interrupt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	p.interrupts++
	p.cond.Broadcast()
}

func (p *pump) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = false
}

func (p *pump) close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	reading := p.reading
	p.cond.Broadcast()
	p.mu.Unlock()
	var err error
	if p.stop != nil {
		err = p.stop()
	}
	if !reading {
		p.finish()
	}
	return err
}

func (p *pump) finish() {
	if p.done != nil {
		p.done()
	}
}

// chunkReader reads the chunks of an iterator.
type chunkReader struct {
	next func() ([]byte, bool)
	rest []byte
}

func newChunkPump(seq iter.Seq[[]byte]) *pump {
	next, stop := iter.Pull(seq)
	p := newPump(&chunkReader{next: next})
	p.name, p.done = "iterator", stop
	return p
}

func (c *chunkReader) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		chunk, ok := c.next()
		if !ok {
			return 0, io.EOF
		}
		c.rest = chunk
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}
