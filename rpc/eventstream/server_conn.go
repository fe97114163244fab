package eventstream

import (
	"context"
	"crypto/tls"
	"io"
	"sync"
	"time"
)

// ServerConn is the server's end of a connection. Its methods may be called concurrently, by handlers too.
type ServerConn struct {
	server *Server
	rwc    io.ReadWriteCloser
	out    *sender
	in     *budget
	dec    *Decoder // belongs to who has the turn

	deadlines interface{ SetReadDeadline(time.Time) error } // of rwc; nil if it has none that work

	ctx      context.Context // ends, with the reason as cause, when the connection does
	cancel   context.CancelCauseFunc
	handlers sync.WaitGroup
	readDone chan struct{} // closed once nothing more is read

	mu       sync.Mutex // guards the fields below
	state    serverState
	stats    ConnStats
	serving  int // handlers that have not returned
	draining bool
	linger   time.Duration // how long to wait for the client to close
	deadline *time.Timer   // of the handshake; nil if it has none
	turn     turn
	ending
}

// ConnStats counts what happened on a connection so far. A stream counts as closed once either end has
// terminated it.
type ConnStats struct {
	Opened   int64 `json:"opened"`   // streams
	Closed   int64 `json:"closed"`   // streams
	Messages int64 `json:"messages"` // received on streams
}

func newServerConn(s *Server, rwc io.ReadWriteCloser) (*ServerConn, error) {
	l, err := newLimits(s.SendQueue, s.ReceiveQueue, s.MaxMessage, s.WriteTimeout)
	if err != nil {
		return nil, err
	}
	c := &ServerConn{
		server:   s,
		rwc:      rwc,
		in:       newBudget(l.receiveQueue),
		dec:      newDecoder(newSocketReader(rwc), l.maxMessage),
		readDone: make(chan struct{}),
		state:    serverState{streams: map[int32]*ServerStream{}},
	}
	if d, ok := rwc.(interface{ SetReadDeadline(time.Time) error }); ok && d.SetReadDeadline(time.Time{}) == nil {
		c.deadlines = d
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.out = newSender(rwc, l, c.lost, func() { c.end(ErrWriteTimeout, nil) })
	return c, nil
}

// NetConn returns what the connection runs on, for its addresses and TLS state. It is not to be read
// or written.
func (c *ServerConn) NetConn() io.ReadWriteCloser { return c.rwc }

// Stats returns the connection's counters.
func (c *ServerConn) Stats() ConnStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// Close ends the connection: what was accepted for sending is written, for at most a second, then the
// transport is closed, which Close does not wait for. It always returns nil.
func (c *ServerConn) Close() error {
	c.end(nil, nil)
	return nil
}

// Fail ends the connection with a PROTOCOL_ERROR or an INTERNAL_ERROR that tells the client why: m is
// written, then the client gets Server.Linger to close first. The error is ErrMessageType for another
// type, ErrHandshake before CONNECT, or a *FrameError; the connection then goes on.
func (c *ServerConn) Fail(m *Message) error {
	if m.Type != MessageTypeProtocolError && m.Type != MessageTypeInternalError {
		return ErrMessageType
	}
	if err := c.checkProtocolMessage(m); err != nil {
		return err
	}
	c.end(nil, m)
	return nil
}

// SendProtocolMessage queues a message of the connection: PING, PING_RESPONSE, PROTOCOL_ERROR or
// INTERNAL_ERROR, none of which ends it. It waits while the send queue is full, until ctx ends. Beside ctx's
// error the error is ErrMessageType, ErrHandshake, a *FrameError or why the connection ended.
func (c *ServerConn) SendProtocolMessage(ctx context.Context, m *Message) error {
	if err := c.checkProtocolMessage(m); err != nil {
		return err
	}
	o, err := c.out.prepare(m, "")
	if err != nil {
		return err
	}
	if err := c.out.reserve(ctx, c.ctx, &o); err != nil {
		return err
	}
	return c.endReason(c.out.push(&o))
}

func (c *ServerConn) checkProtocolMessage(m *Message) error {
	if _, _, err := messageLen(m, ""); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.send(m.Type)
}

// endReason replaces ErrClosed by why the connection ended.
func (c *ServerConn) endReason(err error) error {
	if cause := context.Cause(c.ctx); err == ErrClosed && cause != nil {
		return cause
	}
	return err
}

// serve runs the connection and returns why it ended.
func (c *ServerConn) serve() error {
	c.startDeadline()
	var writer sync.WaitGroup
	writer.Go(c.write)
	c.receiveLoop()
	<-c.readDone
	writer.Wait()
	c.handlers.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopDeadline()
	c.stopTurn()
	return c.reason
}

// startDeadline limits how long the handshake may take.
func (c *ServerConn) startDeadline() {
	if d := orDefault(c.server.HandshakeTimeout, DefaultHandshakeTimeout); d > 0 {
		c.mu.Lock()
		c.deadline = time.AfterFunc(d, func() { c.end(ErrHandshakeTimeout, nil) })
		c.mu.Unlock()
	}
}

// stopDeadline is called with mu held.
func (c *ServerConn) stopDeadline() {
	if c.deadline != nil {
		c.deadline.Stop()
	}
}

// write runs the sender, gives the client time to close if it was told why, and closes the
// transport, which ends the reader.
func (c *ServerConn) write() {
	c.out.run()
	c.mu.Lock()
	linger := c.linger
	c.stopBackstop()
	c.mu.Unlock()
	if linger > 0 {
		timer := time.NewTimer(linger)
		defer timer.Stop()
		select {
		case <-c.readDone:
		case <-timer.C:
		}
	}
	c.closeTransport()
}

// closeTransport closes the socket under TLS without TLS's own goodbye: the reference's client takes that for
// its own wish to close and tells its application no reason, and messages say their length anyway.
func (c *ServerConn) closeTransport() {
	if secure, ok := c.rwc.(*tls.Conn); ok {
		_ = secure.NetConn().Close()
		return
	}
	_ = c.rwc.Close()
}

// lost ends the connection after the transport failed.
func (c *ServerConn) lost(err error) {
	c.mu.Lock()
	reason := c.lostReason(err)
	c.mu.Unlock()
	c.end(reason, nil)
}

// end begins the end of the connection, for the first time it is called. A nil reason is the
// application's own wish. last, if not nil, is what the client is told; the connection then lingers.
func (c *ServerConn) end(reason error, last *Message) {
	c.mu.Lock()
	first, polite := c.begin(reason, last, c.closeTransport)
	if !first {
		c.mu.Unlock()
		return
	}
	if last != nil {
		c.linger = orDefault(c.server.Linger, DefaultLinger)
	}
	streams := c.state.streams
	c.state.streams = map[int32]*ServerStream{}
	inRecv := c.turn.reading
	c.mu.Unlock()

	c.out.stop(ErrClosed, last, !polite)
	if inRecv {
		// A handler's Recv is in Read. This comes before cancel, or it could break off the reading that
		// comes after it.
		_ = c.deadlines.SetReadDeadline(time.Unix(1, 0))
	}
	cause := orDefault(reason, ErrClosed)
	for _, st := range streams {
		st.inbox.end(cause)
	}
	c.cancel(cause)
	if !polite {
		c.closeTransport()
	}
}

// drain closes the connection once no handler is at work.
func (c *ServerConn) drain() {
	c.mu.Lock()
	c.draining = true
	idle := c.serving == 0
	c.mu.Unlock()
	if idle {
		c.end(nil, nil)
	}
}
