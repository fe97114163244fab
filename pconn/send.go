package pconn

import (
	"bytes"
	"context"
	"runtime"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
	"github.com/packetstream/packetstream/tick"
)

// queued says what append did, for what is to be done without the lock. The zero value says that nothing was
// queued, since nothing can be sent any more.
type queued struct {
	header packet.Header // set if somebody looks on
	size   int           // of the packet; 0 if there is none
	grace  bool          // a grace wait began
	flush  bool          // the caller is to run a write cycle
	now    bool          // at once: enough has gathered
}

// send gives the call a tag and a place, and queues its request. When it returns nil the call will be
// completed once, unless it is taken back. inHandler allows a request while the connection drains.
func (c *Conn) send(ctx context.Context, call *call, req *Request, inHandler bool) error {
	if len(req.Files) > 0 && call.files == nil {
		return c.sendFiles(ctx, call, req, inHandler)
	}
	h := packet.Header{Channel: req.Channel, Type: req.Type + 1, Flags: req.Flags, Request: true, Size: int64(len(req.Payload))}
	gather := call.result == nil && call.kind == callWaits && len(req.Payload) >= gatherFrom && c.out.NonBlocking() && call.files == nil
	if c.inPieces(len(req.Payload)) && call.files == nil {
		call.large = largeRequest(&h, req.Payload, gather)
	}

	c.mu.Lock()
	if (!c.st.callers.empty() || !c.st.roomForCall(call.size)) && c.st.mayCall(inHandler) == nil {
		if err := c.waitFor(ctx, &c.st.callers, func() bool {
			return c.st.roomForCall(call.size) || c.st.mayCall(inHandler) != nil
		}); err != nil {
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
	c.st.watches.join(call)
	c.follow()
	h.Tag, call.begun = call.tag, c.sendTime()
	var unsent *bufio.Handles
	if call.files != nil {
		unsent, call.files = c.appendFiles(call.tag, 0, call.files), nil
	}
	first, q := c.appendRequest(ctx, call, req, &h, gather)
	var lingers uint32
	if q.flush && !q.now && c.st.calls.n > 1 {
		lingers = c.st.sender.linger()
	}
	if c.st.roomForCall(0) {
		c.st.callers.wakeFirst()
	}
	c.mu.Unlock()

	if unsent != nil {
		unsent.Close()
	}
	c.counters.RequestsOut.Add(1)
	c.sent(&first)
	c.sent(&q)
	if q.flush && (lingers == 0 || c.letAppend(lingers)) {
		c.writeCycle(callerRounds)
	}
	return nil
}

// appendRequest queues a request and what goes before it. Conn.mu is held.
func (c *Conn) appendRequest(ctx context.Context, call *call, req *Request, h *packet.Header, gather bool) (first, q queued) {
	var buf [32]byte
	headers := c.requestHeaders(ctx, call, req, buf[:0])
	if l := call.large; l != nil {
		l.header.Tag, l.headers = h.Tag, bytes.Clone(headers)
		return queued{}, c.appendLarge(l)
	}
	if len(headers) > 0 {
		f := frame.Header(frame.KindHeaders, call.tag, 0, len(headers))
		if gather {
			first, q, call.ref = c.appendHeaded(&f, headers, h, req.Payload)
			return first, q
		}
		first = c.appendTo(c.st.sender.pending, &f, headers)
	}
	q, call.ref = c.append(h, req.Payload, gather)
	q.and(&first)
	return first, q
}

// appendHeaded queues a HEADERS and a request whose payload is gathered as one packet of the batch, so that who takes it
// out takes out both. Conn.mu is held.
func (c *Conn) appendHeaded(f *packet.Header, headers []byte, h *packet.Header, payload []byte) (first, q queued, ref sendRef) {
	s := &c.st.sender
	if s.eof || s.err != nil {
		return queued{}, queued{}, sendRef{}
	}
	before := s.pending.Len()
	buf, _ := f.Append(s.pending.Begin())
	buf, _ = h.Append(append(buf, headers...))
	ref = sendRef{s.pending, s.pending.EndRef(buf, payload), 2}
	first = c.appended(s.pending, f, before)
	first.size = f.Len() + len(headers)
	q = c.appended(s.pending, h, before+first.size)
	q.and(&first)
	return first, q, ref
}

// letAppend lets others who are about to send as well append first, as long as more do, to spare system calls. It
// reports false if one of them writes instead, as soon as enough for a write has gathered.
func (c *Conn) letAppend(lingers uint32) bool {
	s := &c.st.sender
	for i, last := 1, 0; ; i++ {
		runtime.Gosched()
		c.mu.Lock()
		n, mine := s.pending.packets, s.lingers == lingers
		over := n == last || i == maxYields
		if mine && over {
			s.lingers = 0
		}
		c.mu.Unlock()
		if over || !mine {
			return mine
		}
		last = n
	}
}

// sendTime returns about when a request that is queued now is sent. One who is about to write looks at the clock;
// those who queue behind it do with that, unless the write may wait. Conn.mu is held.
func (c *Conn) sendTime() instant {
	s := &c.st.sender
	if !s.writing || !s.timed {
		s.time, s.timed = c.now(), !s.writing
	}
	return s.time
}

// respond queues the answer to a request, and returns the request whose handler is to run next in its
// place. It waits for room while the queue is over its bound, unless the handler's goroutine receives:
// then receiving goes elsewhere first. Headers are what goes before it, as it is on the wire.
func (c *Conn) respond(in *incoming, ok bool, flags uint64, payload, headers []byte) *incoming {
	h := responseHeader(in.channel, in.tag, ok, flags, len(payload))
	if c.inPieces(len(payload)) && !in.marked && (in.ctx.told == nil || in.ctx.told.files == nil) {
		return c.respondLarge(in, &h, payload, headers)
	}
	c.mu.Lock()
	if !in.marked && !c.st.mayRunInline() {
		c.mu.Unlock()
		c.takeReceiving(in.run)
		c.mu.Lock()
	}
	if !in.marked && !in.abandoned && !c.st.mayRunInline() {
		// Asked again, since the queue may have emptied meanwhile: then nobody would wake the line.
		// The wait ends with room, or when nothing can be sent any more.
		_ = c.waitFor(context.Background(), &c.st.repliers, c.st.roomForReply)
	}
	var first, q queued
	if !in.abandoned {
		first, q = c.appendAnswer(in, &h, payload, headers)
	}
	next := c.finishHandler(in)
	if c.st.roomForReply() {
		c.st.repliers.wakeFirst()
	}
	// Other handlers may be about to answer as well, but none that waits for this goroutine to receive.
	busy := c.st.incoming.n > 0 && !c.runsInline(in) && !q.now
	c.mu.Unlock()

	c.sent(&first)
	c.sent(&q)
	if q.flush {
		if busy {
			runtime.Gosched()
		}
		c.writeCycle(callerRounds)
	}
	return next
}

// appendAnswer queues an answer and what goes before it. Conn.mu is held.
func (c *Conn) appendAnswer(in *incoming, h *packet.Header, payload, headers []byte) (first, q queued) {
	c.st.sender.hold = c.opts.Grace == 0 && c.runsInline(in)
	if told := in.ctx.told; told != nil {
		told.files = c.appendFiles(in.tag, frame.FlagResponse, told.files)
	}
	first = c.appendResponseHeaders(in, headers)
	q, ref := c.append(h, payload, len(payload) >= gatherFrom)
	c.st.sender.hold = false
	if ref.batch != nil && in.marked {
		c.lendScratch(ref.batch)
	}
	q.and(&first)
	return first, q
}

// reject queues a "not ok" response with a text, from the receiving goroutine: it never waits. The
// error is that of a peer which does not read its rejections.
func (c *Conn) reject(h *packet.Header, text string) error {
	r := responseHeader(h.Channel, h.Tag, false, 0, len(text))
	c.counters.Rejected.Add(1)
	c.logf(levelInfo, "request rejected", "channel", h.Channel, "tag", h.Tag, "type", h.Type-1, "reason", text)

	c.mu.Lock()
	first, err := c.rejectHeaders(h, text)
	var q queued
	if err == nil {
		q, err = c.control(&r, []byte(text))
	}
	q.and(&first)
	c.mu.Unlock()
	c.sent(&first)
	c.flush(&q)
	return err
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
	before := s.pending.Len()
	buf, _ := h.Append(s.pending.Begin())
	ref := s.pending.EndRef(buf, payload)
	return c.appended(s.pending, h, before), sendRef{s.pending, ref, 1}
}

func (c *Conn) appendTo(b *batch, h *packet.Header, payload []byte) queued {
	s := &c.st.sender
	if s.eof || s.err != nil {
		return queued{}
	}
	before := b.Len()
	buf, _ := h.Append(b.Begin())
	b.End(append(buf, payload...))
	return c.appended(b, h, before)
}

// appended counts what was just appended to a batch of so many bytes, and decides who writes it.
func (c *Conn) appended(b *batch, h *packet.Header, before int) queued {
	s := &c.st.sender
	q := queued{size: b.Len() - before}
	if c.watch != nil {
		q.header = *h
	}
	b.packets++
	s.queued++
	if !h.Request {
		b.answers++
	}
	switch {
	case s.lingers != 0 && worthWrite(s.pending.packets, s.pending.Len(), c.st.calls.n):
		s.lingers = 0
		q.flush, q.now = true, true
		return q
	case s.writing || s.hold && s.pending.Len() < maxHeld:
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
	if q.size == 0 {
		return
	}
	c.countSent(&q.header, q.size)
	if q.grace {
		c.watch.tick(tick.Grace)
	}
}

func (c *Conn) countSent(h *packet.Header, n int) {
	c.counters.PacketsOut.Add(1)
	c.counters.BytesOut.Add(uint64(n))
	c.watch.sent(h, n)
}
