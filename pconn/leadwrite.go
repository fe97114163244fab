package pconn

import (
	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
)

// lookEvery is how many bytes the Writes of a stream that leads send between two looks at what has come, while they need
// not wait for it: others' packets wait for so much.
const lookEvery = 128 << 10

// starved says whether a Write has something to send that the peer has to allow first. Conn.mu is held.
func (s *Stream) starved() bool {
	return s.out.window.credit == 0 && len(s.out.buf)+len(s.out.rest) > 0 && s.out.err == nil && s.state.out == outOpen
}

// receiveCredit receives for a Write that is starved and leads, and waits until the peer has allowed some more. If there
// is anything else, or the Write has to look at its stream, somebody else receives from then on. Conn.mu is held, but not
// while it waits.
func (s *Stream) receiveCredit() {
	c, l := s.conn, &s.out.lead
	for {
		some, only := s.takeCredit()
		switch {
		case some && only:
			return
		case !only || !c.awaitInput(l):
			c.leaveLead(l)
			return
		}
	}
}

// takeCredit takes the CREDITs of the stream that are buffered. It reports whether there were some, and whether they are
// all there is. What is wrong with something else is left for the receiving goroutine to find. Conn.mu is held, but not
// while it tells those who look on.
func (s *Stream) takeCredit() (some, only bool) {
	c := s.conn
	for {
		h, n, err := c.buffered()
		if err != nil {
			return some, err == packet.ErrShort
		}
		amount := h.Flags >> 1
		if !s.isCredit(&h) || !s.out.window.allow(amount) {
			return some, false
		}
		some = true
		c.countAlone(s, true, int64(amount))
		s.queueTurn()
		c.took(&h, n)
	}
}

// isCredit says whether a packet is a CREDIT of the stream that can be taken.
func (s *Stream) isCredit(h *packet.Header) bool {
	return s.isNext(h, frame.KindCredit) && h.Size == 0 && s.state.out == outOpen
}

// leadOn ends a Write of n bytes that has received: the next one does, or somebody else. Conn.mu is held, but not while it
// looks.
func (s *Stream) leadOn(n int) {
	c, l := s.conn, &s.out.lead
	if !l.atWork {
		return
	}
	s.out.unlooked += n
	if s.out.unlooked >= lookEvery && !s.lookForCredit() || !c.mayLead() {
		c.leaveLead(l)
		return
	}
	c.lead(l)
}

// lookForCredit takes the credit that has come, and reports false if there is anything else. Conn.mu is held, but not
// while it looks.
func (s *Stream) lookForCredit() bool {
	c := s.conn
	s.out.unlooked = 0
	c.mu.Unlock()
	_, err := c.in.TryPeek(c.in.Buffered() + 1)
	c.mu.Lock()
	_, only := s.takeCredit()
	return only && (err == nil || err == bufio.ErrWouldBlock)
}
