package links

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"
)

// Advance is a step of an operation, as the application gives it or is handed it. Absent parts are nil or 0.
type Advance struct {
	Initial    Metadata
	Payload    *Payload
	Completion *Closing
	// Allowance is how many more payloads may be sent.
	Allowance uint32
}

func (a *Advance) empty() bool {
	return a.Initial == nil && a.Payload == nil && a.Completion == nil && a.Allowance == 0
}

// Closing is what a side says when it has sent everything.
type Closing struct {
	Terminal Metadata
	Code     *uint32
	Message  *string
}

// Operation is one operation of an [End], at the invocation or at the service side. Its methods may be called concurrently.
//
// Rules for the application: initial metadata at most once and before the first payload and the completion; nothing but grants after the
// completion. A breach ends the operation as a local failure and is answered with an error that is [ErrMisuse].
type Operation struct {
	home          *End
	id            OperationID
	service       bool
	group, method string
	begun         time.Time
	maxPayload    int
	stopContext   func() bool

	// mu guards all below. Neither a link nor the application is called under it: release does that after every change.
	mu       sync.Mutex
	protocol *Protocol

	// Reception: tickets in their order.
	recvSeq        uint64
	held           map[uint64]*Ticket
	remoteComplete bool
	remoteInitial  bool
	remotePayload  bool
	remoteClosing  Closing

	// What waits for the application.
	inbox          []Advance
	inboxStart     [1]Advance
	grants         uint32
	localAllowance uint64
	taken          uint32
	handed         bool // the peer's completion was handed over
	attend         func(Advance) error
	attending      bool
	received       chan struct{}
	fetching       bool // a receiver reads for itself
	poked          bool // it was told of the end

	// Transmission.
	sendSeq     uint64
	sentInitial bool
	sentPayload bool
	completed   bool
	closing     *Closing // waits for the backlog
	allowance   uint64
	backlog     []*Payload
	queued      int // cost of the payloads that are not freed
	outbox      []*Ticket
	outboxStart [2]*Ticket
	spare       *Ticket // one that the link has not kept
	relaying    bool
	writable    chan struct{}

	// Time and end.
	timeout  time.Duration
	deadline time.Time
	timer    *time.Timer
	outcome  Outcome
	ended    bool
	settled  bool
	done     chan struct{}
	onEnd    []*endAction
	garbage  []*Payload
}

// Group returns the first part of the name of what is called.
func (op *Operation) Group() string { return op.group }

// Method returns the second part of the name of what is called.
func (op *Operation) Method() string { return op.method }

// Protocol returns what the link next to the operation said with the peer's first ticket, nil if nothing.
func (op *Operation) Protocol() *Protocol {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.protocol
}

// Deadline returns when the operation expires, and whether it does.
func (op *Operation) Deadline() (time.Time, bool) {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.deadline, !op.deadline.IsZero()
}

// Done returns a channel that is closed when the operation has ended.
func (op *Operation) Done() <-chan struct{} {
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.done == nil {
		op.done = make(chan struct{})
		if op.ended {
			close(op.done)
		}
	}
	return op.done
}

// Outcome returns how the operation ended, and whether it has.
func (op *Operation) Outcome() (Outcome, bool) {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.outcome, op.ended
}

// OnEnd has f called once with the outcome. An error it returns makes the end count the operation as a local failure. It must not block.
// An operation that has ended calls f at once, and its error is ignored.
func (op *Operation) OnEnd(f func(Outcome) error) { op.addEndAction(&endAction{f}) }

type endAction struct{ run func(Outcome) error }

func (op *Operation) addEndAction(action *endAction) {
	op.mu.Lock()
	if !op.settled {
		op.onEnd = append(op.onEnd, action)
		op.mu.Unlock()
		return
	}
	outcome := op.outcome
	op.mu.Unlock()
	_ = action.run(outcome)
}

// removeEndAction says whether the action will not run any more.
func (op *Operation) removeEndAction(action *endAction) bool {
	op.mu.Lock()
	defer op.mu.Unlock()
	i := slices.Index(op.onEnd, action)
	if i < 0 || op.settled {
		return false
	}
	op.onEnd = slices.Delete(op.onEnd, i, i+1)
	return true
}

// Advance gives several parts of a step at once: what may go at once goes as one ticket. It does not block; payloads beyond the peer's
// allowance wait, and the completion behind them. A payload is taken over even when an error is returned: an *OutcomeError if the operation
// has ended, io.EOF if that was by completion or nobody would read the payload, or ErrMisuse.
func (op *Operation) Advance(a Advance) error {
	op.mu.Lock()
	err := op.advance(a)
	op.release()
	return err
}

// SendInitial sends metadata ahead of the first payload, as Advance does.
func (op *Operation) SendInitial(m Metadata) error {
	if m == nil {
		m = Metadata{}
	}
	return op.Advance(Advance{Initial: m})
}

// Complete says that nothing more will be sent, as Advance does.
func (op *Operation) Complete(c Closing) error { return op.Advance(Advance{Completion: &c}) }

// Grant allows the peer n more payloads, 1 at least, as Advance does.
func (op *Operation) Grant(n uint32) error {
	op.mu.Lock()
	defer op.release()
	if n == 0 && !op.ended {
		return op.breach("an allowance of 0")
	}
	return op.advance(Advance{Allowance: n})
}

// Send sends a copy of data as one payload. It waits while more than the end's SendBuffer of the operation is under way. It returns io.EOF
// if the service has completed, an *OutcomeError if the operation has ended otherwise, and ctx.Err() when ctx ends.
func (op *Operation) Send(ctx context.Context, data []byte) error {
	return op.SendPayload(ctx, NewPayload(append([]byte(nil), data...), nil))
}

// SendPayload is Send for a payload that it takes over: it is freed in any case.
func (op *Operation) SendPayload(ctx context.Context, p *Payload) error {
	return op.AdvanceContext(ctx, Advance{Payload: p})
}

// AdvanceContext is Advance that waits as Send does if there is a payload.
func (op *Operation) AdvanceContext(ctx context.Context, a Advance) error {
	ended := op.endOf(ctx)
	op.mu.Lock()
	for a.Payload != nil && !op.ended && !op.deaf() && op.queued >= op.home.opts.SendBuffer {
		if err := op.wait(ctx, ended, &op.writable); err != nil {
			op.discard(a.Payload)
			op.release()
			return err
		}
	}
	err := op.advance(a)
	if op.ended || op.queued < op.home.opts.SendBuffer {
		wake(op.writable)
	}
	op.release()
	return err
}

// Receive waits for the next step of the peer. After its completion it returns io.EOF; once the operation has ended otherwise it returns an
// *OutcomeError, and ctx.Err() when ctx ends. Whoever takes a payload frees it.
func (op *Operation) Receive(ctx context.Context) (Advance, error) {
	ended := op.endOf(ctx)
	op.mu.Lock()
	for {
		if a, ok := op.next(); ok {
			op.passOn()
			op.release()
			return a, nil
		}
		var err error
		switch {
		case op.handed:
			err = io.EOF
		case op.ended:
			err = &OutcomeError{op.outcome}
		default:
			err = op.await(ctx, ended)
			if err == nil {
				continue
			}
		}
		op.passOn()
		op.release()
		return Advance{}, err
	}
}

// TryReceive is Receive that does not wait: it says whether there was a step.
func (op *Operation) TryReceive() (Advance, bool) {
	op.mu.Lock()
	a, ok := op.next()
	op.release()
	return a, ok
}

// Recv waits for the next payload and returns its bytes, which are the caller's; other parts of the peer's steps are passed over. Errors
// are those of Receive. A payload above the limit ends the operation as a local failure and returns a *PayloadTooLargeError.
func (op *Operation) Recv(ctx context.Context) ([]byte, error) {
	for {
		a, err := op.Receive(ctx)
		if err != nil {
			return nil, err
		}
		if a.Payload == nil {
			continue
		}
		defer a.Payload.Free()
		if a.Payload.TooLarge() {
			err := &PayloadTooLargeError{a.Payload.Size()}
			op.Fail(err)
			return nil, err
		}
		return append([]byte{}, a.Payload.Bytes()...), nil
	}
}

// Completion returns what the peer completed with, nil before that was handed over.
func (op *Operation) Completion() *Closing {
	op.mu.Lock()
	defer op.mu.Unlock()
	if !op.handed {
		return nil
	}
	closing := op.remoteClosing
	return &closing
}

// Attend has f called with every step of the peer, one at a time and in order, instead of Receive. It is called on the goroutine that
// brings the step, so it must not wait for the peer. An error from f ends the operation as a local failure.
func (op *Operation) Attend(f func(Advance) error) {
	op.mu.Lock()
	op.attend = f
	op.release()
}

// SetTimeout asks for another time, counted from the start of the operation. The peer may use less, and says so. It does not
// block. The errors are those of Advance; a time of 0 or less is a breach.
func (op *Operation) SetTimeout(d time.Duration) error {
	op.mu.Lock()
	defer op.release()
	if op.ended {
		return op.endError()
	}
	if d <= 0 {
		return op.breach("a timeout of %v", d)
	}
	if limit := op.home.opts.MaxTimeout; op.service && limit > 0 {
		d = min(d, limit)
	}
	if d != op.timeout {
		op.startClock(d)
		op.emit(&Ticket{Timeout: d})
	}
	return nil
}

// Cancel ends the operation at both sides. What is under way is dropped.
func (op *Operation) Cancel() { op.end(Outcome{Kind: Cancelled}) }

// Fail ends the operation as a failure of this side; the peer learns no more than that.
func (op *Operation) Fail(error) { op.end(Outcome{Kind: LocallyFailed}) }

// end decides the outcome here and tells the peer. It does nothing once the operation has ended.
func (op *Operation) end(outcome Outcome) {
	op.mu.Lock()
	if !op.ended {
		op.finish(outcome, true)
	}
	op.release()
}
