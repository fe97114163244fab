package links

import "io"

// firstTicket is number 0 of the invocation side, with everything known by then.
func (op *Operation) firstTicket(o Opening) *Ticket {
	t := &Ticket{Group: o.Group, Method: o.Method, Subscription: SubscriptionFull, Timeout: op.timeout, Initial: o.Initial, Protocol: o.Protocol,
		Allowance: o.Allowance, maxPayload: op.maxPayload}
	op.sentInitial = o.Initial != nil
	op.localAllowance += uint64(o.Allowance)
	if n := op.home.opts.AutoGrant; n > 1 {
		t.Allowance = addCredit(t.Allowance, n-1)
	}
	if o.Payload != nil {
		op.adopt(o.Payload)
		op.allowance--
		t.Payload = o.Payload
	}
	if o.Completion != nil {
		op.completed = true
		t.close(o.Completion)
	}
	return t
}

func (t *Ticket) close(c *Closing) {
	t.Terminal, t.Code, t.Message, t.Termination = c.Terminal, c.Code, c.Message, Completion
}

// adopt counts a payload as under way until it is freed.
func (op *Operation) adopt(p *Payload) {
	op.sentPayload = true
	op.queued += p.size + payloadCost
	p.owner = op
}

// payloadFreed is called by the payload when it has been written, or dropped.
func (op *Operation) payloadFreed(size int) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.queued -= size + payloadCost
	if op.queued < op.home.opts.SendBuffer {
		wake(op.writable)
	}
}

// advance checks a step of the application against the rules and sends what may go.
func (op *Operation) advance(a Advance) error {
	if err := op.check(a); err != nil {
		op.discard(a.Payload)
		return err
	}
	t := op.newTicket()
	t.Initial = a.Initial
	if a.Initial != nil {
		op.sentInitial = true
	}
	if a.Payload != nil {
		op.adopt(a.Payload)
		if len(op.backlog) == 0 && op.allowance > 0 {
			op.allowance--
			t.Payload = a.Payload
		} else {
			op.backlog = append(op.backlog, a.Payload)
		}
	}
	if a.Completion != nil {
		op.completed = true
		if len(op.backlog) == 0 {
			t.close(a.Completion)
		} else {
			op.closing = a.Completion
		}
	}
	if a.Allowance > 0 {
		op.localAllowance += uint64(a.Allowance)
		if !op.remoteComplete {
			t.Allowance = a.Allowance
		}
	}
	if !t.onlyGrants() || t.Allowance > 0 {
		op.emit(t)
	} else {
		op.spare = t
	}
	op.completionSent()
	return nil
}

func (op *Operation) check(a Advance) error {
	switch {
	case op.ended:
		return op.endError()
	case a.Initial != nil && op.sentInitial:
		return op.breach("initial metadata a second time")
	case a.Initial != nil && (op.sentPayload || op.completed):
		return op.breach("initial metadata after a payload or the completion")
	case a.Payload != nil && op.completed:
		return op.breach("a payload after the completion")
	case a.Completion != nil && op.completed:
		return op.breach("a second completion")
	case a.Payload != nil && op.deaf():
		return io.EOF // nobody would read it: the service has completed
	}
	return nil
}

// completionSent ends a service's operation if nothing more is to come.
func (op *Operation) completionSent() {
	if op.service && op.completed && op.closing == nil && !op.ended && (op.handed || op.home.opts.ServiceEnds) {
		op.finish(op.completedOutcome(), false)
	}
}

// allow adds credit and lets payloads go that waited for it, one ticket each. Like the original, it states the subscription again in each
// ticket but the first of such a run.
func (op *Operation) allow(n uint32) {
	op.allowance += uint64(n)
	for i := 0; op.allowance > 0 && len(op.backlog) > 0; i++ {
		t := &Ticket{Payload: op.backlog[0]}
		op.allowance--
		op.backlog[0] = nil
		op.backlog = op.backlog[1:]
		if i > 0 {
			t.Subscription = SubscriptionFull
		}
		if len(op.backlog) == 0 && op.closing != nil {
			t.close(op.closing)
			op.closing = nil
		}
		op.emit(t)
	}
	op.completionSent()
}

// newTicket returns an empty ticket.
func (op *Operation) newTicket() *Ticket {
	t := op.spare
	if op.spare = nil; t == nil {
		t = new(Ticket)
	}
	return t
}

// emit numbers a ticket and puts it in the outbox, from where release hands it to the link. Credit that is due rides along.
func (op *Operation) emit(t *Ticket) {
	t.ID, t.Seq = op.id, op.sendSeq
	op.sendSeq++
	if n := op.home.opts.AutoGrant; n > 0 && !op.remoteComplete && !t.Termination.Abort() && (op.taken >= (n+1)/4 || t.onlyGrants()) {
		t.Allowance = addCredit(t.Allowance, op.taken)
		op.taken = 0
	}
	if op.outbox == nil {
		op.outbox = op.outboxStart[:0]
	}
	op.outbox = append(op.outbox, t)
}
