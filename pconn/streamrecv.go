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
	if c.given != s {
		c.deliver()
	}
	if err == nil && s != nil {
		err = s.checkWindow(h)
	}
	if act == actTake && err == nil {
		c.countAlone(s, false, h.Size)
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
	f := unfinished{stream: s, header: *h, left: h.Size}
	err = s.receiveBulk(&f)
	if f.start > 0 {
		c.rest = f // it is another frame, behind h
	}
	return err
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
	if p := in.rest(); in.buf.bytes == 0 && n <= len(p) {
		err := c.in.ReadFull(p[:n])
		in.got += n
		s.handOver()
		return err
	}
	for n > 0 {
		p := in.buf.room(n, &c.st.buffers)
		if err := c.in.ReadFull(p); err != nil {
			return err
		}
		in.buf.filled(len(p))
		n -= len(p)
	}
	s.wakeRead()
	s.spillMore()
	return nil
}

// deliverFrom is how many bytes may have come before a reader is woken, though others are there to be received. It is what a
// stream's window is at first.
const deliverFrom = 256 << 10

// yieldFrom is how many bytes a reader is given before the receiver lets it run, so that its memory is back for
// the next piece.
const yieldFrom = 8 << 10

// receiveBulk takes data as it comes, what is left of a frame: into the memory of a Read that waits, or else into the
// stream's own. With it may come a part of the next frame: then it takes all of that too.
func (s *Stream) receiveBulk(f *unfinished) error {
	c, in := s.conn, &s.in
	for f.left > 0 {
		c.mu.Lock()
		if s.state.in != inOpen {
			c.mu.Unlock()
			return c.skipPayload(&packet.Header{Size: f.left})
		}
		var err error
		if len(in.rest()) > 0 && in.buf.bytes == 0 {
			err = s.readInto(f)
		} else {
			err = s.readBuffer(f)
			s.spillMore()
		}
		handed := s.handOverIfDone(f.left == 0)
		c.mu.Unlock()
		if handed >= yieldFrom {
			runtime.Gosched()
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return c.payloadError(&f.header, err)
		}
	}
	return nil
}

// readInto reads into what is left of the memory of the Read that waits. Conn.mu is held, but not while it reads.
func (s *Stream) readInto(f *unfinished) error {
	c, in := s.conn, &s.in
	p := in.rest()
	in.lent = true
	c.mu.Unlock()
	n, _, err := s.readAcross(p, f)
	c.mu.Lock()
	in.lent = false
	if c.st.leavers > 0 {
		c.st.returned.Broadcast()
	}
	in.got += n
	if !errors.Is(err, bufio.ErrWouldBlock) {
		return err
	}
	// The reader has what there is while more is waited for.
	s.handOver()
	c.mu.Unlock()
	_, err = c.in.Peek(1)
	c.mu.Lock()
	return err
}

// readBuffer reads into memory of the stream's own. Conn.mu is held, but not while it reads.
func (s *Stream) readBuffer(f *unfinished) error {
	c, in := s.conn, &s.in
	p := in.buf.room(int(min(f.left, maxChunk)), &c.st.buffers)
	c.mu.Unlock()
	n, err := c.in.TryRead(p)
	if errors.Is(err, bufio.ErrWouldBlock) {
		c.mu.Lock()
		s.handOver()
		c.mu.Unlock()
		n, err = c.in.Read(p)
	}
	c.mu.Lock()
	in.buf.filled(n)
	f.left -= int64(n)
	return err
}

// rest is what is left of the memory of a Read that waits.
func (in *streamIn) rest() []byte { return in.into[min(in.got, len(in.into)):] }

// handOver wakes the Read that waits, if there is something for it. Conn.mu is held.
func (s *Stream) handOver() {
	if s.conn.given == s {
		s.conn.given = nil
	}
	if s.in.got > 0 {
		s.in.into = nil
	}
	if s.in.got+s.in.buf.bytes > 0 {
		s.wakeRead()
	}
}

// handOverIfDone decides about the Read that waits, after bytes have come for it. To wake it is to wake a thread, as a
// rule, so that is done once for all that is there already, up to deliverFrom. It returns how much there was to hand
// over. Conn.mu is held.
func (s *Stream) handOverIfDone(frameEnds bool) int {
	c, in := s.conn, &s.in
	n := in.got + in.buf.bytes
	if frameEnds && in.got > 0 && len(in.rest()) == 0 && c.mayLead() {
		s.handOver() // it reads for itself what follows
		c.alone.handed = true
		return 0
	}
	if n < deliverFrom && (!frameEnds || c.in.Buffered() > 0) {
		c.given = s
		return 0
	}
	s.handOver()
	c.alone.handed = c.mayLead()
	return n
}

// deliver hands over what handOverIfDone has put off. It is called before anything else is received, or waited for.
// Conn.mu is held.
func (c *Conn) deliver() {
	if s := c.given; s != nil {
		s.handOver()
	}
}

// deliverNow is deliver without Conn.mu.
func (c *Conn) deliverNow() {
	if c.given != nil {
		c.mu.Lock()
		c.deliver()
		c.mu.Unlock()
	}
}

// somethingElse is called when a packet has come that does not go on with the data before it.
func (c *Conn) somethingElse(h *packet.Header) {
	c.mu.Lock()
	c.deliver()
	c.leaveAlone()
	if h.Channel != reservedChannel {
		c.st.company = companyFor
	}
	c.mu.Unlock()
}

// isFrame says whether a packet is a frame of a kind.
func isFrame(h *packet.Header, kind frame.Kind) bool {
	return h.Request && h.Channel == reservedChannel && frame.KindOf(h) == kind
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
