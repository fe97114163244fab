package eventstream

import (
	"context"
	"io"
)

// read receives until the connection ends.
func (c *ClientConn) read() {
	defer c.ioExit()
	dec := newDecoder(newSocketReader(c.rwc), c.limits.maxMessage)
	for {
		f, size, err := dec.decodeOwned()
		if c.ctx.Err() != nil {
			return
		}
		switch {
		case err != nil && isHeaderError(err):
			c.violation(faultInternal, err)
			return
		case err != nil:
			c.lost(err)
			return
		}
		if !c.receive(f, size) {
			return
		}
	}
}

// violation ends the connection because of what the peer sent, and tells it.
func (c *ClientConn) violation(f *fault, err error) {
	c.mu.Lock()
	if c.state.phase != handshakeDone {
		f = faultSilent
	}
	c.mu.Unlock()
	c.end(&ViolationError{Reason: f.reason, Err: err}, f.message())
}

// receive handles one message, and reports whether there can be more.
func (c *ClientConn) receive(f Frame, size int) bool {
	e, ok := readEnvelope(f.Headers)
	if !ok {
		c.violation(faultMissing, nil)
		return false
	}
	m := &Message{Type: e.typ, Flags: e.flags, Headers: f.Headers, Payload: f.Payload}
	c.mu.Lock()
	v, k := c.state.receive(e)
	first := c.ack == nil && e.typ == MessageTypeConnectAck && v.action == actProtocol
	switch {
	case first:
		c.ack = m
	case e.typ == MessageTypeProtocolError || e.typ == MessageTypeInternalError:
		c.peerError = m
	}
	c.mu.Unlock()
	switch v.action {
	case actFail:
		c.violation(v.fault, nil)
		return false
	case actIgnore:
		return true
	case actDeliver:
		return c.deliver(k, m, e, size)
	}
	if first {
		close(c.acked)
	}
	return c.protocolMessage(m, size)
}

// protocolMessage hands a message of the connection to the application or answers it.
func (c *ClientConn) protocolMessage(m *Message, size int) bool {
	if c.handler.ProtocolMessage == nil {
		if m.Type != MessageTypePing {
			return true
		}
		err := c.out.answer(&Message{Type: MessageTypePingResponse, Headers: m.Headers.User(), Payload: m.Payload})
		if err != nil {
			c.end(err, nil)
		}
		return err == nil
	}
	weight := c.in.weight(size)
	if c.in.take(c.ctx, c.ctx, weight) != nil {
		return false
	}
	c.events.post(event{kind: eventProtocolMessage, message: m, budget: c.in, weight: weight})
	return true
}

// deliver hands a message to its stream. It waits while the application holds too many already.
func (c *ClientConn) deliver(k *Continuation, m *Message, e envelope, size int) bool {
	weight := c.in.weight(size)
	if c.in.take(c.ctx, c.ctx, weight) != nil {
		if e.terminates() {
			// It is not among the open ones any more, so finish will not close it.
			c.closeStream(k, context.Cause(c.ctx))
		}
		return false
	}
	if e.terminates() {
		k.markClosed()
	}
	if k.inbox != nil {
		var end error
		if e.terminates() {
			end = io.EOF
		}
		k.inbox.put(m, weight, end)
		return true
	}
	c.events.post(event{kind: eventStreamMessage, stream: k, message: m, budget: c.in, weight: weight})
	if e.terminates() {
		c.closeStream(k, nil)
	}
	return true
}

// closeStream ends a stream that is not among the open ones any more.
func (c *ClientConn) closeStream(k *Continuation, reason error) {
	if k.inbox != nil {
		k.close(reason)
		return
	}
	c.events.post(event{kind: eventStreamClosed, stream: k, err: reason})
}
