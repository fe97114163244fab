package pconn

import (
	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
)

// unfinished is a DATA frame of which not all is taken. It belongs to whoever receives.
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
		c.readAt = clock() // what is behind the data has come since
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
			var more bool
			if *rest, more = s.nextData(); rest.left == 0 {
				return n, more
			}
		}
		room := p[n:]
		direct := c.in.Buffered() == 0
		c.mu.Unlock()
		got, wanted, err := s.readAcross(room, rest)
		c.mu.Lock()
		n += got
		if err != nil {
			return n, err == bufio.ErrWouldBlock
		}
		if direct && got < wanted && c.in.Buffered() == 0 {
			return n, true // that was all there is
		}
	}
	// What is there already decides whether it may be left until the next Read.
	h, _, err := c.buffered()
	return n, rest.left > 0 || err == packet.ErrShort || err == nil && s.isOurs(&h)
}

// readAcross reads what is left of a frame into p, and in the same read what is behind the header of the next one, if that
// is as expected: of the stream, with a header as long, and no smaller, of which f then is what is left. wanted is how much it
// reads if all that has come. Conn.mu is not held.
func (s *Stream) readAcross(p []byte, f *unfinished) (got, wanted int, err error) {
	c := s.conn
	at, gap := int(min(int64(len(p)), f.left)), f.header.Len()
	wanted = at
	if gap >= longHeaderSize {
		wanted = int(min(int64(len(p)), f.left+f.header.Size))
	}
	got, beyond, err := c.in.TryReadAcross(p[:wanted], at, gap)
	f.left -= int64(got)
	if beyond == 0 {
		return got, at, err
	}
	taken := 0
	b, _ := c.in.Peek(0)
	if _, size, err := packet.ParseHeader(b[:gap]); err == nil && size == gap {
		c.mu.Lock()
		if next, _ := s.nextData(); next.left > 0 {
			taken = int(min(int64(beyond), next.left))
			*f = next
			f.left -= int64(taken)
		}
		c.mu.Unlock()
	}
	c.in.Settle(p[at:at+beyond], taken, gap)
	return got + taken, wanted, err
}

// isOurs says whether a packet is data of the stream that can be taken.
func (s *Stream) isOurs(h *packet.Header) bool {
	return s.isNext(h, frame.KindData) && h.Size > 0 && s.state.in == inOpen && h.Size <= s.in.window.left
}

// nextData begins the next packet, if that is data of the stream and its header is buffered. It reports false if it is
// something else. Conn.mu is held, but not while it tells those who look on.
func (s *Stream) nextData() (f unfinished, ok bool) {
	c := s.conn
	h, n, err := c.buffered()
	if err != nil {
		return unfinished{}, err == packet.ErrShort
	}
	if !s.isOurs(&h) || !s.in.window.received(h.Size) {
		return unfinished{}, false
	}
	c.countAlone(s, false, h.Size)
	f = unfinished{s, h, c.in.Offset(), h.Size}
	c.took(&h, n)
	return f, true
}

// receiveRest takes what a Read has left of a frame.
func (c *Conn) receiveRest() error {
	r := c.rest
	c.rest = unfinished{}
	if r.left == 0 {
		return nil
	}
	if err := r.stream.receiveBulk(&r); err != nil {
		return c.readError(r.start, err)
	}
	c.readAt = clock()
	return nil
}
