package links

import "encoding/binary"

// appendFrame appends a small frame with its length before it.
func appendFrame(b []byte, build func([]byte) []byte) []byte {
	b, mark := openFrame(b, 0)
	return closeFrame(build(b), mark)
}

// openFrame leaves room for the length of a frame with a piece of so many bytes, which is mostly right.
func openFrame(b []byte, piece int) ([]byte, frameMark) {
	mark := frameMark{start: len(b), room: 1}
	if piece >= 0x80-frameGuess {
		mark.room = 2
	}
	return append(b, 0, 0)[:mark.start+mark.room], mark
}

// frameGuess (bytes) is about what a frame has beside a piece.
const frameGuess = 24

// frameMark is where a frame was begun and how many bytes were left for its length.
type frameMark struct{ start, room int }

// closeFrame sets the length of a frame, and moves the frame where it does not fit.
func closeFrame(b []byte, mark frameMark) []byte {
	begin := mark.start + mark.room
	size := len(b) - begin
	need := uvarintLen(uint64(size))
	if need != mark.room {
		for range need - mark.room {
			b = append(b, 0)
		}
		copy(b[mark.start+need:], b[begin:begin+size])
		b = b[:mark.start+need+size]
	}
	binary.PutUvarint(b[mark.start:], uint64(size))
	return b
}

// Accept takes a ticket from the mate. It never blocks: what cannot go yet waits with its operation.
func (c *Conn) Accept(t *Ticket) { c.acceptBriefly(t) }

// acceptBriefly is Accept that says whether the ticket waits to be written.
func (c *Conn) acceptBriefly(t *Ticket) (kept bool) {
	c.mu.Lock()
	r := c.byHop[t.ID]
	var answer *Ticket
	if r == nil && t.Seq == 0 && !t.ID.fromBeyond() && !t.Termination.Abort() {
		r, answer = c.newOwn(t)
	}
	written := t.Payload
	if r != nil {
		kept, answer = c.post(r, t)
	}
	if kept {
		written = nil
	}
	c.writeNow()
	written.Free()
	if answer != nil {
		c.near.get().Accept(answer)
	}
	return kept
}

// newOwn makes a route for an operation of our mate, or the answer that there can be none.
func (c *Conn) newOwn(t *Ticket) (*route, *Ticket) {
	r := &route{conn: c, hop: t.ID, mine: true, known: true, maxPayload: c.payloadLimit(t.maxPayload)}
	switch {
	case c.err != nil:
		return nil, r.abort(TransmissionFailure, c.err.Error())
	case c.away != nil:
		return nil, r.abort(Shutdown, "the peer takes no more operations: "+*c.away)
	}
	r.payloads = 1
	r.window = int64(c.ours.window)
	c.byHop[t.ID] = r
	c.waiting = append(c.waiting, r)
	return r, nil
}

// payloadLimit says how large a payload may be for which an end states limit.
func (c *Conn) payloadLimit(limit int) int {
	switch {
	case limit < 0:
		return hardMaxPayload
	case limit > 0:
		return min(limit, hardMaxPayload)
	}
	if limiter, ok := c.near.get().(payloadLimiter); ok {
		if limit := limiter.MaxPayload(); limit != 0 {
			return c.payloadLimit(limit)
		}
	}
	return c.opts.MaxPayload
}

// payloadLimiter is a mate that says how large a payload it takes.
type payloadLimiter interface{ MaxPayload() int }

// openWaiting lets our mate's operations begin, in their order, as far as the peer takes more at once.
func (c *Conn) openWaiting() {
	for len(c.waiting) > 0 && c.greeted {
		r := c.waiting[0]
		if !r.closed {
			if c.theirs.operations > 0 && uint64(c.open) >= c.theirs.operations {
				return
			}
			c.openRoute(r)
			c.open++
			c.reading.company.Add(1)
			c.schedule(r)
		}
		c.waiting[0] = nil
		c.waiting = c.waiting[1:]
	}
}

func (c *Conn) openRoute(r *route) {
	r.opened = true
	r.credit = int64(c.theirs.window)
}

// schedule puts a route that has something to write in turn.
func (c *Conn) schedule(r *route) {
	if !r.inTurn && !r.closed && r.opened && r.mayWrite() {
		r.inTurn = true
		c.turn.push(r)
		c.work.Signal()
	}
}

// mayWrite says whether the first in the queue may go, or go on.
func (r *route) mayWrite() bool {
	if r.queue.len() == 0 {
		return false
	}
	p := r.queue.first().Payload
	return p == nil || p.size == 0 || r.credit > 0
}

// post takes a ticket for a route. It says whether the ticket waits to be written, and returns an answer if it cannot be sent.
func (c *Conn) post(r *route, t *Ticket) (kept bool, answer *Ticket) {
	if t.Termination.Abort() {
		c.sendAbort(r, t)
		return false, nil
	}
	if r.sent && !t.saysNothing() {
		return false, nil
	}
	r.payloads += uint64(t.Allowance)
	if !r.opened && r.queue.len() == 0 {
		c.openWaiting()
	}
	r.sent = r.sent || t.Termination == Completion
	switch {
	case r.named() && t.onlyGrants():
		c.sendGrant(r, t.Allowance)
		return false, nil
	case describedLen(t) > c.describedLimit():
		return false, c.refuseOwn(r, metadataTooLarge)
	case !r.opened || r.queue.len() > 0 || t.Payload != nil && !c.fits(r, t.Payload):
		r.queue.push(t)
		c.schedule(r)
		return true, nil
	}
	c.out = c.writeTicket(c.out, r, t, pieceOf(t, 0, pieceSize))
	c.writtenOut(r, t)
	return false, nil
}

// fits says whether a payload may be written at once, as small traffic.
func (c *Conn) fits(r *route, p *Payload) bool {
	return p.size <= pieceSize && int64(p.size) <= r.credit && len(c.out) < maxBuffered
}

func pieceOf(t *Ticket, from, most int) []byte {
	if t.Payload == nil {
		return nil
	}
	return t.Payload.data[from:min(from+most, t.Payload.size)]
}

// describedLimit is what a ticket may hold beside its payload; before HELLO it is the hard limit.
func (c *Conn) describedLimit() int {
	if !c.greeted {
		return hardMaxMetadata
	}
	return int(min(c.theirs.metadata, c.theirs.frame-frameOverhead))
}

const metadataTooLarge = "metadata larger than the peer takes"

// refuseOwn ends an operation for both sides because of what our mate wanted to send.
func (c *Conn) refuseOwn(r *route, why string) *Ticket {
	answer := r.abort(ReceptionFailure, why)
	c.sendAbort(r, &Ticket{Termination: ReceptionFailure, Message: &why})
	return answer
}

// writeTicket encodes the frame of a ticket with the piece.
func (c *Conn) writeTicket(b []byte, r *route, t *Ticket, piece []byte) []byte {
	r.round = c.round
	r.credit -= int64(len(piece))
	seq := r.outSeq
	r.outSeq++
	if seq == 0 && r.mine {
		// Names rise in the order of the wire, so they are given out as the first ticket is written.
		r.wire = c.nextWire
		c.nextWire += 2
		c.byWire[r.wire] = r
	}
	b, mark := openFrame(b, len(piece))
	b = appendTicket(b, r.wire, seq, seq == 0 && r.mine, r.takeOwed(), t, piece)
	return closeFrame(b, mark)
}

// writtenOut follows the last byte of a ticket: the service's completion ends the operation for both sides.
func (c *Conn) writtenOut(r *route, t *Ticket) {
	if t.Termination == Completion && !r.mine {
		c.drop(r)
	}
}

// ahead is the buffer for what may overtake: but a frame must not overtake another of its operation that waits for the same write, since
// the end of an operation before its beginning would leave it open.
func (c *Conn) ahead(r *route) *[]byte {
	if r.round == c.round && len(c.out) > 0 {
		return &c.out
	}
	return &c.urgent
}

func (c *Conn) sendGrant(r *route, allowance uint32) {
	b := c.ahead(r)
	opened, mark := openFrame(*b, 0)
	*b = closeFrame(appendGrant(opened, r.wire, allowance, r.takeOwed()), mark)
	c.work.Signal()
}

// sendAbort drops what waits and tells the peer, if it was ever told of the operation.
func (c *Conn) sendAbort(r *route, t *Ticket) {
	if r.named() {
		abort := *t
		abort.Payload, abort.Allowance = nil, 0
		if describedLen(&abort) > c.describedLimit() {
			abort.Message, abort.Initial, abort.Terminal, abort.Protocol = nil, nil, nil, nil
		}
		b := c.ahead(r)
		*b = c.writeTicket(*b, r, &abort, nil)
		c.work.Signal()
	}
	c.drop(r)
}
