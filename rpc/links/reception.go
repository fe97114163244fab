package links

// accept takes a ticket from the link, and says whether it was kept.
func (op *Operation) accept(t *Ticket) (kept bool) {
	op.mu.Lock()
	kept = op.take(t)
	op.release()
	return kept
}

// beginService takes the ticket that began the operation at the service side.
func (op *Operation) beginService(t *Ticket) {
	op.mu.Lock()
	timeout := t.Timeout
	if timeout == 0 {
		timeout = op.home.opts.DefaultTimeout
	}
	if !op.ended {
		op.startClock(timeout)
		op.take(t)
		if n := op.home.opts.AutoGrant; n > 1 && !op.ended && !op.remoteComplete {
			op.emit(&Ticket{Allowance: n - 1})
		}
	}
	op.release()
}

// take puts a ticket in its place: an abort counts at once, everything else in the order of the numbers. It says whether the ticket waits.
func (op *Operation) take(t *Ticket) (kept bool) {
	_, twice := op.held[t.Seq]
	switch {
	case op.ended:
		op.discard(t.Payload)
	case t.Termination.Abort():
		op.discard(t.Payload)
		op.finish(Outcome{Kind: t.Termination.received(), Code: t.Code, Message: t.Message}, false)
	case t.Seq < op.recvSeq || twice || len(op.held) >= maxHeldTickets:
		op.discard(t.Payload)
		op.finish(Outcome{Kind: ReceptionFailed}, true)
	case t.Seq > op.recvSeq:
		if op.held == nil {
			op.held = make(map[uint64]*Ticket)
		}
		op.held[t.Seq] = t
		return true
	default:
		op.process(t)
		op.processHeld()
	}
	return false
}

func (op *Operation) processHeld() {
	for !op.ended {
		t, ok := op.held[op.recvSeq]
		if !ok {
			return
		}
		delete(op.held, op.recvSeq)
		op.process(t)
	}
}

// process takes the ticket whose turn it is.
func (op *Operation) process(t *Ticket) {
	op.recvSeq++
	late := op.remoteComplete && !t.saysNothing()
	if late || t.Initial != nil && (op.remoteInitial || op.remotePayload) {
		op.discard(t.Payload)
		op.finish(Outcome{Kind: ReceptionFailed}, true)
		return
	}
	if t.Protocol != nil && op.protocol == nil {
		op.protocol = t.Protocol
	}
	if t.Timeout > 0 && (t.Seq > 0 || !op.service) {
		op.peerTimeout(t)
	}
	op.remoteInitial = op.remoteInitial || t.Initial != nil
	op.remotePayload = op.remotePayload || t.Payload != nil
	a := Advance{Initial: t.Initial, Payload: t.Payload}
	if t.Termination == Completion {
		op.remoteComplete = true
		op.remoteClosing = Closing{Terminal: t.Terminal, Code: t.Code, Message: t.Message}
		a.Completion = &op.remoteClosing
	}
	if !a.empty() {
		if op.inbox == nil {
			op.inbox = op.inboxStart[:0]
		}
		op.inbox = append(op.inbox, a)
	}
	if t.Allowance > 0 {
		if !op.completed && op.home.opts.AutoGrant == 0 {
			op.grants = addCredit(op.grants, t.Allowance)
		}
		op.allow(t.Allowance)
	}
	if !op.fetching {
		wake(op.received)
	}
	if op.deaf() {
		wake(op.writable)
	}
}

// addCredit adds without wrapping around: a peer that grants more than can be counted has granted enough.
func addCredit(a, b uint32) uint32 {
	if sum := a + b; sum >= a {
		return sum
	}
	return ^uint32(0)
}

// available says whether next has a step for the application.
func (op *Operation) available() bool {
	if op.ended {
		return false
	}
	if op.grants > 0 {
		return true
	}
	if len(op.inbox) == 0 {
		return false
	}
	a := &op.inbox[0]
	return a.Payload == nil || a.Initial != nil || op.mayHand()
}

// mayHand says whether the application has allowed another payload to itself.
func (op *Operation) mayHand() bool { return op.localAllowance > 0 || op.home.opts.AutoGrant > 0 }

// next takes the step that is due for the application. A payload beyond what the application allowed stays, and what follows it too.
func (op *Operation) next() (Advance, bool) {
	if !op.available() {
		return Advance{}, false
	}
	var a Advance
	if len(op.inbox) > 0 {
		head := &op.inbox[0]
		switch {
		case head.Payload == nil || op.mayHand():
			a = *head
			*head = Advance{}
			op.inbox = op.inbox[1:]
			if len(op.inbox) == 0 {
				op.inbox = nil
			}
		default:
			a.Initial, head.Initial = head.Initial, nil
		}
	}
	a.Allowance, op.grants = op.grants, 0
	if a.Payload != nil {
		op.payloadHanded()
	}
	if a.Completion != nil {
		op.completionHanded()
	}
	return a, true
}

// payloadHanded counts what the application took, and gives credit back in lumps.
func (op *Operation) payloadHanded() {
	n := op.home.opts.AutoGrant
	if n == 0 {
		op.localAllowance--
		return
	}
	op.taken++
	if op.taken >= (n+1)/2 && !op.remoteComplete {
		op.emit(&Ticket{})
	}
}

// completionHanded ends the operation if nothing more is to come: for the invoker that is now, for the service when it has completed too.
func (op *Operation) completionHanded() {
	op.handed = true
	if !op.service || op.completed && op.closing == nil {
		op.finish(op.completedOutcome(), false)
	}
}

func (op *Operation) completedOutcome() Outcome {
	return Outcome{Kind: Completed, Code: op.remoteClosing.Code, Message: op.remoteClosing.Message}
}
