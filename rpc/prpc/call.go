package prpc

import (
	"context"
	"sync"
	"sync/atomic"
)

// Call is a call made by this end. Its methods may be called concurrently.
type Call struct {
	session *session
	id      uint64
	method  string
	kind    CallType
	stream  *Stream
	done    chan struct{} // closed at the end; of a reused call, a token is put into it
	reused  bool
	unbind  func() bool   // ends the watch over the context of Start
	watch   *contextWatch // over the context of a unary call, if the session has one
	sent    atomic.Bool   // the message is queued, so that the watch may cancel the call

	// mu guards what follows.
	mu     sync.Mutex
	state  machine[CallState]
	result Raw
	err    error
	memory Raw // for a result that has to be copied
}

// Method returns the name of the method that was called.
func (c *Call) Method() string { return c.method }

// Type returns the type the call was made with.
func (c *Call) Type() CallType { return c.kind }

// Stream returns the call's stream, or nil for a unary call. The methods of a nil Stream
// return ErrNoStream.
func (c *Call) Stream() *Stream { return c.stream }

// State returns the state the call is in: CallSending until it has a result,
// then CallFinished, or CallCancelled if this end gave it up.
func (c *Call) State() CallState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.now
}

// Done returns a channel that is closed when the call has a result or failed.
func (c *Call) Done() <-chan struct{} { return c.done }

// Result waits for the result. It first closes the call's stream if that is
// still open, as the original does: what the callee sends after that fails.
//
// The error is a *RemoteError if the callee answered with a failure, ErrCancelled after Cancel,
// the error of the context of Start if that ended the call, ErrStreamOverflow,
// one wrapping ErrClosed if the connection ended, or that of ctx, which limits only
// the wait.
func (c *Call) Result(ctx context.Context) (any, error) { return Result[any](ctx, c) }

// Cancel gives the call up: the peer is told, the result is ErrCancelled, and
// whatever still comes is dropped. It reports whether it did so; a call that is
// over cannot be cancelled. It never waits; defer it to be sure that no call is left behind.
func (c *Call) Cancel() bool { return c.cancel(ErrCancelled) }

func (c *Call) cancel(err error) bool {
	if !c.complete(CallCancelled, nil, err) {
		return false
	}
	c.session.forget(c.id)
	c.session.putCancel(c.id)
	return true
}

// putCancel tells the peer that a call is cancelled.
func (s *session) putCancel(id uint64) {
	m := newBuffer()
	m.b = head(m.b, RequestCallCancel, callID{number: id})
	s.putNow(m)
}

// overflowed cancels a call whose stream nobody reads.
func (c *Call) overflowed() { c.cancel(ErrStreamOverflow) }

// complete ends the call, once. It reports whether it was the one to do so.
func (c *Call) complete(state CallState, result Raw, err error) bool {
	return c.completeWith(state, result, false, err)
}

// completeWith is complete. A result that is lent is copied.
func (c *Call) completeWith(state CallState, result Raw, lent bool, err error) bool {
	c.mu.Lock()
	if !c.state.to(state) {
		c.mu.Unlock()
		return false
	}
	if lent {
		c.memory = append(c.memory[:0], result...)
		result = c.memory
	}
	c.result, c.err = result, err
	unbind := c.unbind
	c.mu.Unlock()
	if unbind != nil {
		unbind()
	}
	if c.stream != nil {
		// A callee's failure is told by Result. Readers see the end of the stream.
		cause := err
		if _, remote := err.(*RemoteError); remote {
			cause = nil
		}
		c.stream.end(cause)
		c.stream.settle(false)
	}
	if c.reused {
		c.done <- struct{}{}
	} else {
		close(c.done)
	}
	return true
}

// bind cancels the call when ctx ends. The goroutine of that moment waits for nothing.
func (c *Call) bind(ctx context.Context) {
	if ctx.Done() == nil {
		return
	}
	unbind := context.AfterFunc(ctx, func() { c.cancel(ctx.Err()) })
	c.mu.Lock()
	over := c.state.now != CallSending
	c.unbind = unbind
	c.mu.Unlock()
	if over {
		unbind()
	}
}

// await waits for the packed result.
func (c *Call) await(ctx context.Context) (Raw, error) {
	select {
	case <-c.done:
	default:
		leaveTurn(ctx)
		if c.stream != nil {
			if err := c.stream.close(ctx); err != nil {
				return nil, err
			}
		}
		select {
		case <-c.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	// The fields do not change once done is closed.
	return c.result, c.err
}

// Start begins a call and returns when it is queued for sending. Arguments are
// values; one of type Keywords is the keyword arguments.
//
// ctx is the context of the whole call: when it ends, the call is cancelled at the
// callee too, and fails with the context's error. The caller should cancel a call it
// leaves early.
//
// Errors: an *EncodeError for an argument that cannot be sent, ErrTooLarge, the
// error of ctx, or one wrapping ErrClosed. With Options.Reconnect, a call that
// begins while the connection is lost waits for the next.
func (c *Conn) Start(ctx context.Context, t CallType, method string, args ...any) (*Call, error) {
	call := &Call{method: method, kind: t, done: make(chan struct{})}
	if err := c.start(ctx, call, args); err != nil {
		return nil, err
	}
	call.bind(ctx)
	return call, nil
}

// Call makes a unary call and returns its result. Arguments and errors are
// those of Start and Call.Result; when ctx ends, the call is cancelled.
func (c *Conn) Call(ctx context.Context, method string, args ...any) (any, error) {
	return Invoke[any](ctx, c, method, args...)
}

// unary makes a unary call and returns it when it is over, to be read and given to reuse. If there is an error, there is no call to
// speak of.
func (c *Conn) unary(ctx context.Context, method string, args []any) (*Call, error) {
	call, ok := c.calls.Get().(*Call)
	if !ok {
		call = &Call{reused: true, done: make(chan struct{}, 1)}
	}
	call.method, call.kind = method, Unary
	if err := c.start(ctx, call, args); err != nil {
		return nil, err
	}
	call.sent.Store(true)
	if watched := call.watch != nil && !call.watch.over.Load(); !watched && ctx.Done() != nil {
		select {
		case <-call.done:
			return call, nil
		case <-ctx.Done():
			if call.cancel(ctx.Err()) {
				return nil, call.err // the receiver may still look at it
			}
		}
	}
	<-call.done
	return call, nil
}

// reuse keeps a call that is over for the next. Whoever completed it does not look at it any more.
func (c *Conn) reuse(call *Call) {
	*call = Call{reused: true, done: call.done, memory: call.memory}
	c.calls.Put(call)
}

// start registers a new call and queues its message. A call that could not be
// started is of no further use.
func (c *Conn) start(ctx context.Context, call *Call, args []any) error {
	if !call.kind.callable() {
		return &ArgumentError{Method: call.method, Reason: "call type " + call.kind.String() + " cannot be called"}
	}
	positional, keywords, err := splitKeywords(call.method, args)
	if err != nil {
		return err
	}
	leaveTurn(ctx)
	s, err := c.live(ctx)
	if err != nil {
		return err
	}
	if err := s.mayCall(ctx); err != nil {
		return err
	}
	call.session = s
	call.state.to(CallSending)
	if mode := call.kind.mode(true); mode != 0 {
		call.stream = newStream(s, mode, call.overflowed)
	}
	if err := s.register(ctx, call); err != nil {
		return err
	}
	id := callID{number: call.id}
	call.stream.open(id, RequestStreamMessage, RequestStreamClose)
	m := newBuffer()
	if m.b, err = appendCallStart(m.b, id, call.kind, call.method, positional, keywords); err == nil {
		err = s.put(ctx, m)
	} else {
		m.free()
	}
	if err != nil {
		s.forget(call.id)
		call.complete(CallFinished, nil, err)
	}
	return err
}

// splitKeywords takes the keyword arguments out of the arguments.
func splitKeywords(method string, args []any) ([]any, Keywords, error) {
	for i, arg := range args {
		keywords, ok := arg.(Keywords)
		if !ok {
			continue
		}
		if i != len(args)-1 {
			return nil, nil, &ArgumentError{Method: method, Reason: "keyword arguments must come last"}
		}
		return args[:i], keywords, nil
	}
	return args, nil, nil
}
