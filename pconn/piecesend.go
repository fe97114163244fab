package pconn

import (
	"bytes"
	"context"
	"slices"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
)

// A large payload goes to a peer that takes pieces as the data of streams does: it waits where it is, and each piece
// is made when it is about to be written, behind whatever else there is. So small packets and streams go in
// between.

// large is a request or response that is sent in pieces. Guarded by Conn.mu.
type large struct {
	turn    turn
	header  packet.Header // of its packet, Size being that of the whole payload
	headers []byte        // the payload of the HEADERS that goes before all of it, or nil
	rest    []byte        // of the payload, what is in no batch
	lent    bool          // the payload is the memory of a caller that waits
	refs    []largeRef    // of a request, what is in batches
	state   largeState
	cancel  []byte // the payload of the CANCEL that goes in place of the rest
}

// largeRef is a part of a large payload that is in a batch.
type largeRef struct {
	sendRef
	size int
}

type largeState uint8

const (
	largeWaits largeState = iota // until the peer has room for it: nothing is in a batch
	largeBegun                   // it takes turns
	largeEnded                   // its packet is in a batch that was not written yet
	largeGone
)

// larges are those that are not gone. Guarded by Conn.mu.
type larges struct {
	waiting    turns
	begun      int // those that the peer has pieces of, or will before it is told anything else
	bytes      int64
	replies    int // those that are responses, also when they wait
	replyBytes int64
	repliers   line // handlers that wait for room to answer with another
}

// fit says whether one more may be under way beside n with so many bytes.
func fit(n int, bytes, size int64) bool {
	return n == 0 || n < maxPartials && bytes+size <= maxOutstandingBytes
}

// begin lets those take turns that the peer has room for, in the order in which they came.
func (s *sender) begin() {
	all := &s.larges
	for t := all.waiting.first(); t != nil && fit(all.begun, all.bytes, t.large.header.Size); t = all.waiting.first() {
		all.waiting.pop()
		t.large.state = largeBegun
		all.begun++
		all.bytes += t.large.header.Size
		s.turns.push(t)
	}
}

// forget ends one, which is neither in the turns nor waits any more.
func (s *sender) forget(l *large) {
	all := &s.larges
	if l.state != largeWaits {
		all.begun--
		all.bytes -= l.header.Size
	}
	if !l.header.Request {
		all.replies--
		all.replyBytes -= l.header.Size
		all.repliers.wakeFirst()
	}
	l.state, l.rest, l.refs = largeGone, nil, nil
	s.begin()
}

// dropUntouched drops a request of which nothing is in a batch yet, and reports whether that was so.
func (s *sender) dropUntouched(l *large) bool {
	if l == nil || int64(len(l.rest)) < l.header.Size {
		return false
	}
	if s.err == nil {
		s.larges.waiting.remove(&l.turn)
		s.turns.remove(&l.turn)
		s.forget(l)
	}
	return true
}

// inPieces says whether a payload of n bytes goes in pieces.
func (c *Conn) inPieces(n int) bool {
	return n > pieceFrom && c.ext.on.Load() && c.ext.peer.Features&frame.FeaturePieces != 0
}

// largeRequest is a request in pieces, whose payload is copied unless the caller waits for all of it.
func largeRequest(h *packet.Header, payload []byte, lent bool) *large {
	if !lent {
		payload = bytes.Clone(payload)
	}
	return &large{header: *h, rest: payload, lent: lent}
}

// appendLarge queues a request or response that goes in pieces. Conn.mu is held.
func (c *Conn) appendLarge(l *large) queued {
	s := &c.st.sender
	if s.eof || s.err != nil {
		l.state, l.rest = largeGone, nil
		return queued{}
	}
	l.turn.large = l
	if !l.header.Request {
		s.larges.replies++
		s.larges.replyBytes += l.header.Size
	}
	s.larges.waiting.push(&l.turn)
	s.begin()
	return queued{flush: c.beginFlush()}
}

// respondLarge is respond for an answer that goes in pieces. It waits for room among those, so that small answers
// need not.
func (c *Conn) respondLarge(in *incoming, h *packet.Header, payload, headers []byte) *incoming {
	l := &large{header: *h, headers: headers, rest: payload}
	s := &c.st.sender
	room := func() bool {
		return s.eof || s.err != nil || fit(s.larges.replies, s.larges.replyBytes, h.Size)
	}
	c.mu.Lock()
	if !s.larges.repliers.empty() || !room() {
		c.mu.Unlock()
		c.takeReceiving(in.run)
		c.mu.Lock()
		if !s.larges.repliers.empty() || !room() {
			// As in respond, it ends with room or when nothing can be sent any more.
			_ = c.waitFor(context.Background(), &s.larges.repliers, room)
		}
	}
	var q queued
	if !in.abandoned {
		q = c.appendLarge(l)
	}
	next := c.finishHandler(in)
	if room() {
		s.larges.repliers.wakeFirst()
	}
	c.mu.Unlock()
	c.flush(h, q)
	return next
}

// addLarge appends the next piece to b, or the packet behind the last, and returns how many bytes of the payload it
// has. Conn.mu is held.
func (c *Conn) addLarge(b *batch, l *large) int {
	s := &c.st.sender
	if l.cancel != nil {
		c.addFrame(b, frame.KindCancel, l.header.Tag, 0, l.cancel)
		c.counters.CancelsOut.Add(1)
		s.forget(l)
		return 0
	}
	buf, packets := b.Begin(), 1
	if len(l.headers) > 0 {
		buf = appendHeaders(buf, &l.header, l.headers)
		before := headersBefore(&l.header, len(l.headers))
		b.note(c, &before)
		l.headers, packets = nil, 2
	}
	n := min(len(l.rest), streamPiece)
	h := frame.Header(frame.KindPiece, l.header.Tag, uint64(l.header.Size)<<1|flagOf(&l.header), n)
	last := n == len(l.rest)
	if last {
		h = l.header
		h.Size = int64(n)
	}
	buf, _ = h.Append(buf)
	ref := b.EndRef(buf, l.rest[:n])
	l.rest = l.rest[n:]
	b.note(c, &h)
	if l.header.Request {
		l.refs = slices.DeleteFunc(l.refs, func(r largeRef) bool { return r.batch.State(r.ref) == bufio.RefGone })
		l.refs = append(l.refs, largeRef{sendRef{b, ref, packets}, n})
		s.given = max(s.given, l.header.Tag)
	}
	if last {
		l.state = largeEnded
		b.larges = append(b.larges, l)
		if !l.header.Request {
			b.replies++
		}
	} else {
		s.turns.push(&l.turn)
	}
	return n
}

// largesLeft is called when the batch that held the packets of some is gone. Conn.mu is held.
func (c *Conn) largesLeft(b *batch) {
	for i, l := range b.larges {
		c.st.sender.forget(l)
		b.larges[i] = nil
	}
	b.larges = b.larges[:0]
}

// giveUpLarge ends the sending of a request that nobody waits for any more, and makes sure that its caller's memory
// is not touched again. As releaseRef it waits for no more than one system call. It reports whether nothing of the
// request has left, or the CANCEL is on its way that takes its packet's place; otherwise the peer has it, or
// will. Conn.mu is held, but not while it waits.
func (c *Conn) giveUpLarge(call *call, cause error) (done bool) {
	if call.large.lent {
		return c.endLarge(call, cause, c.takeOut)
	}
	return c.endLarge(call, cause, c.unlink) // a write that has our own memory may take its time
}

// endLarge is giveUpLarge with what takes a part out of its batch, or leaves it there.
func (c *Conn) endLarge(call *call, cause error, takeOut func(sendRef) bool) (done bool) {
	l, s := call.large, &c.st.sender
	call.large = nil
	if s.dropUntouched(l) {
		return true
	}
	left := l.header.Size - int64(len(l.rest))
	if l.state == largeBegun {
		l.rest = nil
		s.turns.remove(&l.turn)
		c.cancelLarge(l, call, cause)
		done = true
	}
	refs := l.refs // to which nothing is added any more, and which the end of the sending drops meanwhile
	for i := len(refs) - 1; i >= 0; i-- {
		r, last := refs[i], i == len(refs)-1
		if takeOut(r.sendRef) {
			left -= int64(r.size)
			if last && l.state == largeEnded {
				// The packet will not leave, though pieces may have.
				i := slices.Index(r.batch.larges, l)
				r.batch.larges = slices.Delete(r.batch.larges, i, i+1)
				c.cancelLarge(l, call, cause)
				done = true
			}
		}
	}
	l.refs = nil
	if left == 0 && l.turn.queued && s.err == nil {
		// The peer has not heard of it, and need not hear of its end.
		s.turns.remove(&l.turn)
		s.forget(l)
	}
	return done
}

// cancelLarge has a CANCEL leave in the place of what is left. It goes first among those who take turns. Conn.mu is
// held.
func (c *Conn) cancelLarge(l *large, call *call, cause error) {
	if s := &c.st.sender; s.err == nil {
		l.state, l.cancel = largeBegun, cancelPayload(call.channel, cause, false)
		s.turns.pushFront(&l.turn)
	}
}

// abandonReply gives up what has not left of a response in pieces, and reports whether there was one. Conn.mu is
// held.
func (c *Conn) abandonReply(channel, tag uint64) bool {
	s := &c.st.sender
	if s.larges.replies == 0 {
		return false
	}
	for _, r := range []*turns{&s.turns, &s.larges.waiting} {
		for t := r.first(); t != nil; t = t.next {
			if l := t.large; l != nil && !l.header.Request && l.header.Tag == tag && l.header.Channel == channel {
				r.remove(t)
				s.forget(l)
				return true
			}
		}
	}
	return false
}
