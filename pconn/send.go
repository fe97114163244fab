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
// queued, since nothing can be sent any more. It is small, to be passed in registers.
type queued struct {
	size   int   // of the packet; 0 if there is none
	headed int32 // bytes of the payload of the HEADERS before it; 0 if there are none
	grace  bool  // a grace wait began
	flush  bool  // the caller is to run a write cycle
	now    bool  // at once: enough has gathered
}

// send gives the call a tag and a place, and queues its request. When it returns nil the call will be
// completed once, unless it is taken back. inHandler allows a request while the connection drains.
func (c *Conn) send(ctx context.Context, call *call, req *Request, inHandler bool) error {
	if len(req.Files) > 0 && call.files == nil {
		return c.sendFiles(ctx, call, req, inHandler)
	}
	flush, lingers, err := c.queueCall(ctx, call, req, inHandler)
	if flush && (lingers == 0 || c.letAppend(lingers, maxYields)) {
		c.writeCycle(callerRounds)
	}
	return err
}

// queueCall is send but for the writing, which is to be done if flush is set: by who finds nothing of this on its stack, which among
// many callers is in no cache.
func (c *Conn) queueCall(ctx context.Context, call *call, req *Request, inHandler bool) (flush bool, lingers uint32, err error) {
	h := packet.Header{Channel: req.Channel, Type: req.Type + 1, Flags: req.Flags, Request: true, Size: int64(len(req.Payload))}
	gather := len(req.Payload) >= gatherFrom && c.lendsPayload(call, &h, req)

	c.mu.Lock()
	if err := c.enter(ctx, call.size, inHandler); err != nil {
		c.mu.Unlock()
		return false, 0, err
	}
	c.st.addCall(call)
	c.st.joinWatch(call)
	c.follow()
	if c.lending == lendingOut && call.alone && call.mayReceive() {
		c.lending, call.receives = lendingTaken, true
	}
	h.Tag, call.begun = call.tag, c.sendTime()
	var unsent *bufio.Handles
	if call.files != nil {
		unsent, call.files = c.appendFiles(call.tag, 0, call.files), nil
	}
	// A small request with nothing before it needs none of the rest, whose frames a thousand callers would have on their stacks.
	var q queued
	if gather || call.large != nil || c.ext.on.Load() {
		q = c.appendRequest(ctx, call, req, &h, gather)
	} else {
		q = c.appendTo(c.st.sender.toFill(), &h, nil, req.Payload)
	}
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
	c.sent(&h, q)
	return q.flush, lingers, nil
}

// enter waits, in line, for room for a call with a payload of so many bytes. The error is ctx's, or says why no call may be
// made. Conn.mu is held, but not while it waits.
func (c *Conn) enter(ctx context.Context, size int64, inHandler bool) error {
	if (!c.st.callers.empty() || !c.st.roomForCall(size)) && c.st.mayCall(inHandler) == nil {
		if err := c.waitFor(ctx, &c.st.callers, func() bool {
			return c.st.roomForCall(size) || c.st.mayCall(inHandler) != nil
		}); err != nil {
			return err
		}
	}
	err := c.st.mayCall(inHandler)
	if err != nil {
		c.st.callers.wakeFirst()
	}
	return err
}

// lendsPayload says whether a large payload is sent from where it is, since its caller waits. One that goes in pieces is
// the call's from here on.
func (c *Conn) lendsPayload(call *call, h *packet.Header, req *Request) bool {
	if call.files != nil {
		return false
	}
	gather := call.result == nil && call.kind == callWaits && c.out.NonBlocking()
	if c.inPieces(len(req.Payload)) {
		call.large = largeRequest(h, req.Payload, gather)
	}
	return gather
}

// appendRequest queues a request, and what goes before it to a peer that has the extensions. Conn.mu is held.
func (c *Conn) appendRequest(ctx context.Context, call *call, req *Request, h *packet.Header, gather bool) queued {
	if !c.ext.on.Load() {
		return c.appendCall(call, h, nil, req.Payload, gather)
	}
	var buf [32]byte
	return c.appendCall(call, h, c.requestHeaders(ctx, call, req, buf[:0]), req.Payload, gather)
}

// appendCall is appendRequest with the HEADERS, or nil. Conn.mu is held.
func (c *Conn) appendCall(call *call, h *packet.Header, headers, payload []byte, gather bool) (q queued) {
	switch {
	case call.large != nil:
		call.large.header.Tag, call.large.headers = h.Tag, bytes.Clone(headers)
		return c.appendLarge(call.large)
	case gather:
		q, call.ref = c.appendRef(h, headers, payload)
		return q
	}
	return c.appendTo(c.st.sender.toFill(), h, headers, payload)
}

// letAppend lets others who are about to send as well append first, as long as more do and at most so often, to spare system
// calls. It reports false if one of them writes instead, as soon as enough for a write has gathered.
func (c *Conn) letAppend(lingers uint32, most int) bool {
	s := &c.st.sender
	for i, last := 1, 0; ; i++ {
		runtime.Gosched()
		c.mu.Lock()
		n, mine := s.pending.packets, s.lingers == lingers
		over := n == last || i == most
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

// sendTime returns about when a request that is queued now is sent. One who is about to write looks at the clock, or the first
// of those that are left to the receiver; those who queue behind it do with that, unless the write may wait. Conn.mu is held.
func (c *Conn) sendTime() instant {
	s := &c.st.sender
	behind := s.writing || s.awake && s.pending.packets > 0 && c.opts.Grace == 0
	if !behind || !s.timed {
		s.time, s.timed = clock(), !s.writing
	}
	return s.time
}

// leftToReceiver says whether requests that are not yet enough for a write are left to the receiver to
// write: one that was just appended, or those behind a write (restLeft). It is awake, and does so before it sleeps. Those whom
// it finds answers for make requests as well, at once, since answers to a portion at least are on their way; and so what would be
// a few packets leaves with a portion. Conn.mu is held.
func (c *Conn) leftToReceiver() bool {
	s := &c.st.sender
	return s.awake && c.st.calls.n-s.pending.packets >= minPortion
}

// respond queues the answer to a request, and returns the request whose handler is to run next in its
// place. It waits for room while the queue is over its bound, unless the handler's goroutine receives:
// then receiving goes elsewhere first. Headers are what goes before it, as it is on the wire.
func (c *Conn) respond(in *incoming, ok bool, flags uint64, payload, headers []byte) *incoming {
	h := packet.Header{Channel: in.channel, Tag: in.tag, Flags: responseFlags(ok, flags), Size: int64(len(payload))}
	if c.inPieces(len(payload)) && !in.marked && !in.ctx.hasFiles() {
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
	var q queued
	if !in.abandoned {
		q = c.appendAnswer(in, &h, payload, headers)
	}
	next := c.finishHandler(in)
	if c.st.roomForReply() {
		c.st.repliers.wakeFirst()
	}
	// Other handlers may be about to answer as well, but none that waits for this goroutine to receive.
	var lingers uint32
	if q.flush && !q.now && c.st.incoming.n > 0 && !c.runsInline(in) {
		lingers = c.st.sender.linger()
	}
	c.mu.Unlock()

	c.sent(&h, q)
	if q.flush && (lingers == 0 || c.letAppend(lingers, 1)) {
		c.writeCycle(callerRounds)
	}
	return next
}

// appendAnswer queues an answer and what goes before it. Conn.mu is held.
func (c *Conn) appendAnswer(in *incoming, h *packet.Header, payload, headers []byte) (q queued) {
	s := &c.st.sender
	s.hold = c.opts.Grace == 0 && c.runsInline(in)
	if rest := in.ctx.more(); rest != nil {
		rest.files = c.appendFiles(in.tag, frame.FlagResponse, rest.files)
	}
	if len(payload) < gatherFrom {
		q = c.appendTo(s.toFill(), h, headers, payload)
	} else {
		var ref sendRef
		q, ref = c.appendRef(h, headers, payload)
		if ref.batch != nil && in.marked {
			c.lendScratch(ref.batch)
		}
	}
	s.hold = false
	return q
}

// reject queues a "not ok" response with a text, from the receiving goroutine: it never waits. The
// error is that of a peer which does not read its rejections.
func (c *Conn) reject(h *packet.Header, text string) error {
	r := packet.Header{Channel: h.Channel, Tag: h.Tag, Size: int64(len(text))}
	c.counters.Rejected.Add(1)
	c.logf(levelInfo, "request rejected", "channel", h.Channel, "tag", h.Tag, "type", h.Type-1, "reason", text)

	headers := c.rejectHeaders(h, text)
	c.mu.Lock()
	q, err := c.control(&r, headers, []byte(text))
	c.mu.Unlock()
	c.flush(&r, q)
	return err
}

// responseFlags are a response's flags as they are on the wire.
func responseFlags(ok bool, flags uint64) uint64 {
	flags <<= 1
	if ok {
		flags |= 1
	}
	return flags
}

// appendRef puts a packet into the pending batch, its payload by reference, and HEADERS before it where there are any: both
// are one packet of the batch, so that who takes one out takes out both. The header was checked before. Conn.mu is held.
func (c *Conn) appendRef(h *packet.Header, headers, payload []byte) (queued, sendRef) {
	if c.st.sender.eof || c.st.sender.err != nil {
		return queued{}, sendRef{}
	}
	b := c.st.sender.toFill()
	buf, packets := b.Begin(), 1
	if len(headers) > 0 {
		buf, packets = appendHeaders(buf, h, headers), 2
	}
	begin := len(buf)
	buf, _ = h.Append(buf)
	ref := b.EndRef(buf, payload)
	return c.appended(b, h.Request, len(headers), len(buf)-begin+len(payload)), sendRef{b, ref, packets}
}

// appendTo puts a packet into a batch, its payload copied, and HEADERS before it where there are any. Conn.mu is held.
func (c *Conn) appendTo(b *batch, h *packet.Header, headers, payload []byte) queued {
	if c.st.sender.eof || c.st.sender.err != nil {
		return queued{}
	}
	buf := b.Begin()
	if len(headers) > 0 {
		buf = appendHeaders(buf, h, headers)
	}
	begin := len(buf)
	buf, _ = h.Append(buf)
	buf = append(buf, payload...)
	b.End(buf)
	return c.appended(b, h.Request, len(headers), len(buf)-begin)
}

// appended counts a packet of size bytes that was just appended to a batch, behind HEADERS with a payload of so many or none,
// and decides who writes it. Conn.mu is held.
func (c *Conn) appended(b *batch, request bool, headers, size int) queued {
	s := &c.st.sender
	q := queued{size: size, headed: int32(headers)}
	b.packets++
	s.countQueued()
	if headers > 0 {
		b.packets++
		s.countQueued()
	}
	if !request {
		b.answers++
	}
	enough := worthWrite(s.pending.packets, s.pending.Len(), c.st.calls.n)
	switch {
	case s.lingers != 0 && enough:
		s.lingers = 0
		q.flush, q.now = true, true
	case s.writing || s.hold && s.pending.Len() < maxHeld:
	case c.opts.Grace > 0 && s.pending.Len() < gatherFrom:
		q.grace = c.armGrace()
	case request && b == s.pending && !enough && c.leftToReceiver():
	default:
		s.writing = true
		q.flush, q.now = true, request && enough
	}
	return q
}

// sent does for a packet just queued what may not be done under the lock.
func (c *Conn) sent(h *packet.Header, q queued) {
	if q.size == 0 {
		return
	}
	if q.headed > 0 {
		before := headersBefore(h, int(q.headed))
		c.countSent(&before, before.Len()+int(q.headed))
	}
	c.countSent(h, q.size)
	if q.grace {
		c.watch.tick(tick.Grace)
	}
}

// countSent counts a packet and tells those who look on. It is called without the lock.
func (c *Conn) countSent(h *packet.Header, size int) {
	c.counters.PacketsOut.Add(1)
	c.counters.BytesOut.Add(uint64(size))
	if c.watch != nil {
		c.watch.sent(h, size)
	}
}
