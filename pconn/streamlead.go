package pconn

import (
	"time"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
)

// A stream whose data is all that comes leads: its Reads receive, straight into their memory, and no other goroutine
// has to be woken for any of it. The receiving goroutine ends meanwhile, and a new one takes its place as soon as
// there is anything but the stream's data, or nothing without waiting. Between two Reads nobody receives: the
// watchdog of inline handlers (inline.go) looks after a reader as after those. So one that does other things holds
// receiving up for less than two of its periods, and the next time only when the stream has had many more Reads.

// alone is the stream whose data is all that has come lately. It belongs to whoever receives.
type alone struct {
	stream *Stream
	bytes  int64 // of its data since anything else came
	data   int64 // of data of any streams since anything but data came
	handed bool  // a Read was just handed all there is: the next may receive
}

// aloneFrom is how many bytes of one stream have to come with nothing in between for it to be taken for all that comes.
// Requests beside it, one at a time, come more often.
const aloneFrom = 1 << 20

// watchReader is the watchdog's period while a stream leads. A timer that rings more often costs more than it saves.
const watchReader = 500 * time.Microsecond

// unfinished is a DATA frame of which a Read has not taken all. It belongs to whoever receives.
type unfinished struct {
	stream *Stream
	header packet.Header
	start  int64 // where the frame began
	left   int64
}

// countAlone counts the data of a frame. Conn.mu is held, by the receiver.
func (c *Conn) countAlone(s *Stream, n int64) {
	a := &c.alone
	if a.stream != s {
		a.stream, a.bytes = s, 0
	}
	a.bytes += n
	a.data += n
	c.st.onlyData = a.data >= aloneFrom
}

// leaveAlone is called when anything but data has come. Conn.mu is held, by the receiver.
func (c *Conn) leaveAlone() {
	c.alone = alone{}
	c.st.onlyData = false
}

// mayLead says whether the stream's next Read may receive. Conn.mu is held, by the receiver.
func (c *Conn) mayLead(s *Stream) bool {
	in := &s.in
	return c.alone.stream == s && c.alone.bytes >= aloneFrom && s.state.in == inOpen && in.err == nil && !in.unwanted &&
		in.buf.bytes == 0 && c.opts.Streams.Spill == 0
}

// lendReceiving lets the stream lead, if that is its turn, and reports whether it does: then the receiving goroutine
// ends.
func (c *Conn) lendReceiving() bool {
	c.mu.Lock()
	s := c.alone.stream
	c.alone.handed = false
	if c.given != nil || !c.mayLead(s) || !s.in.reads.mayRun() {
		c.mu.Unlock()
		return false
	}
	c.lead(s)
	poke(s.in.wake)
	c.mu.Unlock()
	return true
}

// lead gives receiving to the next Read of the stream. From here on nothing of the receiver's may be touched.
// Conn.mu is held.
func (c *Conn) lead(s *Stream) {
	c.st.leader = s
	s.in.reads.runs++
	s.in.lead = c.inline.begin(&s.in.reads)
	c.watchRun(watchReader)
}

// follow takes receiving back from a stream that leads and is not in a Read, and lets it go on elsewhere.
func (c *Conn) follow() {
	c.mu.Lock()
	var run uint64
	if s := c.st.leader; s != nil {
		run = s.in.lead
	}
	c.mu.Unlock()
	c.takeReceiving(run)
}

// receiveHere receives into p if the stream still leads. If it returns 0 it does not, and somebody else receives.
// Conn.mu is held, but not while it reads.
func (s *Stream) receiveHere(p []byte) (n int) {
	c, in := s.conn, &s.in
	leads := c.inline.over(in.lead)
	in.lead = 0
	if !leads {
		return 0
	}
	n, more := s.receiveData(p)
	c.readAt = c.now() // what is behind the data has come since
	if n > 0 && more && c.mayLead(s) {
		c.lead(s)
		return n
	}
	c.st.leader = nil
	c.startReceiving()
	return n
}

// receiveData reads data of the stream into p for as long as there is some without waiting. It reports false for more
// if the stream cannot go on: there is nothing, or something else. What is wrong with it is left for the receiving
// goroutine to find. Conn.mu is held, but not while it reads.
func (s *Stream) receiveData(p []byte) (n int, more bool) {
	c, rest := s.conn, &s.conn.rest
	for n < len(p) {
		if rest.left == 0 {
			if n > 0 && c.in.Buffered() == 0 {
				return n, true
			}
			if !s.nextData() {
				return n, false
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
			return n, n > 0
		}
		if direct && got < len(want) {
			return n, true // that was all there is
		}
	}
	// What is there already decides whether it may be left until the next Read.
	h, _, ok := c.buffered()
	return n, rest.left > 0 || !ok || s.isOurs(&h)
}

// buffered returns the next header, if all of it is buffered.
func (c *Conn) buffered() (h packet.Header, n int, ok bool) {
	b, _ := c.in.Peek(0)
	h, n, err := packet.ParseHeader(b)
	return h, n, err == nil
}

// isOurs says whether a packet is data of the stream that can be taken.
func (s *Stream) isOurs(h *packet.Header) bool {
	return isData(h) && h.Tag == s.id && h.Flags&frame.FlagReceivers != 0 == s.ours && h.Size > 0 &&
		s.state.in == inOpen && h.Size <= s.in.window.left
}

// nextData begins the next packet, if that is data of the stream and has come. Conn.mu is held, but not while it reads.
func (s *Stream) nextData() bool {
	c := s.conn
	h, n, ok := c.buffered()
	if !ok {
		c.mu.Unlock()
		_, err := c.in.TryPeek(c.in.Buffered() + 1)
		c.mu.Lock()
		if h, n, ok = c.buffered(); err != nil || !ok {
			return false
		}
	}
	if !s.isOurs(&h) || !s.in.window.received(h.Size) {
		return false
	}
	c.rest = unfinished{s, h, c.in.Offset(), h.Size}
	_ = c.in.Skip(int64(n)) // it is buffered
	c.counters.PacketsIn.Add(1)
	c.counters.FramesIn.Add(1)
	c.counters.BytesIn.Add(uint64(int64(n) + h.Size))
	if c.watch != nil {
		c.mu.Unlock()
		c.watch.received(&h, n+int(h.Size))
		c.mu.Lock()
	}
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
