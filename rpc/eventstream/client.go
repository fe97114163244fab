package eventstream

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
)

// ConnHandler is what the application of a client connection is told. Any of its functions may be nil.
// They are called on one goroutine of the connection, one at a time and in order: Setup first,
// Shutdown last, with those of the streams between. While one runs, nothing more is delivered and soon
// nothing more is read, so they should return quickly. They may call any method of the connection and of its
// continuations, but must not wait for the connection's end.
type ConnHandler struct {
	// Setup is called once, before anything else.
	Setup func(c *ClientConn)

	// ProtocolMessage is called for every message of the connection: CONNECT_ACK, PING and so on. If it
	// is nil, a PING is answered and the others are dropped; if not, answering is up to it.
	ProtocolMessage func(c *ClientConn, m *Message)

	// Shutdown is called once, after every stream was closed. reason is nil after Close.
	Shutdown func(c *ClientConn, reason error)
}

// ClientConn is the client's end of a connection. All methods may be called concurrently.
type ClientConn struct {
	rwc     io.ReadWriteCloser
	handler ConnHandler
	limits  limits
	out     *sender
	in      *budget
	events  *events
	acked   chan struct{} // closed once CONNECT_ACK has come
	ioDone  chan struct{} // closed once reader and writer are gone
	done    chan struct{} // closed once everything is

	ctx    context.Context // ends, with the reason as cause, when the connection does
	cancel context.CancelCauseFunc
	ioLeft atomic.Int32

	activate sync.Mutex // makes the order of stream ids the order on the wire; taken before mu

	mu    sync.Mutex // guards the fields below
	state clientState
	ack   *Message
	ending
}

// NewConn starts a client connection on rwc, which it owns from then on, in the form with callbacks:
// nothing is sent until the application sends CONNECT. handler and opts may be nil. Closing rwc must
// end its Read and Write. Of opts, only the limits matter here. The error is about opts alone.
func NewConn(rwc io.ReadWriteCloser, handler *ConnHandler, opts *Options) (*ClientConn, error) {
	opts = orDefault(opts, &Options{})
	l, err := newLimits(opts.SendQueue, opts.ReceiveQueue, opts.MaxMessage, opts.WriteTimeout)
	if err != nil {
		return nil, err
	}
	c := &ClientConn{
		rwc:     rwc,
		handler: *orDefault(handler, &ConnHandler{}),
		limits:  l,
		in:      newBudget(l.receiveQueue),
		events:  newEvents(),
		acked:   make(chan struct{}),
		ioDone:  make(chan struct{}),
		done:    make(chan struct{}),
		state:   clientState{streams: map[int32]*Continuation{}},
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.out = newSender(rwc, l, c.lost, func() { c.end(ErrWriteTimeout, nil) })
	c.ioLeft.Store(2)
	c.events.post(event{kind: eventSetup})
	// Close ends these three: the first two by closing the transport, the third because they are gone.
	go c.write()
	go c.read()
	go c.call()
	return c, nil
}

// IsOpen reports whether the connection has not begun to end.
func (c *ClientConn) IsOpen() bool { return c.ctx.Err() == nil }

// Done returns a channel that is closed when the connection has ended and the last callback returned.
func (c *ClientConn) Done() <-chan struct{} { return c.done }

// Err returns why the connection ended: nil while it is open and after Close, else ErrPeerClosed (which a
// *PeerError can stand for), a *FrameError, a *ViolationError, ErrQueueFull or ErrWriteTimeout.
func (c *ClientConn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}

// Wait waits until the connection has ended and the last callback returned, and returns Err, or until ctx
// ends, and returns its error.
func (c *ClientConn) Wait(ctx context.Context) error {
	select {
	case <-c.done:
		return c.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends the connection: what was accepted for sending is written, for at most a second, then the
// transport is closed. Streams end with ErrClosed. It may be called from callbacks, whose last ones can still
// be under way when it returns; Done tells when they are over. It always returns nil.
func (c *ClientConn) Close() error {
	c.end(nil, nil)
	<-c.ioDone
	return nil
}

// SendProtocolMessage queues a message of the connection, without waiting. flushed, if not nil, is called on
// the callbacks' goroutine, in the order of the sends, once the message was written (nil) or given up.
//
// Before CONNECT_ACK only one CONNECT may be sent, afterwards anything but CONNECT and CONNECT_ACK: else the
// error is ErrHandshake. ErrMessageType, a *FrameError, ErrQueueFull and ErrClosed are the others.
// With an error nothing was sent, no notification comes, and the connection is as it was.
func (c *ClientConn) SendProtocolMessage(m *Message, flushed func(error)) error {
	if c.ctx.Err() != nil {
		return ErrClosed
	}
	o, err := c.out.prepare(m, "")
	if err != nil {
		return err
	}
	if err := c.out.tryReserve(&o); err != nil {
		return err
	}
	c.mu.Lock()
	err = c.state.send(m.Type)
	c.mu.Unlock()
	if err != nil {
		c.out.room.give(o.receipt.weight)
		return err
	}
	c.notify(&o, flushed)
	return c.out.push(&o)
}

// notify makes flushed be called when the message is written. The message's place in the queue is
// given back only then, or a slow callback would let notifications pile up.
func (c *ClientConn) notify(o *outgoing, flushed func(error)) {
	if flushed == nil {
		return
	}
	e := event{kind: eventFlushed, flushed: flushed, budget: o.receipt.budget, weight: o.receipt.weight}
	o.receipt.notify = func(err error) {
		e.err = err
		c.events.post(e)
	}
}

// lost ends the connection after the transport failed.
func (c *ClientConn) lost(err error) {
	c.mu.Lock()
	reason := c.lostReason(err)
	c.mu.Unlock()
	c.end(reason, nil)
}

// end begins the end of the connection, for the first time it is called. A nil reason is the
// application's own wish. last, if not nil, is what the peer is told before. What was accepted is still
// written in either case, if the transport can do so within drainTimeout; else there is nobody to read it.
func (c *ClientConn) end(reason error, last *Message) {
	c.mu.Lock()
	first, polite := c.begin(reason, last, c.closeTransport)
	c.mu.Unlock()
	if !first {
		return
	}
	c.out.stop(ErrClosed, last, !polite)
	c.cancel(orDefault(reason, ErrClosed))
	if !polite {
		c.closeTransport()
	}
}

func (c *ClientConn) closeTransport() { _ = c.rwc.Close() }

// write runs the sender and then closes the transport, which ends the reader.
func (c *ClientConn) write() {
	c.out.run()
	c.mu.Lock()
	c.stopBackstop()
	c.mu.Unlock()
	c.closeTransport()
	c.ioExit()
}

// ioExit is called by reader and writer when they end. The later one begins the last callbacks.
func (c *ClientConn) ioExit() {
	if c.ioLeft.Add(-1) == 0 {
		c.events.post(event{kind: eventEnd})
		close(c.ioDone)
	}
}

// call runs the application's callbacks until the connection has ended.
func (c *ClientConn) call() {
	defer close(c.done)
	var batch []event
	for {
		clear(batch)
		batch = c.events.wait(batch)
		for i := range batch {
			if !c.dispatch(&batch[i]) {
				return
			}
		}
	}
}

// dispatch makes the calls for one event, and reports whether more are to come.
func (c *ClientConn) dispatch(e *event) bool {
	switch e.kind {
	case eventSetup:
		if c.handler.Setup != nil {
			c.handler.Setup(c)
		}
	case eventProtocolMessage:
		c.handler.ProtocolMessage(c, e.message)
	case eventStreamMessage:
		e.stream.callMessage(e.message)
	case eventStreamClosed:
		e.stream.callClosed(e.err)
	case eventTerminated:
		if e.err == nil {
			e.stream.callClosed(nil)
		}
		if e.flushed != nil {
			e.flushed(e.err)
		}
	case eventFlushed:
		e.flushed(e.err)
	case eventEnd:
		c.finish()
		return false
	}
	if e.budget != nil {
		e.budget.give(e.weight)
	}
	return true
}

// finish closes the streams that are left and tells of the end.
func (c *ClientConn) finish() {
	c.mu.Lock()
	streams := c.state.streams
	c.state.streams = nil
	reason := c.reason
	c.mu.Unlock()
	cause := context.Cause(c.ctx)
	for _, k := range streams {
		if k.inbox != nil {
			k.close(cause)
			continue
		}
		k.callClosed(cause)
	}
	if c.handler.Shutdown != nil {
		c.handler.Shutdown(c, reason)
	}
}
