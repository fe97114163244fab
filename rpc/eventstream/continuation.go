package eventstream

import (
	"sync"
)

// ContinuationHandler is what the application of one stream is told, on the connection's goroutine
// for callbacks. Either function may be nil.
type ContinuationHandler struct {
	// Message is called for every message of the stream, in order. On the one that terminates the
	// stream, the stream is closed already.
	Message func(k *Continuation, m *Message)

	// Closed is called once, after the last message, if the stream was activated. reason is nil if
	// either end terminated the stream, else why the connection ended.
	Closed func(k *Continuation, reason error)
}

// Continuation is the client's end of a stream in the form with callbacks. Methods may be called
// concurrently; messages go out in the order of the calls.
type Continuation struct {
	conn    *ClientConn
	handler ContinuationHandler
	inbox   *inbox // of a Stream or Call, which take messages instead of being called
	closed  chan struct{}

	// send makes what is checked under mu and what is queued one step: a message behind the one that
	// terminates would make the server end the whole connection. Taken before the connection's locks.
	send sync.Mutex

	mu         sync.Mutex // guards the fields below
	id         int32      // 0 until activated
	sendClosed bool       // this end has sent TERMINATE_STREAM or got it
	isClosed   bool
	reason     error
}

// NewStream returns a stream that is not activated yet. It costs nothing until then and may be
// dropped. handler may be nil.
func (c *ClientConn) NewStream(handler *ContinuationHandler) *Continuation {
	return &Continuation{conn: c, handler: *orDefault(handler, &ContinuationHandler{}), closed: make(chan struct{})}
}

// ID returns the stream's id, or 0 before Activate.
func (k *Continuation) ID() int32 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.id
}

// IsClosed reports whether the stream was activated and is over.
func (k *Continuation) IsClosed() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.isClosed
}

// Closed returns a channel that is closed when the stream is over and its Closed callback returned.
func (k *Continuation) Closed() <-chan struct{} { return k.closed }

// Err returns why the stream closed: nil while it is open and if either end terminated it, else why the
// connection ended.
func (k *Continuation) Err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.reason
}

// Activate opens the stream on the wire with its first message, without waiting. It may be called once.
// flushed is as for ClientConn.SendProtocolMessage.
//
// The error is ErrActivated, ErrHandshake before CONNECT_ACK, ErrOperation, ErrMessageType, a
// *FrameError, ErrStreamIDs, ErrQueueFull or ErrClosed. With any of them nothing was sent and no callback
// follows; after all but the first and the last two Activate may be tried again.
func (k *Continuation) Activate(operation string, m *Message, flushed func(error)) error {
	o, err := k.prepare(operation, m)
	if err != nil {
		return err
	}
	if err := k.conn.out.tryReserve(&o); err != nil {
		return err
	}
	return k.open(&o, flushed)
}

func (k *Continuation) prepare(operation string, m *Message) (outgoing, error) {
	switch {
	case operation == "":
		return outgoing{}, ErrOperation
	case !m.Type.onStream():
		return outgoing{}, ErrMessageType
	case k.conn.ctx.Err() != nil:
		return outgoing{}, ErrClosed
	}
	return k.conn.out.prepare(m, operation)
}

// open allocates the stream's id and queues the first message, for which room was reserved.
func (k *Continuation) open(o *outgoing, flushed func(error)) error {
	c := k.conn
	k.send.Lock()
	defer k.send.Unlock()
	c.activate.Lock()
	defer c.activate.Unlock()

	if err := k.register(o); err != nil {
		o.receipt.budget.give(o.receipt.weight)
		return err
	}
	k.notify(o, flushed)
	err := c.out.push(o)
	if err != nil && !k.unregister(o.stream) {
		// The end of the connection has found the stream first and will tell of it.
		return nil
	}
	return err
}

func (k *Continuation) register(o *outgoing) error {
	c := k.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.id != 0 {
		return ErrActivated
	}
	if c.ended {
		return ErrClosed
	}
	id, err := c.state.open(k)
	if err != nil {
		return err
	}
	k.id, o.stream = id, id
	k.sendClosed = o.message.Flags&FlagTerminateStream != 0
	return nil
}

// unregister takes the stream from the open ones, and reports whether it was there.
func (k *Continuation) unregister(id int32) bool {
	c := k.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.streams[id] != k {
		return false
	}
	delete(c.state.streams, id)
	return true
}

// SendMessage queues a message on the stream, without waiting. flushed is as for
// ClientConn.SendProtocolMessage. FlagTerminateStream ends the stream: nothing more can be sent from
// the call on, and once the message is written, nothing more is received and the Closed callback comes, before
// flushed. The error is ErrNotActivated, ErrStreamClosed, ErrMessageType, a *FrameError, ErrQueueFull or
// ErrClosed; with any of them nothing was sent and the stream is as it was.
func (k *Continuation) SendMessage(m *Message, flushed func(error)) error {
	o, err := k.prepareSend(m)
	if err != nil {
		return err
	}
	if err := k.conn.out.tryReserve(&o); err != nil {
		return err
	}
	return k.push(&o, flushed)
}

// prepareSend checks a message before room is reserved for it.
func (k *Continuation) prepareSend(m *Message) (outgoing, error) {
	if !m.Type.onStream() {
		return outgoing{}, ErrMessageType
	}
	if err := k.sendable(); err != nil {
		return outgoing{}, err
	}
	return k.conn.out.prepare(m, "")
}

// push queues a message for which room was reserved.
func (k *Continuation) push(o *outgoing, flushed func(error)) error {
	k.send.Lock()
	defer k.send.Unlock()
	if err := k.beginSend(o); err != nil {
		o.receipt.budget.give(o.receipt.weight)
		return err
	}
	k.notify(o, flushed)
	return k.conn.out.push(o)
}

// sendable says why nothing can be sent.
func (k *Continuation) sendable() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.id == 0:
		return ErrNotActivated
	case k.sendClosed:
		return ErrStreamClosed
	case k.conn.ctx.Err() != nil:
		return ErrClosed
	}
	return nil
}

// beginSend checks once more, and for a message that terminates lets nothing follow it.
func (k *Continuation) beginSend(o *outgoing) error {
	if err := k.sendable(); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	o.stream = k.id
	k.sendClosed = k.sendClosed || o.message.Flags&FlagTerminateStream != 0
	return nil
}

// notify arranges what happens once the message is written.
func (k *Continuation) notify(o *outgoing, flushed func(error)) {
	c := k.conn
	if o.message.Flags&FlagTerminateStream == 0 || k.inbox != nil {
		c.notify(o, flushed)
		return
	}
	id := o.stream
	e := event{kind: eventTerminated, stream: k, flushed: flushed, budget: o.receipt.budget, weight: o.receipt.weight}
	o.receipt.notify = func(err error) {
		e.err = err
		if err == nil && k.unregister(id) {
			k.markClosed()
		}
		c.events.post(e)
	}
}

// markClosed makes sends fail from now on.
func (k *Continuation) markClosed() {
	k.mu.Lock()
	k.sendClosed, k.isClosed = true, true
	k.mu.Unlock()
}

func (k *Continuation) callMessage(m *Message) {
	if k.handler.Message != nil {
		k.handler.Message(k, m)
	}
}

// callClosed tells of the end of the stream, once.
func (k *Continuation) callClosed(reason error) {
	select {
	case <-k.closed:
		return
	default:
	}
	k.mu.Lock()
	k.sendClosed, k.isClosed, k.reason = true, true, reason
	k.mu.Unlock()
	if k.handler.Closed != nil {
		k.handler.Closed(k, reason)
	}
	close(k.closed)
}

// close is the end of a stream that nobody is called for. err is what its inbox ends with.
func (k *Continuation) close(err error) {
	k.markClosed()
	k.inbox.end(err)
}

// terminate ends a stream of an application that has lost interest. It does not wait.
func (k *Continuation) terminate() {
	k.send.Lock()
	defer k.send.Unlock()
	k.inbox.shutDown(ErrStreamClosed)
	id := k.ID()
	if !k.unregister(id) {
		return
	}
	k.markClosed()
	k.conn.out.pushBareEnd(id)
}
