package pconn

import (
	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
)

// unfinished is a DATA frame of which a Read has not taken all. It belongs to whoever receives.
type unfinished struct {
	stream *Stream
	header packet.Header
	start  int64 // where the frame began
	left   int64
}

// receiveHere receives into p if the stream still leads, and waits for that. If it returns 0 there is something else,
// and somebody else receives. Conn.mu is held, but not while it reads or waits.
func (s *Stream) receiveHere(p []byte) (n int) {
	c, l := s.conn, &s.in.lead
	if !c.takeLead(l) {
		return 0
	}
	for {
		n, more := s.receiveData(p)
		c.readAt = c.now() // what is behind the data has come since
		switch {
		case n > 0 && more && c.mayLead():
			c.lead(l)
			return n
		case n > 0 || !more:
			c.leaveLead(l)
			return n
		}
		c.allowRest(s)
		if !c.awaitInput(l) {
			c.leaveLead(l)
			return 0
		}
	}
}

// receiveData reads data of the stream into p for as long as there is some without waiting. It reports false for more
// if the stream cannot go on, since there is something else. What is wrong with it is left for the receiving
// goroutine to find. Conn.mu is held, but not while it reads.
func (s *Stream) receiveData(p []byte) (n int, more bool) {
	c, rest := s.conn, &s.conn.rest
	for n < len(p) {
		if rest.left == 0 {
			if more := s.nextData(); rest.left == 0 {
				return n, more
			}
		}
		want := p[n:min(int64(len(p)), int64(n)+rest.left)]
		direct := c.in.Buffered() == 0
		c.mu.Unlock()
		got, err := c.in.TryRead(want)
		c.mu.Lock()
		n += got
		rest.left -= int64(got)
		if err != nil {
			return n, err == bufio.ErrWouldBlock
		}
		if direct && got < len(want) {
			return n, true // that was all there is
		}
	}
	// What is there already decides whether it may be left until the next Read.
	h, _, err := c.buffered()
	return n, rest.left > 0 || err == packet.ErrShort || err == nil && s.isOurs(&h)
}

// isOurs says whether a packet is data of the stream that can be taken.
func (s *Stream) isOurs(h *packet.Header) bool {
	return s.isNext(h, frame.KindData) && h.Size > 0 && s.state.in == inOpen && h.Size <= s.in.window.left
}

// nextData begins the next packet, if that is data of the stream and its header is buffered. It reports false if it is
// something else. Conn.mu is held, but not while it tells those who look on.
func (s *Stream) nextData() bool {
	c := s.conn
	h, n, err := c.buffered()
	if err != nil {
		return err == packet.ErrShort
	}
	if !s.isOurs(&h) || !s.in.window.received(h.Size) {
		return false
	}
	c.countAlone(s, false, h.Size)
	c.rest = unfinished{s, h, c.in.Offset(), h.Size}
	c.took(&h, n)
	return true
}

// receiveRest takes what a Read has left of a frame.
func (c *Conn) receiveRest() error {
	r := c.rest
	c.rest = unfinished{}
	if r.left == 0 {
		return nil
	}
	if err := r.stream.receiveBulk(&r.header, r.left); err != nil {
		return c.readError(r.start, err)
	}
	c.readAt = c.now()
	return nil
}
