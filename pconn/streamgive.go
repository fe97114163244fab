package pconn

import "slices"

// To wake a Read that waits is to wake a thread, as a rule, which then wants the processor on which this end receives, or the
// peer writes. So the receiver first takes what has come already, for that Read and for others, wakes all of them, and lets
// them run before it goes on.

const (
	// giveFrom is how many bytes may come until the readers are woken, though more are there to be received. It is what a
	// stream's window is at first.
	giveFrom = 256 << 10

	// maxGiven is how many readers are woken together at most.
	maxGiven = 16

	// yieldFrom is how many bytes have come when the receiver lets those run that it has woken, so that their memory is
	// back for the next pieces.
	yieldFrom = 8 << 10
)

// given are streams for which something has come, and whose Reads, where they wait, are to be woken. It belongs to whoever
// receives.
type given struct {
	streams []*Stream
	from    int64 // the input's offset when there were none
}

func (g *given) empty() bool { return g == nil || len(g.streams) == 0 }

// giveIfDone decides about the stream's Read, after bytes have come for it, from an offset of the input on: it is woken with the
// others once there is nothing more, or enough. It reports whether they should run now. Conn.mu is held.
func (s *Stream) giveIfDone(from int64, frameEnds bool) (letRun bool) {
	c, in := s.conn, &s.in
	c.give(s, from)
	if frameEnds && in.got > 0 && len(in.rest()) == 0 && c.mayLead() {
		c.deliver() // it reads for itself what follows
		c.alone.handed = true
		return false
	}
	came := c.in.Offset() - c.given.from
	if came < giveFrom && len(c.given.streams) < maxGiven && (!frameEnds || c.in.Buffered() > 0) {
		return false
	}
	c.deliver()
	c.alone.handed = c.mayLead()
	return came >= yieldFrom
}

// give counts the stream among those whose Reads are to be woken, since bytes have come for it from an offset of the input on.
// Conn.mu is held.
func (c *Conn) give(s *Stream, from int64) {
	if c.given == nil {
		c.given = new(given)
	}
	g := c.given
	if g.empty() {
		g.from = from
	}
	if !slices.Contains(g.streams, s) {
		g.streams = append(g.streams, s)
	}
}

// deliver wakes those Reads. It is called before anything but data is received, or anything waited for. Conn.mu is held.
func (c *Conn) deliver() {
	g := c.given
	if g.empty() {
		return
	}
	for i, s := range g.streams {
		s.handOver()
		g.streams[i] = nil
	}
	g.streams = g.streams[:0]
}

// deliverInTime is deliver where enough has come, behind data of a stream that is not counted among them. Conn.mu is held.
func (c *Conn) deliverInTime() {
	if !c.given.empty() && c.in.Offset()-c.given.from >= giveFrom {
		c.deliver()
	}
}

// deliverNow is deliver without Conn.mu.
func (c *Conn) deliverNow() {
	if !c.given.empty() {
		c.mu.Lock()
		c.deliver()
		c.mu.Unlock()
	}
}

// handOver wakes the Read that waits, if there is something for it. Conn.mu is held.
func (s *Stream) handOver() {
	if s.in.got > 0 {
		s.in.into = nil
	}
	if s.in.got+s.in.buf.bytes > 0 {
		s.wakeRead()
	}
}
