package eventstream

import "context"

// readOne receives one message. It returns the stream that the message opened, to be served, and whether there
// can be more messages.
func (c *ServerConn) readOne() (opened *ServerStream, more bool) {
	if c.ctx.Err() != nil {
		return nil, false
	}
	if !c.dec.hasWhole() {
		c.out.uncork()
	}
	f, size, err := c.dec.decodeOwned()
	switch {
	case c.ctx.Err() != nil:
		return nil, false
	case err != nil && isHeaderError(err):
		c.violation(faultInternal, err)
		return nil, false
	case err != nil && isTimeout(err) && c.isRecalled():
		return nil, false
	case err != nil:
		c.lost(err)
		return nil, false
	}
	return c.receive(f, size)
}

func (c *ServerConn) violation(f *fault, err error) {
	c.end(&ViolationError{Reason: f.reason, Err: err}, f.message())
}

func (c *ServerConn) receive(f Frame, size int) (opened *ServerStream, more bool) {
	e, ok := readEnvelope(f.Headers)
	if !ok {
		c.violation(faultMissing, nil)
		return nil, false
	}
	m := &Message{Type: e.typ, Flags: e.flags, Headers: f.Headers, Payload: f.Payload}
	c.mu.Lock()
	v, st := c.state.receive(e)
	refusal := ""
	switch v.action {
	case actOpen:
		refusal = c.mayOpen()
		if refusal == "" {
			st = c.register(e)
		}
	case actProtocol:
		if e.typ == MessageTypeProtocolError || e.typ == MessageTypeInternalError {
			c.peerError = m
		}
	}
	if st != nil {
		c.stats.Messages++
		if e.terminates() {
			c.stats.Closed++
		}
	}
	c.mu.Unlock()

	switch v.action {
	case actFail:
		c.violation(v.fault, nil)
		return nil, false
	case actProtocol:
		return nil, c.protocolMessage(m)
	case actOpen:
		if refusal != "" {
			return nil, c.refuse(e, refusal)
		}
		return st, c.deliver(st, m, size, true)
	case actDeliver:
		return nil, c.deliver(st, m, size, false)
	}
	return nil, true
}

// mayOpen says why a stream that was opened is not to be served. Called with mu held.
func (c *ServerConn) mayOpen() (refusal string) {
	switch {
	case c.draining:
		return "ServerShutdown"
	case c.serving >= orDefault(c.server.MaxStreams, DefaultMaxStreams):
		return "TooManyStreams"
	}
	return ""
}

// register makes the stream that a message opened. Called with mu held.
func (c *ServerConn) register(e envelope) *ServerStream {
	st := newServerStream(c, e)
	if !e.terminates() && !c.ended {
		c.state.streams[e.stream] = st
	}
	c.stats.Opened++
	c.serving++
	return st
}

// refuse answers a stream that is not served.
func (c *ServerConn) refuse(e envelope, code string) bool {
	if e.terminates() {
		return true
	}
	m := &Message{Type: MessageTypeApplicationError, Flags: FlagTerminateStream, Headers: Headers{String(headerErrorCode, code)}}
	if err := c.out.answerStream(e.stream, m); err != nil {
		c.end(err, nil)
		return false
	}
	return true
}

// deliver hands a message to its stream. It waits while the handlers hold too many already.
func (c *ServerConn) deliver(st *ServerStream, m *Message, size int, opens bool) bool {
	weight := c.in.weight(size)
	if !c.in.tryTake(weight) {
		c.out.uncork()
		if c.in.take(c.ctx, c.ctx, weight) != nil {
			// If the message terminates the stream, end has not found it among the open ones.
			st.inbox.end(context.Cause(c.ctx))
			return false
		}
	}
	st.put(m, weight, m.Flags&FlagTerminateStream != 0, opens)
	return true
}

// start serves a stream on a goroutine of its own, which the connection waits for.
func (c *ServerConn) start(st *ServerStream) {
	c.handlers.Go(func() {
		st.serve(c.server.Handler)
		c.served()
	})
}

// served counts a handler that has returned.
func (c *ServerConn) served() {
	c.mu.Lock()
	c.serving--
	last := c.draining && c.serving == 0
	c.mu.Unlock()
	if last {
		c.end(nil, nil)
	}
}

// protocolMessage hands a message of the connection to the application or answers it.
func (c *ServerConn) protocolMessage(m *Message) bool {
	if m.Type == MessageTypeConnect {
		c.connect(m)
		return true
	}
	if h := c.server.ProtocolMessage; h != nil {
		// It may take its time.
		c.out.uncork()
		if h(c.ctx, c, m) {
			return true
		}
	}
	if m.Type != MessageTypePing {
		return true
	}
	err := c.out.answer(&Message{Type: MessageTypePingResponse, Headers: m.Headers.User(), Payload: m.Payload})
	if err != nil {
		c.end(err, nil)
	}
	return err == nil
}
