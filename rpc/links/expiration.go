package links

import (
	"context"
	"time"
)

// applyOpening settles what the operation begins with. Its time is the context's if nothing else is asked for, and then the context ends it.
func (op *Operation) applyOpening(ctx context.Context, o Opening) {
	op.maxPayload = o.MaxPayload
	op.timeout = o.Timeout
	if deadline, ok := ctx.Deadline(); ok && op.timeout == 0 {
		op.deadline = deadline
		op.timeout = max(deadline.Sub(op.begun), 1)
	}
}

// startClock lets the operation expire after timeout, counted from its start. 0 is no limit.
func (op *Operation) startClock(timeout time.Duration) {
	if timeout <= 0 {
		return
	}
	op.timeout = timeout
	op.deadline = op.begun.Add(timeout)
	left := time.Until(op.deadline)
	if op.timer == nil {
		op.timer = time.AfterFunc(left, op.expire)
	} else {
		op.timer.Reset(left)
	}
}

func (op *Operation) expire() {
	op.mu.Lock()
	// A timer that fired while the time was being changed has been set again.
	if !op.ended && !time.Now().Before(op.deadline) {
		op.finish(Outcome{Kind: Expired}, true)
	}
	op.release()
}

// peerTimeout takes the peer's wish for another time. The service uses no more than its maximum, and says so; the invoker adopts what it is told.
func (op *Operation) peerTimeout(t *Ticket) {
	wanted := t.Timeout
	if limit := op.home.opts.MaxTimeout; op.service && limit > 0 && wanted > limit {
		wanted = limit
	}
	if wanted != op.timeout {
		op.startClock(wanted)
	}
	if wanted != t.Timeout {
		op.emit(&Ticket{Timeout: wanted})
	}
}
