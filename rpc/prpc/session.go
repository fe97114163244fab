package prpc

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/packetstream/packetstream/internal/inline"
)

// session is a connection over one carrier: it ends with the carrier, while a Conn that
// reconnects goes on with another. Its goroutines are the receiver, the sender
// and, at the end, the one that tears it down; stopped is closed after the last of them.
// Methods run on the receiver's goroutine if they return at once, else on goroutines of their own, which Conn.Wait
// waits for.
type session struct {
	conn    *Conn
	carrier Carrier
	limits  *Limits
	queue   *sendQueue
	peer    handshakeData

	// ctx is the parent of all contexts of methods; it ends with the session.
	ctx    context.Context
	cancel context.CancelCauseFunc

	workers  sync.WaitGroup // receiver and sender
	sent     chan struct{}  // closed when the sender has ended
	ended    chan struct{}  // closed when the end begins
	stopped  chan struct{}  // closed when everything but methods is over
	buffered atomic.Int64   // bytes that all streams hold unread

	running atomic.Int32 // calls that run, in either direction

	work chan *Request // to a goroutine that waits for a method to run
	idle atomic.Int32  // how many wait

	// What the receiver needs. It may go on on another goroutine while a method runs on its own.
	inline *inline.Runner
	kinds  inline.Kinds // methods, by name
	more   buffering    // nil if the carrier cannot tell
	lender lender       // nil if the carrier is none
	spare  *Request     // memory for the next call, or nil
	spoken bool         // the peer, after the handshake
	last   lastMethod   // that the peer called

	// heard is closed by the receiver at the first message after the handshake,
	// and until is when our own calls no longer wait for it.
	heard chan struct{}
	until time.Time

	// mu guards what follows. It may be taken before the lock of a call or a stream, never
	// after one.
	mu       sync.Mutex
	outgoing numbered[Call]
	incoming requests
	lastID   uint64
	watch    *contextWatch   // over the context that calls have in common, or nil
	lastDone <-chan struct{} // of the context of the last unary call
	err      error           // set once, when the end begins
}

func newSession(c *Conn, carrier Carrier) *session {
	s := &session{
		conn: c, carrier: carrier, limits: &c.options.Limits, queue: newSendQueue(c.options.Limits.SendBytes, carrier),
		sent: make(chan struct{}), ended: make(chan struct{}), stopped: make(chan struct{}), heard: make(chan struct{}), work: make(chan *Request),
		incoming: requests{others: map[string]*Request{}},
	}
	s.ctx, s.cancel = context.WithCancelCause(c.ctx)
	s.more, _ = carrier.(buffering)
	s.lender, _ = carrier.(lender)
	s.inline = inline.New(func() { go s.receive() }, s.more != nil && s.more.polled())
	return s
}

// send is the sender: it writes whatever is queued in one go.
func (s *session) send() {
	defer s.workers.Done()
	defer close(s.sent)
	var spare []*buffer
	var messages [][]byte
	for {
		batch, ok := s.queue.take(spare)
		if !ok {
			return
		}
		messages = messages[:0]
		for _, m := range batch {
			messages = append(messages, m.b)
		}
		err := s.carrier.Send(messages)
		s.queue.written(batch, false)
		spare = batch[:0]
		if err != nil {
			s.awaitVerdict()
			s.end(err)
			s.queue.abort(s.failure())
		}
	}
}

// awaitVerdict gives the receiver time to find out why the carrier cannot be
// written: it may have a close code to read.
func (s *session) awaitVerdict() {
	timer := time.NewTimer(verdictTimeout)
	defer timer.Stop()
	select {
	case <-s.ended:
	case <-timer.C:
	}
}

// put queues a message within a context, and fails if the message is one no peer takes.
func (s *session) put(ctx context.Context, m *buffer) error {
	if len(m.b) > s.limits.MessageBytes {
		m.free()
		return ErrTooLarge
	}
	if s.running.Load() <= 1 {
		return s.queue.putAlone(ctx, m)
	}
	return s.queue.put(ctx, m)
}

// putNow queues what must not wait.
func (s *session) putNow(m *buffer) {
	if !s.queue.putNow(m) {
		s.end(ErrSendOverflow)
	}
}

// end ends the session, once: cause is nil for our own Close, else what went
// wrong. Calls fail before the peer hears of it.
func (s *session) end(cause error) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	if closed, ok := cause.(*closedError); ok {
		cause = closed.cause
	}
	s.err = &closedError{cause}
	outgoing, incoming := s.outgoing, s.incoming
	s.outgoing, s.incoming = numbered[Call]{}, requests{}
	watch := s.watch
	s.watch = nil
	s.count()
	s.mu.Unlock()
	if watch != nil {
		watch.stop()
	}

	s.conn.sessionEnded(s, cause)
	s.cancel(s.err)
	outgoing.each(func(call *Call) { call.complete(CallFinished, nil, s.err) })
	incoming.each(func(r *Request) { r.cancelled(s.err) })
	code := closeCode(cause)
	if code == CloseNormal {
		s.queue.finish(s.err)
	} else {
		s.queue.abort(s.err)
	}
	close(s.ended)
	go s.tearDown(code) // closes stopped, which Conn waits for
}

// closeCode returns what to tell the peer about the end.
func closeCode(cause error) CloseCode {
	var closed *CloseError
	var pe *ProtocolError
	switch {
	case cause == nil, errors.As(cause, &closed):
		return CloseNormal
	case errors.As(cause, &pe) && pe.Violation == TooLarge:
		return CloseTooLarge
	default:
		return CloseProtocol
	}
}

// tearDown lets the sender finish, closes the carrier and waits for the goroutines.
func (s *session) tearDown(code CloseCode) {
	defer close(s.stopped)
	timer := time.NewTimer(drainTimeout)
	defer timer.Stop()
	select {
	case <-s.sent:
	case <-timer.C:
	}
	_ = s.carrier.Close(code) // the connection is over, whatever the carrier says
	s.queue.abort(s.err)
	s.workers.Wait()
	s.inline.Stop()
}

// failure returns why the session ended, nil if it did not.
func (s *session) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// count notes how many calls run. The caller holds mu.
func (s *session) count() { s.running.Store(int32(s.outgoing.count + s.incoming.count())) }

// register gives an outgoing call its id.
func (s *session) register(ctx context.Context, call *Call) error {
	var done <-chan struct{}
	if call.reused {
		done = ctx.Done()
	}
	worth := false
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return s.err
	}
	s.lastID++
	call.id = s.lastID
	s.outgoing.put(call.id, call)
	s.count()
	if done != nil {
		call.watch, worth = s.share(done)
	}
	s.mu.Unlock()
	if worth {
		s.watchOver(ctx)
	}
	return nil
}

// forget removes an outgoing call, whose later messages are dropped then.
func (s *session) forget(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if call := s.outgoing.get(id); call != nil {
		s.unlist(call)
		s.count()
	}
}

// unlist takes an outgoing call out of the table. The caller holds mu.
func (s *session) unlist(call *Call) {
	s.outgoing.remove(call.id)
	if call.watch != nil {
		call.watch.calls--
	}
}

// answered removes and returns the call that an answer is for. If the answer is
// bad, the call stays, for the end of the session to fail it.
func (s *session) answered(id callID, bad error) (*Call, error) {
	if id.other != "" {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	call := s.outgoing.get(id.number)
	if call == nil || bad != nil {
		if call == nil {
			bad = nil
		}
		return nil, bad
	}
	s.unlist(call)
	s.count()
	return call, nil
}

// call returns the outgoing call with an id, and its stream, or nil. A unary call may be over and used again as soon as
// mu is let go, so it is not to be looked into.
func (s *session) call(id callID) (*Call, *Stream) {
	if id.other != "" {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	call := s.outgoing.get(id.number)
	if call == nil {
		return nil, nil
	}
	return call, call.stream
}

// request returns the incoming call with an id, or nil.
func (s *session) request(id callID) *Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.incoming.get(id)
}

// release removes an incoming call, whose id is free then. It reports whether it was the one to do so.
func (s *session) release(r *Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.incoming.get(r.id) != r {
		return false
	}
	s.incoming.remove(r.id)
	s.count()
	return true
}

// mayCall waits until the peer can take a call: a client of the original loses
// what comes before it has turned to the handshake answer.
func (s *session) mayCall(ctx context.Context) error {
	if s.until.IsZero() {
		return nil
	}
	select {
	case <-s.heard:
		return nil
	default:
	}
	delay := time.Until(s.until)
	if delay <= 0 {
		return nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-s.heard:
	case <-timer.C:
	case <-s.ended:
		return s.failure()
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
