package links

import "fmt"

// take takes one frame and returns what ends the connection.
func (c *Conn) take(b []byte) error {
	if len(b) > int(c.ours.frame) {
		return &ProtocolError{Detail: fmt.Sprintf("frame of %d bytes is larger than allowed", len(b)), Seen: shown(b)}
	}
	f := &c.frame
	*f = frame{}
	if err := c.decode.decode(b, f); err != nil {
		if !c.greeted {
			return notOurs(shown(b))
		}
		return err
	}
	if !c.greeted && f.kind != frameHello {
		return c.beforeHello(b)
	}
	var err error
	switch f.kind {
	case frameHello:
		err = c.takeHello(f)
	case frameTicket, frameMore, frameGrant:
		err = c.takeForRoute(f)
	case framePing:
		err = c.takePing(f)
	case framePong:
		c.takePong(f)
	case frameGoAway:
		c.takeGoAway(f)
	}
	return err
}

// beforeHello keeps a frame that overtook HELLO, which only a carrier without order may deliver.
func (c *Conn) beforeHello(b []byte) error {
	c.beforehandSize += len(b)
	if !c.opts.Unordered || len(c.beforehand) >= maxEarly || c.beforehandSize > maxEarlyBytes {
		return &ProtocolError{Detail: "a frame before HELLO", Seen: shown(b)}
	}
	c.beforehand = append(c.beforehand, append([]byte(nil), b...))
	return nil
}

func (c *Conn) takeHello(f *frame) error {
	if c.greeted {
		return &ProtocolError{Detail: "a second HELLO"}
	}
	if f.side == c.opts.Side {
		return &ProtocolError{Detail: fmt.Sprintf("both ends are side %d", f.side)}
	}
	c.mu.Lock()
	c.greeted = true
	c.theirs = f.hello
	c.openWaiting()
	c.work.Signal()
	c.unlock()
	close(c.hello)
	held := c.beforehand
	c.beforehand = nil
	for _, b := range held {
		if err := c.take(b); err != nil {
			return err
		}
	}
	return nil
}

func (c *Conn) takePing(f *frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.urgent) > maxControl {
		return &ProtocolError{Detail: "the peer asks for answers and does not read them"}
	}
	c.urgent = appendFrame(c.urgent, func(b []byte) []byte { return appendPing(b, framePong, f.token) })
	c.work.Signal()
	return nil
}

func (c *Conn) takePong(f *frame) {
	c.mu.Lock()
	answered := c.pings[f.token]
	delete(c.pings, f.token)
	c.mu.Unlock()
	if answered != nil {
		close(answered)
	}
}

// takeGoAway ends what the peer has not begun to serve.
func (c *Conn) takeGoAway(f *frame) {
	c.mu.Lock()
	reason := f.reason
	c.away = &reason
	var refused []*Ticket
	for _, r := range c.byHop {
		if r.mine && (!r.named() || r.wire > f.id) {
			refused = append(refused, r.abort(Shutdown, "the peer takes no more operations: "+f.reason))
			c.drop(r)
		}
	}
	c.unlock()
	c.tell(refused)
}

// takeForRoute takes a frame of an operation and hands what became whole to the mate.
func (c *Conn) takeForRoute(f *frame) error {
	c.mu.Lock()
	r, err := c.routeOf(f)
	if r != nil {
		c.takeFrame(r, f)
	}
	tooMuch := len(c.urgent) > maxControl
	due := c.due
	c.unlock()
	if kept := c.tell(due); !kept && len(due) == 1 && f.in != nil && due[0] == &f.in.ticket {
		c.decode.giveBack(f.in)
	}
	clear(due)
	c.due = due[:0]
	if tooMuch && err == nil {
		err = &ProtocolError{Detail: "the peer makes us answer and does not read it"}
	}
	return err
}

// routeOf finds the operation of a frame, or makes it. A frame of an operation that is over has none, and that is no fault.
func (c *Conn) routeOf(f *frame) (*route, error) {
	if int(f.id&1) == c.opts.Side {
		r := c.byWire[f.id]
		if r == nil && f.id >= c.nextWire {
			return nil, &ProtocolError{Detail: "a frame of an operation that was never begun"}
		}
		return r, nil
	}
	hop := OperationID(f.id | 1)
	if r := c.byHop[hop]; r != nil {
		return r, nil
	}
	if c.opts.Unordered {
		return c.routeUnordered(f, hop)
	}
	if f.kind != frameTicket || f.seq != 0 {
		return nil, nil
	}
	if f.id < c.highest {
		return nil, &ProtocolError{Detail: "the name of an operation was used before"}
	}
	c.highest = f.id + 1
	return c.newServed(f, hop)
}

// routeUnordered makes a route for whatever frame of an operation comes first.
func (c *Conn) routeUnordered(f *frame, hop OperationID) (*route, error) {
	abort := f.kind == frameTicket && f.in.ticket.Termination.Abort()
	switch {
	case c.seen.has(hop):
		return nil, nil
	case abort:
		c.seen.add(hop)
		return nil, nil
	}
	c.highest = max(c.highest, f.id+1)
	c.seen.add(hop)
	return c.newServed(f, hop)
}

// newServed makes a route for an operation of the peer, which our mate knows once the first ticket is whole. A peer that keeps to our limit is far
// from having more of those than that.
func (c *Conn) newServed(f *frame, hop OperationID) (*route, error) {
	if c.early > c.opts.MaxOperations {
		return nil, &ProtocolError{Detail: "more operations are begun and not whole than may be open"}
	}
	r := &route{conn: c, hop: hop, wire: f.id, payloads: 1, window: int64(c.ours.window), maxPayload: c.payloadLimit(0)}
	c.openRoute(r)
	c.byHop[hop] = r
	c.early++
	return r, nil
}

// takeFrame takes what is counted at once, and the rest in its order.
func (c *Conn) takeFrame(r *route, f *frame) {
	if f.window > 0 {
		r.credit = min(r.credit+int64(f.window), maxWindow)
		c.schedule(r)
	}
	switch {
	case f.kind == frameGrant:
		c.grantTo(r, f.allowance)
	case f.kind == frameTicket && f.in.ticket.Termination.Abort():
		c.takeAbort(r, &f.in.ticket)
	default:
		if fault := c.takePiece(r, f); fault != "" {
			c.refuse(r, ReceptionFailure, fault)
			return
		}
		c.handOn(r)
	}
}

// grantTo hands a grant on at once, whatever is awaited in order: two sides that each wait for the other's credit would wait for ever.
func (c *Conn) grantTo(r *route, allowance uint32) {
	switch {
	case allowance == 0:
	case !r.known:
		r.allowance = addCredit(r.allowance, allowance)
	default:
		c.due = append(c.due, r.number(&Ticket{Allowance: allowance}))
	}
}

// number makes a ticket the next one of the hop to our mate.
func (r *route) number(t *Ticket) *Ticket {
	t.ID, t.Seq = r.hop, r.hopSeq
	r.hopSeq++
	return t
}

// takeAbort ends the operation at once, whatever is still awaited of it.
func (c *Conn) takeAbort(r *route, t *Ticket) {
	if r.known {
		t.Payload, t.Protocol = nil, nil
		c.due = append(c.due, r.number(t))
	}
	c.drop(r)
}

// refuse ends the operation for both sides because of what the peer sent. The connection goes on.
func (c *Conn) refuse(r *route, termination Termination, why string) {
	if r.known {
		c.due = append(c.due, r.abort(termination, why))
	}
	c.sendAbort(r, &Ticket{Termination: termination, Message: &why})
}

// handOn hands the tickets that are whole and whose turn it is to our mate.
func (c *Conn) handOn(r *route) {
	for !r.closed {
		in := r.current
		if in == nil || !in.whole() {
			r.creditCurrent()
			c.giveCredit(r)
			c.grantEarly(r, in)
			return
		}
		r.current = nil
		if r.inSeq == 0 && !r.mine {
			if !c.admit(r, in) {
				return
			}
		}
		r.inSeq++
		r.current = r.arrivals[r.inSeq]
		delete(r.arrivals, r.inSeq)
		c.hand(r, in)
	}
}

// grantEarly hands on the allowance of a ticket that is not whole yet.
func (c *Conn) grantEarly(r *route, in *incoming) {
	if in != nil && in.known && r.known && in.ticket.Allowance > 0 {
		allowance := in.ticket.Allowance
		in.ticket.Allowance = 0
		c.grantTo(r, allowance)
	}
}

// admit lets an operation of the peer begin, or refuses it.
func (c *Conn) admit(r *route, in *incoming) bool {
	why := ""
	switch {
	case c.near.get() == Null:
		why = "nothing is served at this end"
	case c.leaving && r.wire > c.lastTaken:
		why = "this end takes no more operations"
	case c.served >= c.opts.MaxOperations:
		why = "more operations than allowed"
	}
	if why != "" {
		c.refuse(r, Shutdown, why)
		return false
	}
	r.known = true
	c.early--
	c.served++
	c.reading.company.Add(1)
	in.ticket.Allowance = addCredit(in.ticket.Allowance, r.allowance)
	return true
}

// hand gives our mate a whole ticket. The service's completion ends the operation for both sides.
func (c *Conn) hand(r *route, in *incoming) {
	t := &in.ticket
	if p := t.Payload; p != nil && !p.refused {
		r.untaken += int64(p.size)
		r.prepaid += in.granted
	}
	if t.Protocol != nil {
		t.Protocol.Kind = ServicerContext
		if r.mine {
			t.Protocol.Kind = InvocationContext
		}
	}
	c.due = append(c.due, r.number(t))
	if t.Termination == Completion {
		r.completed = true
		if r.mine {
			c.drop(r)
		}
	}
}
