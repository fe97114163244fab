package links

// route is an operation on a connection: its names on both sides, what waits to be written, and the credit of both directions.
// The connection's lock guards it.
type route struct {
	conn   *Conn
	hop    OperationID
	wire   uint64
	mine   bool // begun by our mate
	known  bool // our mate knows it
	closed bool

	// Outbound.
	opened bool // it may be written
	queue  queue[*Ticket]
	head   int  // bytes written of the first payload in the queue
	begun  bool // the first ticket in the queue is written but for pieces of its payload
	outSeq uint64
	sent   bool   // our mate has completed
	credit int64  // bytes we may send
	inTurn bool   // it is in the connection's turn
	round  uint64 // the batch its last frame went into

	// Inbound.
	inSeq      uint64 // of the ticket that is awaited
	hopSeq     uint64
	arrivals   map[uint64]*incoming
	current    *incoming // the awaited ticket, where it has begun
	completed  bool      // the peer has completed
	payloads   uint64    // that the peer may send
	allowance  uint32    // granted by the peer before our mate knew the operation
	window     int64     // bytes the peer may send
	untaken    int64     // bytes handed to our mate and not freed
	prepaid    int64     // of those, bytes that were credited as they came
	owed       int64     // bytes to credit
	maxPayload int
}

// named says whether the peer knows the operation, or will by what is already due.
func (r *route) named() bool { return !r.mine || r.outSeq > 0 }

// abort is the last ticket for our mate.
func (r *route) abort(termination Termination, message string) *Ticket {
	t := &Ticket{ID: r.hop, Seq: r.hopSeq, Termination: termination, Message: &message}
	r.hopSeq++
	return t
}

// drop takes a route off the books. What waits in it is freed by the unlock that follows.
func (c *Conn) drop(r *route) {
	if r.closed {
		return
	}
	r.closed = true
	delete(c.byHop, r.hop)
	for _, t := range r.queue.waiting() {
		if t.Payload != nil {
			c.garbage = append(c.garbage, t.Payload)
		}
	}
	r.queue, r.arrivals, r.current = queue[*Ticket]{}, nil, nil
	switch {
	case !r.mine && r.known:
		c.served--
		c.reading.company.Add(-1)
	case !r.mine:
		c.early--
	case r.opened:
		if r.named() {
			delete(c.byWire, r.wire)
		}
		c.open--
		c.reading.company.Add(-1)
		c.openWaiting()
	}
}

// payloadFreed is called when our mate's application has read a payload, so that the peer may send as much again.
func (r *route) payloadFreed(size int) {
	c := r.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	n := int64(size)
	prepaid := min(n, r.prepaid)
	r.prepaid -= prepaid
	r.untaken -= n
	r.owed += n - prepaid
	r.creditCurrent()
	c.giveCredit(r)
}

// creditCurrent credits the bytes of a payload while it comes in, if the application has taken all before it: else a payload larger than the
// window would never be whole.
func (r *route) creditCurrent() {
	if r.untaken > 0 || r.current == nil || r.current.ticket.Payload == nil {
		return
	}
	n := int64(len(r.current.ticket.Payload.data)) - r.current.granted
	r.current.granted += n
	r.owed += n
}

// giveCredit sends a grant when half of the window is due. The rest rides on tickets.
func (c *Conn) giveCredit(r *route) {
	if r.closed || r.completed || !r.named() || r.owed < int64(c.opts.Window)/2 {
		return
	}
	c.sendGrant(r, 0)
}

// takeOwed is for a frame that goes to the peer anyway.
func (r *route) takeOwed() uint64 {
	if r.completed {
		return 0
	}
	owed := r.owed
	r.owed = 0
	r.window += owed
	return uint64(owed)
}
