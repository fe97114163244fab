package pconn

import (
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
)

// streamFrame does what a frame about a stream says, on the receiving goroutine and in the order in which
// the frames came. Its error ends the connection.
func (c *Conn) streamFrame(h *packet.Header) error {
	switch frame.KindOf(h) {
	case frame.KindOpen:
		return c.receiveOpen(h)
	case frame.KindData:
		return c.receiveData(h)
	case frame.KindCredit:
		return c.receiveCredit(h)
	case frame.KindEnd:
		return c.receiveEnd(h)
	case frame.KindStop:
		return c.receiveStop(h)
	case frame.KindReset:
		return c.receiveReset(h)
	}
	return c.skipPayload(h)
}

// findStream returns the stream of a frame and what is to be done about it. The stream is nil if it is over.
// Conn.mu is held.
func (c *Conn) findStream(h *packet.Header, f streamEvent) (*Stream, frameAct, error) {
	t := &c.st.streams
	ours, last := h.Flags&frame.FlagReceivers != 0, t.lastTheirs
	if ours {
		last = t.lastOurs
	}
	if h.Tag == 0 || h.Tag > last {
		return nil, actViolate, violation("%v of %d bytes for stream %s, which was never opened", frame.KindOf(h), h.Size, streamName(h))
	}
	s := (*t.side(ours))[h.Tag]
	act := actOver(f)
	if s != nil {
		act = s.state.act(f)
	}
	switch {
	case act == actViolate:
		return s, act, violation("%v of %d bytes for stream %s, which its sender had ended", frame.KindOf(h), h.Size, streamName(h))
	case act == actDrop:
		c.counters.LateFrames.Add(1)
	}
	return s, act, nil
}

// streamName says which stream a frame is about.
func streamName(h *packet.Header) string {
	if h.Flags&frame.FlagReceivers != 0 {
		return fmt.Sprintf("%d of this end", h.Tag)
	}
	return fmt.Sprintf("%d of the peer", h.Tag)
}

// noPayload checks a frame that has none.
func noPayload(h *packet.Header) error {
	if h.Size == 0 {
		return nil
	}
	return violation("%v of stream %s with a payload of %d bytes", frame.KindOf(h), streamName(h), h.Size)
}

func (c *Conn) receiveData(h *packet.Header) error {
	if h.Size == 0 {
		return violation("DATA without data for stream %s", streamName(h))
	}
	c.mu.Lock()
	s, act, err := c.findStream(h, streamData)
	if err == nil && s != nil {
		err = s.checkWindow(h)
	}
	if err != nil || act == actDrop {
		c.mu.Unlock()
		if err == nil {
			err = c.skipPayload(h)
		}
		return err
	}
	if h.Size <= copyUnlocked && h.Size <= int64(c.in.Buffered()) {
		err := s.takeBuffered(int(h.Size))
		c.mu.Unlock()
		return err
	}
	c.mu.Unlock()
	return s.receiveBulk(h)
}

// checkWindow counts the data of a frame. Conn.mu is held.
func (s *Stream) checkWindow(h *packet.Header) error {
	if w := &s.in.window; !w.received(h.Size) {
		return violation("DATA of %d bytes for stream %s, which may send %d of its window of %d", h.Size, streamName(h), w.left, w.size)
	}
	return nil
}

// takeBuffered takes data that is in the input's buffer already. Conn.mu is held.
func (s *Stream) takeBuffered(n int) error {
	c, in := s.conn, &s.in
	if p := in.into; in.buf.bytes == 0 && n <= len(p) {
		in.into, in.got = nil, n
		poke(in.wake)
		return c.in.ReadFull(p[:n])
	}
	for n > 0 {
		p := in.buf.room(n, &c.st.buffers)
		if err := c.in.ReadFull(p); err != nil {
			return err
		}
		in.buf.filled(len(p))
		n -= len(p)
	}
	poke(in.wake)
	return nil
}

// yieldFrom is how many bytes a reader is given before the receiver lets it run, so that its memory is back for
// the next piece.
const yieldFrom = 8 << 10

// receiveBulk takes data as it comes: into the memory of a Read that waits, or else into the stream's own.
func (s *Stream) receiveBulk(h *packet.Header) error {
	c, in := s.conn, &s.in
	for left := h.Size; left > 0; {
		c.mu.Lock()
		if s.state.in != inOpen {
			c.mu.Unlock()
			return c.skipPayload(&packet.Header{Size: left})
		}
		var n int
		var err error
		if in.into != nil && in.buf.bytes == 0 {
			n, err = s.readInto(left)
		} else {
			p := in.buf.room(int(min(left, maxChunk)), &c.st.buffers)
			c.mu.Unlock()
			n, err = c.in.Read(p)
			c.mu.Lock()
			in.buf.filled(n)
			poke(in.wake)
		}
		handed := in.got
		c.mu.Unlock()
		if handed >= yieldFrom {
			runtime.Gosched()
		}
		left -= int64(n)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return c.payloadError(h, err)
		}
	}
	return nil
}

// readInto reads at most left bytes into the memory of the Read that waits, which has it back as soon as it is
// full or nothing more is there. Conn.mu is held, but not while it reads.
func (s *Stream) readInto(left int64) (n int, err error) {
	c, in := s.conn, &s.in
	p := in.into[:min(int64(len(in.into)), left)]
	in.lent = true
	c.mu.Unlock()
	for n < len(p) && err == nil {
		var k int
		k, err = c.in.TryRead(p[n:])
		n += k
	}
	c.mu.Lock()
	in.lent = false
	if c.st.leavers > 0 {
		c.st.returned.Broadcast()
	}
	if n > 0 {
		in.into, in.got = nil, n
		poke(in.wake)
	}
	if !errors.Is(err, bufio.ErrWouldBlock) {
		return n, err
	}
	if n > 0 {
		return n, nil
	}
	c.mu.Unlock()
	_, err = c.in.Peek(1)
	c.mu.Lock()
	return 0, err
}

func (c *Conn) receiveCredit(h *packet.Header) error {
	if err := noPayload(h); err != nil {
		return err
	}
	c.mu.Lock()
	s, act, err := c.findStream(h, streamCredit)
	amount := h.Flags >> 1
	if err == nil && act == actTake && !s.out.window.allow(amount) {
		err = violation("CREDIT of %d bytes for stream %s, which may send %d: the most in all is %d",
			amount, streamName(h), s.out.window.credit, int64(maxCredit))
	}
	if err == nil && act == actTake {
		s.queueTurn()
		if s.out.waits {
			poke(s.out.wake)
		} else {
			c.wakeSender()
		}
	}
	c.mu.Unlock()
	return err
}

func (c *Conn) receiveEnd(h *packet.Header) error {
	if err := noPayload(h); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s, _, err := c.findStream(h, streamEnd)
	if err != nil {
		return err
	}
	s.state.in = inEnded
	s.fail(io.EOF, nil)
	c.retire(s)
	return nil
}

func (c *Conn) receiveStop(h *packet.Header) error {
	why, err := c.readReset(h)
	if err != nil {
		return err
	}
	c.mu.Lock()
	s, act, err := c.findStream(h, streamStop)
	if act == actTake {
		s.fail(nil, s.remoteError(&why, true))
		s.out.buf = nil
		s.endOut()
		s.queueTurn() // an END that waited behind what is dropped
	}
	return c.unlockAndFlush(err)
}

func (c *Conn) receiveReset(h *packet.Header) error {
	why, err := c.readReset(h)
	if err != nil {
		return err
	}
	c.mu.Lock()
	s, act, err := c.findStream(h, streamReset)
	if act != actTake {
		c.mu.Unlock()
		return err
	}
	answer := s.state.out != outEnded
	cancel, cause := s.cancel, s.remoteError(&why, false)
	s.state.in = inEnded
	s.end(cause)
	if answer {
		s.due = streamDue{queued: s.due.queued, next: s.due.next, open: s.due.open, reset: new(frame.Reset)}
		s.queueDue()
	}
	c.retire(s)
	err = c.unlockAndFlush(nil)
	if cancel != nil {
		cancel(cause)
	}
	return err
}

// readReset reads the payload of a STOP or RESET.
func (c *Conn) readReset(h *packet.Header) (frame.Reset, error) {
	payload, err := c.readFields(h)
	if err != nil {
		return frame.Reset{}, err
	}
	why, err := frame.ParseReset(frame.KindOf(h), payload)
	if err != nil {
		err = badFrame(h, payload, err)
	}
	return why, err
}

// unlockAndFlush lets Conn.mu go, and sends what has come of a frame.
func (c *Conn) unlockAndFlush(err error) error {
	flush := err == nil && c.beginFlush()
	c.mu.Unlock()
	if flush {
		c.writeCycle(callerRounds)
	}
	return err
}
