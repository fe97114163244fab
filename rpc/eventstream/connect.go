package eventstream

// ConnectRequest is a client's CONNECT, to be answered once. Its methods may be called from any goroutine.
type ConnectRequest struct {
	conn    *ServerConn
	message *Message
}

// connect asks the application about a connection.
func (c *ServerConn) connect(m *Message) {
	r := &ConnectRequest{c, m}
	if c.server.Connect != nil {
		c.server.Connect(c.ctx, r)
		return
	}
	if err := r.Accept(nil, nil); err != nil {
		c.end(err, nil)
	}
}

// Conn returns the connection.
func (r *ConnectRequest) Conn() *ServerConn { return r.conn }

// Message returns the CONNECT message, with the client's version in the header ":version". This package
// compares it with nothing.
func (r *ConnectRequest) Message() *Message { return r.message }

// Accept answers that the connection is taken. headers and payload may be nil. The error is ErrHandshake if
// the request was answered before, a *FrameError or why the connection ended.
func (r *ConnectRequest) Accept(headers Headers, payload []byte) error {
	return r.answer(&Message{Type: MessageTypeConnectAck, Flags: FlagConnectionAccepted, Headers: headers, Payload: payload})
}

// Reject answers that the connection is not taken, and ends it: the client gets Server.Linger to close
// first. headers and payload may be nil. The error is as for Accept.
func (r *ConnectRequest) Reject(headers Headers, payload []byte) error {
	return r.answer(&Message{Type: MessageTypeConnectAck, Headers: headers, Payload: payload})
}

func (r *ConnectRequest) answer(ack *Message) error {
	c := r.conn
	if _, _, err := messageLen(ack, ""); err != nil {
		return err
	}
	c.mu.Lock()
	first := c.state.phase == handshakeConnect
	if first {
		c.state.phase = handshakeDone
		c.stopDeadline()
	}
	c.mu.Unlock()
	if !first {
		return ErrHandshake
	}
	if ack.Flags&FlagConnectionAccepted == 0 {
		c.end(&RejectedError{Message: ack}, ack)
		return nil
	}
	return c.endReason(c.out.answer(ack))
}
