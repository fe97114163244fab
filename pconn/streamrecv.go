package pconn

import (
	"fmt"
	"io"

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

// isFrame says whether a packet is a frame of a kind.
func isFrame(h *packet.Header, kind frame.Kind) bool {
	return h.Request && h.Channel == reservedChannel && frame.KindOf(h) == kind
}

// noPayload checks a frame that has none.
func noPayload(h *packet.Header) error {
	if h.Size == 0 {
		return nil
	}
	return violation("%v of stream %s with a payload of %d bytes", frame.KindOf(h), streamName(h), h.Size)
}

func (c *Conn) receiveCredit(h *packet.Header) error {
	if err := noPayload(h); err != nil {
		return err
	}
	c.mu.Lock()
	s, act, err := c.findStream(h, streamCredit)
	amount, starved := h.Flags>>1, s != nil && s.starved()
	if err == nil && act == actTake && !s.out.window.allow(amount) {
		err = violation("CREDIT of %d bytes for stream %s, which may send %d: the most in all is %d",
			amount, streamName(h), s.out.window.credit, int64(maxCredit))
	}
	if err == nil && act == actTake {
		c.countAlone(s, true, int64(amount))
		c.credited(s, starved)
	}
	c.mu.Unlock()
	return err
}

// credited has the stream send what it may now. A Write that was starved may take what else is allowed for itself. Conn.mu
// is held, by the receiver.
func (c *Conn) credited(s *Stream, starved bool) {
	s.queueTurn()
	switch {
	case !s.out.waits:
		c.wakeSender()
	case starved && c.mayLead():
		c.alone.handed = true
	default:
		s.wakeWrite()
	}
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
	if err != nil {
		c.mu.Unlock()
		return err
	}
	c.unlockAndWrite()
	return nil
}
