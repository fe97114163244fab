package pconn

import "slices"

// To wake a Read that waits is to wake a thread, as a rule, which then wants the processor on which this end receives, or the
// peer writes. So the receiver first takes what has come already, for that Read and for others, wakes all of them, and lets
// them run before it goes on.

const (
	// giveFrom is how many bytes may have come before the readers are woken, though more are there to be received. It is
	// what a stream's window is at first.
	giveFrom = 256 << 10

	// maxGiven is how many readers are woken together at most.
	maxGiven = 16

	// yieldFrom is how many bytes readers are given before the receiver lets them run, so that their memory is back for
	// the next pieces.
	yieldFrom = 8 << 10
)

// giveIfDone decides about the Read that waits, after bytes have come for it: it is woken with the others once there is nothing
// more, or enough. It returns how many bytes there were for those that were woken. Conn.mu is held.
func (s *Stream) giveIfDone(frameEnds bool) int {
	c, in := s.conn, &s.in
	c.give(s)
	if frameEnds && in.got > 0 && len(in.rest()) == 0 && c.mayLead() {
		c.deliver() // it reads for itself what follows
		c.alone.handed = true
		return 0
	}
	all := 0
	for _, s := range c.given {
		all += s.in.got + s.in.buf.bytes
	}
	if all < giveFrom && len(c.given) < maxGiven && (!frameEnds || c.in.Buffered() > 0) {
		return 0
	}
	c.deliver()
	c.alone.handed = c.mayLead()
	return all
}

// give counts the stream among those whose Reads are to be woken. Conn.mu is held.
func (c *Conn) give(s *Stream) {
	if !slices.Contains(c.given, s) {
		c.given = append(c.given, s)
	}
}

// deliver wakes those Reads. It is called before anything but data is received, or anything waited for. Conn.mu is held.
func (c *Conn) deliver() {
	for i, s := range c.given {
		s.handOver()
		c.given[i] = nil
	}
	c.given = c.given[:0]
}

// deliverNow is deliver without Conn.mu.
func (c *Conn) deliverNow() {
	if len(c.given) > 0 {
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
