package links

import (
	"context"
	"errors"
	"io"
)

// endOf is the end of a context that a call on the operation is given, nil if the operation's own end is all there is to wait for. It is asked
// before the lock is taken, which the operation's context needs.
func (op *Operation) endOf(ctx context.Context) <-chan struct{} {
	if ctx == op.Context() {
		return nil
	}
	return ctx.Done()
}

// wait gives the lock away until the signal comes or ctx ends, and has it again when it returns.
func (op *Operation) wait(ctx context.Context, ended <-chan struct{}, signal *chan struct{}) error {
	if *signal == nil {
		*signal = make(chan struct{}, 1)
	}
	signalled := *signal
	op.release()
	if conn := op.home.conn.Load(); conn != nil {
		conn.park()
		defer conn.unpark()
	}
	defer op.mu.Lock()
	if ended == nil {
		<-signalled
		return nil
	}
	select {
	case <-signalled:
		return nil
	case <-ended:
		return ctx.Err()
	}
}

// await waits for the peer's next step: by reading for it, or for who reads. It gives the lock away, and has it again when it returns.
func (op *Operation) await(ctx context.Context, ended <-chan struct{}) error {
	conn := op.home.conn.Load()
	if conn == nil || op.fetching || ended != nil || !conn.reading.alone() {
		return op.wait(ctx, ended, &op.received)
	}
	if op.received == nil {
		op.received = make(chan struct{}, 1)
	}
	received := op.received
	select {
	case <-received: // of a step that was taken since
	default:
	}
	op.fetching, op.poked = true, false
	op.release()
	read := conn.readFor(func() bool {
		op.mu.Lock()
		defer op.mu.Unlock()
		return op.ended || op.available()
	}, received)
	op.mu.Lock()
	op.fetching = false
	if read || op.ended || op.available() {
		return nil
	}
	return op.wait(ctx, ended, &op.received)
}

// wake lets one waiter look again; it passes the signal on if another may go on too.
func wake(signal chan struct{}) {
	if signal == nil {
		return
	}
	select {
	case signal <- struct{}{}:
	default:
	}
}

// passOn wakes the next receiver if there is something for it.
func (op *Operation) passOn() {
	if op.received != nil && (op.ended || op.available()) {
		wake(op.received)
	}
}

// deaf says that the peer takes no more: the service's completion ends the operation for its invoker.
func (op *Operation) deaf() bool { return op.remoteComplete && !op.service }

func (op *Operation) endError() error {
	if op.outcome.Kind == Completed {
		return io.EOF
	}
	return &OutcomeError{op.outcome}
}

// breach ends the operation because the application broke a rule.
func (op *Operation) breach(format string, args ...any) error {
	op.finish(Outcome{Kind: LocallyFailed}, true)
	return misuse(format, args...)
}

// finish decides the outcome: once, with mu held.
func (op *Operation) finish(outcome Outcome, tell bool) {
	op.ended, op.outcome = true, outcome
	for _, a := range op.inbox {
		op.discard(a.Payload)
	}
	for _, t := range op.held {
		op.discard(t.Payload)
	}
	op.garbage = append(op.garbage, op.backlog...)
	op.inbox, op.held, op.backlog, op.closing = nil, nil, nil, nil
	if tell {
		if termination := outcome.Kind.sent(); termination != 0 {
			op.emit(&Ticket{Termination: termination, Code: outcome.Code, Message: outcome.Message})
		}
	}
	if op.timer != nil {
		op.timer.Stop()
	}
	if op.done != nil {
		close(op.done)
	}
	wake(op.received)
	wake(op.writable)
}

func (op *Operation) discard(p *Payload) {
	if p != nil {
		op.garbage = append(op.garbage, p)
	}
}

// settle counts the outcome and tells those who asked, without the lock. An error of theirs makes it a local failure in the count.
func (op *Operation) settle(outcome Outcome, onEnd []*endAction) {
	if op.stopContext != nil {
		op.stopContext()
	}
	kind := outcome.Kind
	for _, action := range onEnd {
		if action.run(outcome) != nil {
			kind = LocallyFailed
		}
	}
	op.home.forget(op, kind)
}

// release does what must not be done under the lock, in order, and unlocks: it hands tickets to the link, steps to the application, frees
// what was dropped, and settles the end. One goroutine at a time hands on, so that the order stays; others leave theirs to it.
func (op *Operation) release() {
	for {
		switch {
		case !op.relaying && len(op.outbox) > 0:
			op.relay()
		case op.attend != nil && !op.attending && op.available():
			op.attendNext()
		case op.ended && op.fetching && !op.poked:
			op.poked = true
			conn := op.home.conn.Load()
			op.mu.Unlock()
			conn.reading.poke()
			op.mu.Lock()
		case len(op.garbage) > 0:
			garbage := op.garbage
			op.garbage = nil
			op.mu.Unlock()
			freeAll(garbage)
			op.mu.Lock()
		case op.ended && !op.settled && !op.attending:
			op.settled = true
			outcome, onEnd := op.outcome, op.onEnd
			op.mu.Unlock()
			op.settle(outcome, onEnd)
			return
		default:
			op.mu.Unlock()
			return
		}
	}
}

func (op *Operation) relay() {
	op.relaying = true
	link := op.home.near.get()
	for i := 0; i < len(op.outbox); i++ {
		t := op.outbox[i]
		op.outbox[i] = nil
		op.mu.Unlock()
		kept := handOver(link, t)
		op.mu.Lock()
		if !kept {
			*t = Ticket{}
			op.spare = t
		}
	}
	op.outbox = op.outbox[:0]
	op.relaying = false
}

func (op *Operation) attendNext() {
	a, _ := op.next()
	op.attending = true
	attend := op.attend
	op.mu.Unlock()
	err := attend(a)
	op.mu.Lock()
	op.attending = false
	if err != nil && !op.ended {
		op.finish(Outcome{Kind: LocallyFailed}, true)
	}
}

func (op *Operation) contextEnded(ctx context.Context) {
	kind := Cancelled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		kind = Expired
	}
	op.end(Outcome{Kind: kind})
}
