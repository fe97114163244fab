package pconn

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/tick"
)

// sender is what waits to be sent and who sends it. Whoever has a packet appends it to the pending
// batch; if nobody is writing, it writes, as far as the descriptor takes it at once, and what others
// append meanwhile leaves in the next write. A goroutine of the connection's own takes over what did
// not fit, and what a single caller should not be kept for.
//
// Everything in it is guarded by Conn.mu.
type sender struct {
	pending *bufio.Batch // being filled
	current *bufio.Batch // being written, by whoever set writing
	spare   *bufio.Batch // empty

	control *bufio.Batch // rejections, which leave first

	packets        int      // packets in pending and control
	answers        int      // responses among them
	rejections     int      // those in control
	currentAnswers int      // responses in current
	buffers        [][]byte // payload buffers that pending refers to, for bufferList to have back
	currentBuffers [][]byte // likewise of current
	writing        bool     // somebody is in a write cycle
	hold           bool     // what is appended now may wait for flushHeld
	graceTimer     *time.Timer
	enlarged       bool // a larger pipe was asked for
	graceArmed     bool // the timer will flush what is pending
	eof            bool // the EOF packet is queued: nothing may follow
	eofGone        bool // the EOF packet has been written
	err            error
}

// sendRef is where a payload waits that is sent from the caller's own memory.
type sendRef struct {
	batch *bufio.Batch
	ref   bufio.Ref
}

// queued says what append did, for what is to be done without the lock.
type queued struct {
	header packet.Header
	grace  bool // a grace wait began
	flush  bool // the caller is to run a write cycle
}

// send gives the call a tag and a place, and queues its request. When it returns nil the call will be
// completed once, unless it is taken back. inHandler allows a request while the connection drains.
func (c *Conn) send(ctx context.Context, call *call, req *Request, inHandler bool) error {
	h := packet.Header{Channel: req.Channel, Type: req.Type + 1, Flags: req.Flags, Request: true, Size: int64(len(req.Payload))}
	call.begun = c.now()
	gather := call.result == nil && call.kind == callWaits && len(req.Payload) >= gatherFrom && c.out.NonBlocking()

	c.mu.Lock()
	if !c.st.callers.empty() || !c.st.roomForCall(call.size) {
		if err := c.waitFor(ctx, &c.st.callers, func() bool { return c.st.roomForCall(call.size) }); err != nil {
			c.mu.Unlock()
			return err
		}
	}
	if err := c.st.mayCall(inHandler); err != nil {
		c.st.callers.wakeFirst()
		c.mu.Unlock()
		return err
	}
	c.st.addCall(call)
	h.Tag = call.tag
	q, ref := c.append(&h, req.Payload, gather)
	call.ref = ref
	busy := c.st.calls.n > 1
	if c.st.roomForCall(0) {
		c.st.callers.wakeFirst()
	}
	c.mu.Unlock()

	c.counters.RequestsOut.Add(1)
	c.sent(&q)
	if q.flush {
		if busy {
			// Others are about to send as well: let them append first, and spare a system call.
			runtime.Gosched()
		}
		c.writeCycle(callerRounds)
	}
	return nil
}

// respond queues the answer to a request, and returns the request whose handler is to run next in its
// place. It waits for room while the queue is over its bound, unless the handler's goroutine receives:
// then receiving goes elsewhere first.
func (c *Conn) respond(in *incoming, ok bool, flags uint64, payload []byte) *incoming {
	h := responseHeader(in.channel, in.tag, ok, flags, len(payload))
	gather := len(payload) >= gatherFrom
	c.mu.Lock()
	if !in.marked && !c.st.mayRunInline() {
		c.mu.Unlock()
		c.takeReceiving(in.run)
		c.mu.Lock()
	}
	if !in.marked && !c.st.mayRunInline() {
		// Asked again, since the queue may have emptied meanwhile: then nobody would wake the line.
		// The wait ends with room, or when nothing can be sent any more.
		_ = c.waitFor(context.Background(), &c.st.repliers, c.st.roomForReply)
	}
	c.st.sender.hold = c.opts.Grace == 0 && c.runsInline(in)
	q, ref := c.append(&h, payload, gather)
	c.st.sender.hold = false
	if ref.batch != nil && in.marked {
		c.lendScratch()
	}
	next := c.finishHandler(in)
	if c.st.roomForReply() {
		c.st.repliers.wakeFirst()
	}
	busy := c.st.incoming.n > 0
	c.mu.Unlock()

	c.sent(&q)
	if q.flush {
		if busy {
			runtime.Gosched()
		}
		c.writeCycle(callerRounds)
	}
	return next
}

// flushHeld writes what inline handlers answered. It is called before receiving may wait, and by the
// goroutine of an inline handler that has lost receiving.
func (c *Conn) flushHeld() {
	c.mu.Lock()
	s := &c.st.sender
	if s.writing || s.graceArmed || s.err != nil || !s.hasPending() {
		c.mu.Unlock()
		return
	}
	s.writing = true
	c.mu.Unlock()
	c.writeCycle(callerRounds)
}

// reject queues a "not ok" response with a text, from the receiving goroutine: it never waits. The
// error is that of a peer which does not read its rejections.
func (c *Conn) reject(h *packet.Header, text string) error {
	r := responseHeader(h.Channel, h.Tag, false, 0, len(text))
	c.counters.Rejected.Add(1)
	c.logf(levelInfo, "request rejected", "channel", h.Channel, "tag", h.Tag, "type", h.Type-1, "reason", text)

	c.mu.Lock()
	s := &c.st.sender
	if s.control == nil {
		s.control = new(bufio.Batch)
	}
	if s.control.Len() > maxControl {
		n := s.control.Len()
		c.mu.Unlock()
		return &LimitError{What: "rejections waiting to be read, bytes", Value: int64(n), Max: maxControl}
	}
	q := c.appendTo(s.control, &r, []byte(text))
	if q.header != (packet.Header{}) {
		s.rejections++
	}
	c.mu.Unlock()

	c.sent(&q)
	if q.flush {
		c.writeCycle(callerRounds)
	}
	return nil
}

func responseHeader(channel, tag uint64, ok bool, flags uint64, size int) packet.Header {
	flags <<= 1
	if ok {
		flags |= 1
	}
	return packet.Header{Channel: channel, Tag: tag, Flags: flags, Size: int64(size)}
}

// append puts a packet into the pending batch, its payload by reference if gather is set. The header
// was checked before. Conn.mu is held.
func (c *Conn) append(h *packet.Header, payload []byte, gather bool) (queued, sendRef) {
	s := &c.st.sender
	if !gather {
		return c.appendTo(s.pending, h, payload), sendRef{}
	}
	if s.eof || s.err != nil {
		return queued{}, sendRef{}
	}
	buf, _ := h.Append(s.pending.Begin())
	ref := s.pending.EndRef(buf, payload)
	return c.appended(h), sendRef{s.pending, ref}
}

func (c *Conn) appendTo(b *bufio.Batch, h *packet.Header, payload []byte) queued {
	s := &c.st.sender
	if s.eof || s.err != nil {
		return queued{}
	}
	buf, _ := h.Append(b.Begin())
	b.End(append(buf, payload...))
	return c.appended(h)
}

// appended decides who writes what was just appended.
func (c *Conn) appended(h *packet.Header) queued {
	s := &c.st.sender
	q := queued{header: *h}
	s.packets++
	if !h.Request {
		s.answers++
	}
	if s.writing || s.hold && s.pending.Len() < maxHeld {
		return q
	}
	if c.opts.Grace > 0 && s.pending.Len() < gatherFrom {
		q.grace = c.armGrace()
		return q
	}
	s.writing = true
	q.flush = true
	return q
}

// sent does for a packet just queued what may not be done under the lock.
func (c *Conn) sent(q *queued) {
	if q.header == (packet.Header{}) {
		return
	}
	c.countSent(&q.header)
	if q.grace {
		c.watch.tick(tick.Grace)
	}
}

func (c *Conn) countSent(h *packet.Header) {
	n := h.Len() + int(h.Size)
	c.counters.PacketsOut.Add(1)
	c.counters.BytesOut.Add(uint64(n))
	c.watch.sent(h, n)
}

// armGrace starts the timer of a grace wait, unless it runs already.
func (c *Conn) armGrace() bool {
	s := &c.st.sender
	if s.graceArmed {
		return false
	}
	s.graceArmed = true
	if s.graceTimer == nil {
		s.graceTimer = time.AfterFunc(c.opts.Grace, c.graceOver)
	} else {
		s.graceTimer.Reset(c.opts.Grace)
	}
	return true
}

func (c *Conn) graceOver() {
	c.mu.Lock()
	c.st.sender.graceArmed = false
	c.wakeSender()
	c.mu.Unlock()
}

// wakeSender starts a write cycle on a goroutine of the connection's own, if there is anything to
// write and nobody writes. Conn.mu is held.
func (c *Conn) wakeSender() {
	s := &c.st.sender
	if s.writing || s.err != nil || !s.hasPending() {
		return
	}
	s.writing = true
	c.startSender()
}

// startSender hands the write cycle to the sender goroutine, which ends when nothing is left to
// send. windDown waits for it through c.sendEnd, as far as the descriptor lets its write end.
func (c *Conn) startSender() { go c.writeCycle(math.MaxInt) }

func (s *sender) hasPending() bool {
	return s.pending.Len() > 0 || s.control != nil && s.control.Len() > 0
}

// callerRounds is how many batches a caller writes before the sender goroutine takes over: its own
// and one more.
const callerRounds = 2

// writeCycle writes batch after batch until nothing is pending. The caller has set writing. With
// rounds below the sender goroutine's it never blocks: what the descriptor does not take at once, and
// what comes after that many rounds, is the sender goroutine's.
func (c *Conn) writeCycle(rounds int) {
	wait := rounds == math.MaxInt
	for ; ; rounds-- {
		c.mu.Lock()
		if c.st.sender.current == nil && !c.nextBatch() {
			c.mu.Unlock()
			return
		}
		if rounds == 0 || !wait && c.st.sender.eof {
			// The end of sending is not for a caller to look after.
			c.startSender()
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()

		err := c.out.Write((*sendSource)(c), wait)
		if errors.Is(err, bufio.ErrWouldBlock) {
			c.counters.SenderHandovers.Add(1)
			c.enlarge()
			c.startSender()
			return
		}
		c.watch.tick(tick.Flush)
		c.written(err)
		if err != nil {
			return
		}
	}
}

// enlarge asks for a larger pipe, once, when a bulk of bytes did not fit. Only who writes calls it.
func (c *Conn) enlarge() {
	c.mu.Lock()
	s := &c.st.sender
	bulk := !s.enlarged && s.current.Len() >= gatherFrom
	s.enlarged = s.enlarged || bulk
	c.mu.Unlock()
	if bulk {
		c.out.Enlarge()
	}
}

// nextBatch makes the next batch current, or ends the write cycle. Conn.mu is held.
func (c *Conn) nextBatch() bool {
	s := &c.st.sender
	var packets int
	switch {
	case s.control != nil && s.control.Len() > 0:
		s.current, s.control = s.control, nil
		packets, s.currentAnswers = s.rejections, s.rejections
		s.packets, s.answers, s.rejections = s.packets-packets, s.answers-packets, 0
	case s.pending.Len() > 0:
		s.current, s.pending, s.spare = s.pending, s.spare, nil
		s.currentBuffers, s.buffers = s.buffers, s.currentBuffers
		packets, s.currentAnswers = s.packets-s.rejections, s.answers-s.rejections
		s.packets, s.answers = s.rejections, s.rejections
		if s.pending == nil {
			s.pending = new(bufio.Batch)
		}
	default:
		s.writing = false
		return false
	}
	c.counters.Flushes.Add(1)
	if packets > 1 {
		c.counters.Batches.Add(1)
	}
	return true
}

// written is called when the current batch is gone, or writing has failed.
func (c *Conn) written(err error) {
	c.mu.Lock()
	s := &c.st.sender
	b := s.current
	s.current, s.currentAnswers = nil, 0
	if err != nil {
		c.mu.Unlock()
		c.writeFailed(err)
		return
	}
	eofGone := s.eof && !s.hasPending()
	s.eofGone = eofGone
	b.Reset()
	s.spare = b
	for i, buf := range s.currentBuffers {
		c.st.buffers.put(buf)
		s.currentBuffers[i] = nil
	}
	s.currentBuffers = s.currentBuffers[:0]
	c.st.repliers.wakeFirst()
	c.st.callers.wakeFirst()
	c.mu.Unlock()
	if eofGone {
		c.endSending(nil)
	}
}

// writeFailed ends sending. Answers that the peer wrote before it went away are still read, for a
// moment.
func (c *Conn) writeFailed(err error) {
	err = fmt.Errorf("%w: %w", ErrPeerGone, err)
	c.mu.Lock()
	s := &c.st.sender
	s.err = err
	s.pending.Reset()
	s.control = nil
	s.packets, s.answers, s.rejections = 0, 0, 0
	c.st.repliers.wakeFirst()
	c.st.callers.wakeFirst()
	c.mu.Unlock()
	c.endSending(err)
}

// sendSource is the connection as what bufio.Output asks for bytes. A payload may be taken out of the
// current batch between two system calls, never during one.
type sendSource Conn

func (c *sendSource) Next(bufs [][]byte) [][]byte {
	c.mu.Lock()
	bufs = c.st.sender.current.Next(bufs)
	c.mu.Unlock()
	return bufs
}

func (c *sendSource) Wrote(n int) {
	c.mu.Lock()
	s := &c.st.sender
	s.current.Wrote(n)
	if c.st.leavers > 0 {
		c.st.returned.Broadcast()
	}
	c.mu.Unlock()
}

// releasePayload makes sure that the call's payload is not touched again, since its caller is about
// to return.
func (c *Conn) releasePayload(call *call) {
	c.mu.Lock()
	c.releaseRef(call)
	c.mu.Unlock()
}

// releaseRef takes a payload out that was not begun, and copies the rest of one that was. It waits for
// no more than the one system call that the payload may be in, which does not block. Conn.mu is held.
func (c *Conn) releaseRef(call *call) {
	b, ref := call.ref.batch, call.ref.ref
	if b == nil {
		return
	}
	call.ref = sendRef{}
	for b.State(ref) == bufio.RefLent {
		c.waitReturned()
	}
	if !b.Unlink(ref) {
		b.Detach(ref)
	}
}
