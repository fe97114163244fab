package endpoint

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// tail keeps the last bytes written to it.
type tail struct {
	// mu guards the rest.
	mu   sync.Mutex
	size int
	buf  []byte
	next int // where the next byte goes, once buf has its full size
}

func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	p = p[max(0, len(p)-t.size):]
	grow := min(len(p), t.size-len(t.buf))
	t.buf = append(t.buf, p[:grow]...)
	for p = p[grow:]; len(p) > 0; {
		k := copy(t.buf[t.next:], p)
		p = p[k:]
		t.next = (t.next + k) % t.size
	}
	return n, nil
}

// bytes returns a copy of what is kept.
func (t *tail) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append(append([]byte(nil), t.buf[t.next:]...), t.buf[:t.next]...)
}

// stderr reads a child's standard error, whatever happens, keeps its tail and hands it on.
type stderr struct {
	r     *os.File
	tail  tail
	ended chan struct{} // closed when everything is read, or close was called

	chunks  chan []byte
	dropped int64 // bytes not handed on since the last that were
	handed  chan struct{}
	unheard bool // it is handed on to nobody
}

// newStderr starts a goroutine that reads r, until its end or close, and one that writes to all of to, until all
// is written. close waits for both, for the second only for a time.
func newStderr(r *os.File, to []io.Writer) *stderr {
	s := &stderr{
		r:      r,
		tail:   tail{size: stderrTail},
		ended:  make(chan struct{}),
		chunks: make(chan []byte, stderrChunks),
		handed: make(chan struct{}),

		unheard: len(to) == 0,
	}
	go s.read()
	go s.hand(to)
	return s
}

func (s *stderr) read() {
	defer close(s.ended)
	defer close(s.chunks)
	buf := make([]byte, stderrIdle)
	for {
		n, err := s.r.Read(buf)
		if n > 0 {
			_, _ = s.tail.Write(buf[:n]) // it never fails
			buf = s.took(buf, n)
		}
		if err != nil {
			break
		}
	}
	if s.dropped > 0 {
		s.pass(nil)
	}
}

// took passes on what was read into buf, and returns memory for the next read.
func (s *stderr) took(buf []byte, n int) []byte {
	switch {
	case s.unheard && (n < len(buf) || n == stderrRead):
		return buf
	case s.unheard:
		return make([]byte, stderrRead)
	case n < len(buf)/2:
		s.pass(append([]byte(nil), buf[:n]...))
		return buf
	}
	s.pass(buf[:n])
	return make([]byte, stderrRead)
}

// pass queues a chunk for the writer. One that takes nothing for a while is waited for no more, until it
// goes on.
func (s *stderr) pass(chunk []byte) {
	if s.dropped > 0 {
		note := fmt.Appendf(nil, "\n[%d bytes of standard error dropped]\n", s.dropped)
		select {
		case s.chunks <- append(note, chunk...):
			s.dropped = 0
		default:
			s.dropped += int64(len(chunk))
		}
		return
	}
	select {
	case s.chunks <- chunk:
		return
	default:
	}
	stall := time.NewTimer(stderrStall)
	defer stall.Stop()
	select {
	case s.chunks <- chunk:
	case <-stall.C:
		s.dropped = int64(len(chunk))
	}
}

// hand writes what is queued. A writer that fails gets no more.
func (s *stderr) hand(to []io.Writer) {
	defer close(s.handed)
	failed := make([]bool, len(to))
	for chunk := range s.chunks {
		for i, w := range to {
			if !failed[i] {
				_, err := w.Write(chunk)
				failed[i] = err != nil
			}
		}
	}
	for i, w := range to {
		if l, ok := w.(*lines); ok && !failed[i] {
			_ = l.flush() // nothing comes after it
		}
	}
}

// close ends reading, whoever still holds the other side, and waits a moment for the writer to take the rest. A
// Write that does not return is left behind.
func (s *stderr) close() {
	_ = s.r.Close()
	<-s.ended
	within(s.handed, stderrFlush)
}
