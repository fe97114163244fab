package pconn

import (
	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet/frame"
)

// Frames of a stream are made when they are about to be written, never before: so none of them can overtake
// another, a RESET drops what is not under way, and what is due waits in the stream itself, where there is
// one of each at most.

// streamDue is the control that a stream has to send. Guarded by Conn.mu.
type streamDue struct {
	queued bool // in sender.due
	next   *Stream
	open   *frame.Open
	credit int64
	stop   *frame.Reset
	reset  *frame.Reset
}

// dueList is the streams that have control to send, in order. Guarded by Conn.mu.
type dueList struct{ head, tail *Stream }

func (l *dueList) empty() bool { return l.head == nil }

func (l *dueList) push(s *Stream) {
	if s.due.queued {
		return
	}
	s.due.queued, s.due.next = true, nil
	if l.tail == nil {
		l.head = s
	} else {
		l.tail.due.next = s
	}
	l.tail = s
}

func (l *dueList) pop() *Stream {
	s := l.head
	l.head, s.due.next, s.due.queued = s.due.next, nil, false
	if l.head == nil {
		l.tail = nil
	}
	return s
}

// queueDue sees to it that the stream's control is sent. Conn.mu is held.
func (s *Stream) queueDue() {
	if !s.conn.st.sender.eof {
		s.conn.st.sender.due.push(s)
	}
}

// queueTurn sees to it that the stream's data is sent, as far as the peer allows it. Conn.mu is held.
func (s *Stream) queueTurn() {
	if s.sendable() && !s.conn.st.sender.eof {
		s.conn.st.sender.turns.push(&s.turn)
	}
}

// sendable says whether the stream has something to send that the peer allows.
func (s *Stream) sendable() bool {
	if s.state.out == outEnded {
		return false
	}
	if len(s.out.buf)+len(s.out.rest) > 0 {
		return s.out.window.credit > 0
	}
	return s.state.out == outEnding
}

// flags are the flags of a frame about the stream that hold a number above their bit.
func (s *Stream) flags(n uint64) uint64 {
	if s.ours {
		return n << 1
	}
	return n<<1 | frame.FlagReceivers
}

// addDue appends the control of all streams to b. Conn.mu is held.
func (c *Conn) addDue(b *batch) {
	for l := &c.st.sender.due; !l.empty(); {
		s := l.pop()
		d := &s.due
		if d.open != nil {
			s.addFields(b, frame.KindOpen, d.open.Append(nil))
			d.open = nil
		}
		if d.credit > 0 {
			c.addFrame(b, frame.KindCredit, s.id, s.flags(uint64(d.credit)), nil)
			d.credit = 0
		}
		if d.stop != nil {
			s.addFields(b, frame.KindStop, d.stop.Append(nil))
			d.stop = nil
		}
		if d.reset != nil {
			s.addFields(b, frame.KindReset, d.reset.Append(nil))
			d.reset = nil
			c.retire(s)
		}
	}
}

func (s *Stream) addFields(b *batch, kind frame.Kind, payload []byte) {
	s.conn.addFrame(b, kind, s.id, s.flags(0), payload)
}

// addFrame appends a frame whose payload is copied. Conn.mu is held.
func (c *Conn) addFrame(b *batch, kind frame.Kind, tag, flags uint64, payload []byte) {
	h := frame.Header(kind, tag, flags, len(payload))
	buf, _ := h.Append(b.Begin())
	b.End(append(buf, payload...))
	b.note(c, &h)
}

// addPieces appends the stream's next pieces to b, at most so many bytes, and returns how many those were. Conn.mu is held.
func (s *Stream) addPieces(b *batch, most int) (n int) {
	for n < most {
		piece := s.addPiece(b, min(streamPiece, most-n))
		if piece == 0 {
			break
		}
		n += piece
	}
	return n
}

// addPiece appends the stream's next piece to b, or its END behind the last, and returns how many bytes of
// data it was, at most most. Conn.mu is held.
func (s *Stream) addPiece(b *batch, most int) int {
	o := &s.out
	n := int(min(o.window.credit, int64(most)))
	switch {
	case s.state.out == outEnded:
		return 0 // it was reset meanwhile
	case len(o.buf) > 0:
		n = min(n, len(o.buf))
		if n > 0 {
			s.conn.addFrame(b, frame.KindData, s.id, s.flags(0), o.buf[:n])
			s.sentBuffered(n)
		}
	case len(o.rest) > 0:
		n = min(n, len(o.rest))
		if n > 0 {
			s.addGathered(b, n)
		}
	default:
		n = 0
	}
	o.window.credit -= int64(n)
	if s.state.out == outEnding && len(o.buf)+len(o.rest) == 0 {
		s.addFields(b, frame.KindEnd, nil)
		s.state.out, o.endSent = outEnded, true
		s.conn.retire(s)
	}
	return n
}

// sentBuffered drops what was sent from buf, and lets a writer have the room.
func (s *Stream) sentBuffered(n int) {
	o := &s.out
	left := copy(o.buf, o.buf[n:])
	o.buf = o.buf[:left]
	if left == 0 && cap(o.buf) > keepChunk {
		o.buf = nil
	}
	s.wakeWrite()
}

// streamRef is a part of a writer's memory that is in a batch.
type streamRef struct {
	batch *batch
	ref   bufio.Ref
	size  int
}

// longHeader is a bit that means nothing and makes the header of a DATA 16 octets, where the payload is sent from
// where it is: behind fewer, page-aligned memory is copied into a pipe at a quarter of the speed by processors
// whose string moves are slow then, as those of package bufio's Output.
const longHeader = 1 << 60

// longHeaderSize is how many octets such a header has, or some more where the stream has a large number.
const longHeaderSize = 16

func (s *Stream) addGathered(b *batch, n int) {
	o := &s.out
	h := frame.Header(frame.KindData, s.id, s.flags(longHeader), n)
	buf, _ := h.Append(b.Begin())
	ref := b.EndRef(buf, o.rest[:n])
	o.rest = o.rest[n:]
	b.note(s.conn, &h)
	o.refs = append(o.refs, streamRef{b, ref, n})
	if len(b.streams) == 0 || b.streams[len(b.streams)-1] != s {
		b.streams = append(b.streams, s)
	}
}

// partsLeft is called when the batch that held parts of the writer's memory is gone. Conn.mu is held.
func (s *Stream) partsLeft() {
	o := &s.out
	clear(o.refs)
	o.refs = o.refs[:0]
	if len(o.rest) == 0 {
		s.conn.st.sender.hasLeft(s)
	}
}

// writers are streams whose Writes are to be woken. To wake one may wake a thread, which then wants the processor on which
// this end writes, or the peer reads: so where many streams send they are woken together. Guarded by Conn.mu.
type writers struct {
	list   []*Stream
	writes int // how many there were since the first of list
}

// maxWrites is how many writes a writer waits for others of them at most.
const maxWrites = 64

// hasLeft remembers that the memory of a stream's writer has left.
func (s *sender) hasLeft(x *Stream) {
	if s.left == nil {
		s.left = new(writers)
	}
	s.left.list = append(s.left.list, x)
}

// wakeWriters is called behind each write. It wakes those whose memory has left once there were as many writes as there are
// others with more to send, so that those send while they come back. It reports whether there are
// several: they should run before the next write, and on this processor. Conn.mu is held.
func (c *Conn) wakeWriters() (letRun bool) {
	w := c.st.sender.left
	if w == nil || len(w.list) == 0 {
		return false
	}
	w.writes++
	if w.writes < min(c.st.sender.turns.len(), maxWrites) {
		return false
	}
	letRun = len(w.list) > 1
	w.wake()
	return letRun
}

func (w *writers) wake() {
	if w == nil {
		return
	}
	for i, s := range w.list {
		s.wakeWrite()
		w.list[i] = nil
	}
	w.list, w.writes = w.list[:0], 0
}

// withdraw makes sure that the writer's memory is not touched again, and returns how much of it was not
// sent. It waits for no more than the one system call that has some of it, which does not block. Conn.mu is held,
// but not while it waits.
func (s *Stream) withdraw() int {
	o := &s.out
	unsent := len(o.rest)
	o.rest = nil
	for len(o.refs) > 0 {
		last := o.refs[len(o.refs)-1]
		if last.batch.State(last.ref) == bufio.RefLent {
			s.conn.waitReturned()
			continue
		}
		if last.batch.Unlink(last.ref) {
			unsent += last.size
			o.window.credit += int64(last.size)
		} else {
			last.batch.Detach(last.ref)
		}
		o.refs = o.refs[:len(o.refs)-1]
	}
	s.queueTurn() // END may be what is left
	return unsent
}

// beginFlush makes the caller write what streams have to send, if there is anything and nobody writes: it has
// to run a write cycle. Streams do not wait for a grace. Conn.mu is held.
func (c *Conn) beginFlush() bool {
	s := &c.st.sender
	if s.writing || s.err != nil || s.due.empty() && s.turns.empty() {
		return false
	}
	s.writing = true
	return true
}

// unlockAndWrite lets Conn.mu go, and writes what streams have to send, as far as the descriptor takes it at once.
func (c *Conn) unlockAndWrite() {
	flush := c.beginFlush()
	c.mu.Unlock()
	if flush {
		c.writeCycle(callerRounds)
	}
}

// flushAndWait writes if nobody does, or else waits until something about the writer's direction has changed, which it is
// told of or receives. Conn.mu is held, but not meanwhile.
func (s *Stream) flushAndWait() {
	c := s.conn
	if c.beginFlush() {
		c.mu.Unlock()
		c.writeCycle(callerRounds)
		c.mu.Lock()
		return
	}
	if l := &s.out.lead; l.atWork {
		if s.starved() {
			s.receiveCredit()
			return
		}
		// It waits for somebody else's write.
		l.known.waited()
		c.leaveLead(l)
	}
	s.out.waits = true
	c.waitWake(&s.out.wake)
	s.out.waits = false
	c.takeLead(&s.out.lead)
}
