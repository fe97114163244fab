package pconn

import (
	"errors"
	"fmt"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet/frame"
)

// SpillError says that a stream was reset because what its reader had not taken could not be kept on disk
// (StreamLimits.Spill). Other streams go on.
type SpillError struct {
	Stream uint64 // its number
	Name   string
	Err    error // the file system's
}

func (e *SpillError) Error() string {
	return fmt.Sprintf("pconn: stream %d %q: %v", e.Stream, e.Name, e.Err)
}

// Unwrap returns Err.
func (e *SpillError) Unwrap() error { return e.Err }

// spill is what a stream has on disk of what came: bytes that are older than those in memory. Guarded by Conn.mu, under
// which the disk is never waited for.
type spill struct {
	backlog *bufio.Backlog // nil before the first
	held    int64          // bytes on disk
	staged  int            // bytes that are being written, behind those
	running bool           // a goroutine writes
	copying bool           // the reader copies from memory, whose first piece must stay
	dropped bool           // nobody wants what there is

	gone chan struct{} // made when the disk is about to be given back, and closed when it was
}

// between says whether there is something to read before what is in memory.
func (p *spill) between() bool { return !p.dropped && p.held+int64(p.staged) > 0 }

// spillMore begins to write to disk where more waits in memory than half of the window, so that the peer need not
// stop. Conn.mu is held.
func (s *Stream) spillMore() {
	c, p := s.conn, &s.in.spill
	if p.running || !s.mustSpill() {
		return
	}
	p.running = true
	c.st.workers++
	// windDown waits for it as for a handler. It ends when less waits, or the reader has come to what is in memory.
	go s.spillOut()
}

func (s *Stream) mustSpill() bool {
	in, p := &s.in, &s.in.spill
	most := s.conn.opts.Streams.Spill
	return most > 0 && s.state.in == inOpen && in.err == nil && !p.dropped && !p.copying && in.into == nil &&
		int64(in.buf.bytes) > in.window.size/2 && p.held+maxChunk <= most
}

// spillOut writes one piece of memory after another to disk, and allows the peer as much more when it is there.
func (s *Stream) spillOut() {
	c, p := s.conn, &s.in.spill
	c.mu.Lock()
	for s.mustSpill() {
		piece, ok := s.in.buf.steal()
		if !ok {
			break
		}
		bytes := piece.buf[piece.r:piece.w]
		p.staged = len(bytes)
		c.mu.Unlock()
		err := s.writeSpilled(bytes)
		c.mu.Lock()
		p.staged = 0
		piece.leave(&c.st.buffers)
		if err != nil {
			c.spillFailed(s, err)
		}
		if p.dropped {
			break
		}
		p.held += int64(len(bytes))
		s.spilled(len(bytes))
		s.wakeRead()
		c.unlockAndWrite()
		c.mu.Lock()
	}
	p.running = false
	c.closeSpill(s)
	c.st.workers--
	c.noteWorkersGone()
	c.step()
	c.unlockAndWrite()
}

// writeSpilled writes to the disk, which only spillOut does.
func (s *Stream) writeSpilled(b []byte) error {
	p := &s.in.spill
	if p.backlog == nil {
		o := s.conn.opts.Streams
		backlog, err := bufio.NewBacklog(bufio.BacklogOptions{Memory: -1, Disk: o.Spill, Dir: o.SpillDir})
		if err != nil {
			return err
		}
		s.conn.mu.Lock()
		p.backlog = backlog
		s.conn.mu.Unlock()
	}
	_, err := p.backlog.Write(b)
	return err
}

// spilled counts n bytes that are on disk as taken, though they are no sign of a reader for which the window should
// grow. Conn.mu is held.
func (s *Stream) spilled(n int) {
	c, w := s.conn, &s.in.window
	if s.state.in != inOpen || !w.take(int64(n)) {
		return
	}
	if amount, _ := w.allow(clock(), 0, &c.st.streams.budget, c.opts.Streams.MaxWindow); amount > 0 {
		s.due.credit += amount
		s.queueDue()
	}
}

// spillFailed resets a stream whose disk has failed. Conn.mu is held, but not while that is told.
func (c *Conn) spillFailed(s *Stream, err error) {
	if s.in.spill.dropped {
		return // it was ended meanwhile
	}
	failed := err
	err = &SpillError{Stream: s.id, Name: s.name, Err: failed}
	s.in.err = err // also if the peer has sent all: what is behind the failure is lost
	if !s.abort(frame.Reset{Text: "the receiver has no room for more"}, err) {
		s.in.buf.drop() // it is over, but for the reader
		s.dropSpill()
		s.wakeRead()
	}
	c.mu.Unlock()
	c.logf(levelWarn, "a stream's backlog could not be kept on disk", "stream", s.id, "name", s.name, "error", failed)
	if s.cancel != nil {
		s.cancel(err)
	}
	c.mu.Lock()
}

// readSpilled is the reader's part: what is on disk comes before what is in memory. It returns 0 where the reader is to
// look again. Conn.mu is held, but not while it reads or waits.
func (s *Stream) readSpilled(p []byte) int {
	c, sp := s.conn, &s.in.spill
	if sp.held == 0 {
		c.waitWake(&s.in.wake)
		return 0
	}
	backlog := sp.backlog
	c.mu.Unlock()
	n, err := backlog.TryRead(p)
	c.mu.Lock()
	switch {
	case sp.dropped:
		return 0
	case err != nil:
		c.spillFailed(s, err)
		return 0
	}
	sp.held -= int64(n)
	s.spillMore()
	c.closeSpill(s)
	return n
}

// dropSpill forgets what is on disk. Conn.mu is held.
func (s *Stream) dropSpill() {
	p := &s.in.spill
	p.dropped, p.held = true, 0
	s.conn.closeSpill(s)
}

// closeSpill gives the disk back if nobody writes to it and nothing more comes that could be read from it, on a
// goroutine of its own. windDown waits for it, and once receiving has ended, so that windDown may be over, who has read or
// ended the stream does, in unlockAfterUse. Conn.mu is held.
func (c *Conn) closeSpill(s *Stream) {
	p := &s.in.spill
	if p.backlog == nil || p.running || !p.dropped && (p.held > 0 || s.in.err == nil) {
		return
	}
	backlog, gone := p.backlog, make(chan struct{})
	p.backlog, p.gone = nil, gone
	c.st.workers++
	go func() {
		defer close(gone)
		if err := backlog.Close(); err != nil && !errors.Is(err, bufio.ErrClosed) {
			c.logf(levelWarn, "closing a stream's backlog", "stream", s.id, "error", err)
		}
		c.mu.Lock()
		c.st.workers--
		c.noteWorkersGone()
		c.mu.Unlock()
	}()
}

// unlockAfterUse lets Conn.mu go, and sends what has come of something that the stream's user has done.
func (s *Stream) unlockAfterUse() {
	var gone chan struct{}
	if s.conn.st.recvEnded {
		gone = s.in.spill.gone
	}
	s.conn.unlockAndWrite()
	if gone != nil {
		<-gone
	}
}
