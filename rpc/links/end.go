package links

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Servicer serves the operations that come from the peer.
type Servicer interface {
	// Service is called once an operation, on a goroutine that does nothing else meanwhile. ctx ends with the operation. The method is refused by a
	// *NoSuchMethodError; any other error ends the operation as a local failure. After nil the operation goes on until it is completed.
	Service(ctx context.Context, op *Operation) error
}

// ServicerFunc is a function that is a Servicer.
type ServicerFunc func(ctx context.Context, op *Operation) error

// Service calls f.
func (f ServicerFunc) Service(ctx context.Context, op *Operation) error { return f(ctx, op) }

// EndOptions are the settings of an [End]. The zero value is ready.
type EndOptions struct {
	// DefaultTimeout is for operations of the peer that state none; 0 is no limit.
	DefaultTimeout time.Duration
	// MaxTimeout bounds what the peer may change a timeout to; 0 is no limit. What an operation asks for at its start stands.
	MaxTimeout time.Duration
	// AutoGrant keeps this many payloads open for the peer: taking a payload gives the credit back, in lumps of half of it. 0 leaves all
	// grants to the application, which has one free payload a direction.
	AutoGrant uint32
	// ServiceEnds lets the service's completion end the operation on both sides, whether or not the invoker has completed. Without it an
	// operation is over at the service when both have.
	ServiceEnds bool
	// MaxPayload is the largest payload taken, in bytes; 0 leaves it to the link, and a negative value is no bound but the hard one.
	MaxPayload int
	// SendBuffer is how many bytes of one operation may be under way before Send waits; 0 is DefaultSendBuffer.
	SendBuffer int
	// Run runs a servicer's call; nil gives each a goroutine, or that of a connection's reader while another one reads. What it runs may
	// wait for the peer, so it must not be the caller's goroutine unless the servicer never waits.
	Run func(func())
}

// Stats counts the operations of an [End].
type Stats struct {
	// Running is the number of operations that have not ended.
	Running int
	// Outcomes counts those that have, by kind.
	Outcomes map[OutcomeKind]int
}

// End begins operations and serves those of the peer; it is a [Link], joined to the link it works over. Its methods may be called
// concurrently.
type End struct {
	servicer Servicer
	opts     EndOptions
	near     mate
	conn     atomic.Pointer[Conn] // the link, or what is below it, if that is a connection
	serving  sync.WaitGroup       // the goroutines of servicers; Stop waits for them

	// mu guards what follows. An operation's lock is never taken under it, and nothing is called under it.
	mu         sync.Mutex
	started    bool
	stopping   bool
	nextID     OperationID
	operations map[OperationID]*Operation
	seen       idSet
	early      earlyTickets
	outcomes   [RemotelyFailed + 1]int
	idle       []func()
	stopped    chan struct{}
	graceTimer *time.Timer
}

// NewEnd makes an end. A nil servicer serves nothing: what the peer begins is refused.
func NewEnd(servicer Servicer, opts *EndOptions) *End {
	e := &End{servicer: servicer, operations: make(map[OperationID]*Operation), seen: newIDSet()}
	if opts != nil {
		e.opts = *opts
	}
	if e.opts.SendBuffer <= 0 {
		e.opts.SendBuffer = DefaultSendBuffer
	}
	return e
}

// Join sets the link that the end works over.
func (e *End) Join(link Link) {
	e.near.set(link)
	e.conn.Store(connBelow(link))
}

// MaxPayload tells the link what size to take; see EndOptions.
func (e *End) MaxPayload() int { return e.opts.MaxPayload }

// Start lets operations begin. A second Start is ErrStarted.
func (e *End) Start() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.started {
		return ErrStarted
	}
	e.started = true
	return nil
}

// Stop refuses new operations at once, gives those that run until grace is over, then ends them with LocalShutdown. The channel is closed
// when all have ended and their servicers have returned. A second Stop may shorten the grace.
func (e *End) Stop(grace time.Duration) <-chan struct{} {
	e.mu.Lock()
	first := !e.stopping
	e.stopping = true
	if first {
		e.stopped = make(chan struct{})
	}
	if e.graceTimer != nil {
		e.graceTimer.Stop()
	}
	if grace > 0 && len(e.operations) > 0 {
		e.graceTimer = time.AfterFunc(grace, e.shutDown)
	}
	e.mu.Unlock()
	if grace <= 0 {
		e.shutDown()
	}
	if first {
		// The goroutine ends with the last operation and servicer; whoever reads the channel waits for it.
		go func() {
			idle := make(chan struct{})
			e.OnIdle(func() { close(idle) })
			<-idle
			e.serving.Wait()
			e.mu.Lock()
			if e.graceTimer != nil {
				e.graceTimer.Stop()
			}
			e.mu.Unlock()
			close(e.stopped)
		}()
	}
	return e.stopped
}

func (e *End) shutDown() {
	for _, op := range e.running() {
		op.end(Outcome{Kind: LocalShutdown})
	}
}

func (e *End) running() []*Operation {
	e.mu.Lock()
	defer e.mu.Unlock()
	operations := make([]*Operation, 0, len(e.operations))
	for _, op := range e.operations {
		operations = append(operations, op)
	}
	return operations
}

// Stats returns the counts so far.
func (e *End) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	stats := Stats{Running: len(e.operations), Outcomes: make(map[OutcomeKind]int)}
	for kind, n := range e.outcomes {
		if n > 0 {
			stats.Outcomes[OutcomeKind(kind)] = n
		}
	}
	return stats
}

// OnIdle calls f once, on no particular goroutine, as soon as no operation runs; that may be before OnIdle returns.
func (e *End) OnIdle(f func()) {
	e.mu.Lock()
	if len(e.operations) > 0 {
		e.idle = append(e.idle, f)
		e.mu.Unlock()
		return
	}
	e.mu.Unlock()
	f()
}

// Opening is what an operation starts with. One ticket carries it all.
type Opening struct {
	Group, Method string
	// Timeout is how long the operation may take; 0 is what is left of the context's time, or no limit where it has none.
	Timeout time.Duration
	Initial Metadata
	Payload *Payload
	// Completion says that nothing more will be sent.
	Completion *Closing
	// Allowance grants the service payloads beyond its first.
	Allowance uint32
	Protocol  *Protocol
	// MaxPayload is the largest payload taken in answer, in bytes; 0 is the end's.
	MaxPayload int
}

// Operate begins an operation. It does not block. When ctx ends, the operation is cancelled, or expires if its time is over; a context
// that has ended already is answered with its error.
func (e *End) Operate(ctx context.Context, b Opening) (*Operation, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	op := &Operation{home: e, group: b.Group, method: b.Method, begun: time.Now(), allowance: 1, localAllowance: 1}
	op.applyOpening(ctx, b)
	if err := e.register(op); err != nil {
		return nil, err
	}
	op.mu.Lock()
	first := op.firstTicket(b)
	op.emit(first)
	op.startClock(b.Timeout)
	if ctx.Done() != nil {
		op.stopContext = context.AfterFunc(ctx, func() { op.contextEnded(ctx) })
	}
	op.release()
	return op, nil
}

func (e *End) register(op *Operation) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.stopping:
		return ErrStopped
	case !e.started:
		return ErrNotStarted
	}
	op.id = e.nextID
	e.nextID += 2
	e.operations[op.id] = op
	return nil
}

// Accept takes a ticket from the link.
func (e *End) Accept(t *Ticket) { e.acceptBriefly(t) }

// acceptBriefly is Accept that says whether the ticket was kept, as one is that waits for an earlier one.
func (e *End) acceptBriefly(t *Ticket) (kept bool) {
	e.mu.Lock()
	op := e.operations[t.ID]
	if op != nil {
		e.mu.Unlock()
		return op.accept(t)
	}
	a := e.admit(t)
	e.mu.Unlock()
	if a.op == nil {
		for _, dropped := range a.early {
			dropped.Payload.Free()
		}
		if !a.kept {
			t.Payload.Free()
		}
		if a.refusal != nil {
			e.near.get().Accept(a.refusal)
		}
		return a.kept
	}
	a.op.beginService(t)
	for _, later := range a.early {
		a.op.accept(later)
	}
	e.serve(a.op)
	return false
}

// admission is what becomes of a ticket of an operation that does not run, and of those of the same operation that came before it.
type admission struct {
	op      *Operation // that it begins
	early   []*Ticket
	kept    bool // it is early itself
	refusal *Ticket
}

// admit decides about a ticket of an operation that does not run, with mu held. Only number 0 of one never seen begins an operation: any
// other ticket is either early, and waits for number 0, or late, and its operation is over.
func (e *End) admit(t *Ticket) admission {
	serving := e.servicer != nil && e.started && !e.stopping
	switch {
	case !t.ID.fromBeyond() || e.seen.has(t.ID):
		return admission{}
	case t.Termination.Abort():
		e.seen.add(t.ID)
		return admission{early: e.early.take(t.ID)}
	case t.Seq > 0 && serving:
		e.early.hold(t)
		return admission{kept: true}
	case t.Seq > 0:
		return admission{}
	}
	e.seen.add(t.ID)
	early := e.early.take(t.ID)
	if !serving {
		why := "nothing is served at this end"
		if e.stopping {
			why = "this end is stopping"
		}
		return admission{early: early, refusal: &Ticket{ID: t.ID, Termination: Shutdown, Message: &why}}
	}
	op := &Operation{home: e, id: t.ID, service: true, group: t.Group, method: t.Method, begun: time.Now(), allowance: 1, localAllowance: 1}
	e.operations[t.ID] = op
	e.serving.Add(1)
	return admission{op: op, early: early}
}

// serve runs the servicer, which is counted in serving.
func (e *End) serve(op *Operation) {
	conn := e.conn.Load()
	switch {
	case e.opts.Run != nil:
		e.opts.Run(op.runService)
	case conn == nil || !conn.runLater(op.runService):
		go op.runService()
	}
}

func (op *Operation) runService() {
	defer op.home.serving.Done()
	err := op.home.servicer.Service(op.Context(), op)
	if err == nil {
		return
	}
	var missing *NoSuchMethodError
	if errors.As(err, &missing) {
		op.end(Outcome{Kind: RemotelyFailed, Code: &missing.Code, Message: &missing.Message})
		return
	}
	op.Fail(err)
}

// forget takes an operation that has ended off the books.
func (e *End) forget(op *Operation, kind OutcomeKind) {
	e.mu.Lock()
	delete(e.operations, op.id)
	e.outcomes[kind]++
	var idle []func()
	if len(e.operations) == 0 {
		idle, e.idle = e.idle, nil
	}
	e.mu.Unlock()
	for _, f := range idle {
		f()
	}
}
