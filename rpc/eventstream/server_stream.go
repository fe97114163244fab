package eventstream

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
)

// ServerStream is the server's end of a stream. One goroutine may send and another receive.
type ServerStream struct {
	conn      *ServerConn
	id        int32
	operation string
	inbox     *inbox
	ctx       context.Context
	cancel    context.CancelCauseFunc

	// send makes what is checked under mu and what is queued one step. Taken before the connection's locks.
	send sync.Mutex

	mu         sync.Mutex // guards the fields below
	sendClosed bool       // this end has terminated the stream
	peerEnded  bool       // the client has
	answering  bool       // the handler has taken the message by which it has, and may answer it
	taken      bool       // the handler has taken the first message
}

func newServerStream(c *ServerConn, e envelope) *ServerStream {
	// A clone, for the operation is a part of the text of all the first message's headers.
	st := &ServerStream{conn: c, id: e.stream, operation: strings.Clone(e.operation), inbox: newInbox(c.in)}
	st.ctx, st.cancel = context.WithCancelCause(c.ctx)
	return st
}

// ID returns the stream's id on its connection.
func (s *ServerStream) ID() int32 { return s.id }

// Operation returns the name of the operation that the client has opened the stream for.
func (s *ServerStream) Operation() string { return s.operation }

// Conn returns the connection.
func (s *ServerStream) Conn() *ServerConn { return s.conn }

// put takes a message from the receiver. The one that opens the stream is a request, even an empty one.
func (s *ServerStream) put(m *Message, weight int64, terminates, opens bool) {
	if !terminates {
		s.inbox.put(m, weight, nil)
		return
	}
	s.mu.Lock()
	s.peerEnded = true
	s.mu.Unlock()
	s.inbox.put(m, weight, io.EOF)
	if !opens && m.bareEnd() {
		s.cancel(ErrStreamClosed)
	}
}

// Recv returns the stream's next message, waiting for it until ctx ends. What was received comes before the
// end of the stream: io.EOF if the client terminated it, ErrStreamClosed if this end did, else why the
// connection ended. A terminating message without content is not delivered, unless it is the first. An
// application error of the client is a message like others.
func (s *ServerStream) Recv(ctx context.Context) (*Message, error) {
	if s.inbox.isEmpty() {
		// Receiving ends with the stream's own context; any other's end needs this goroutine free to notice.
		if ctx != s.ctx || !s.conn.receiveFor(s) {
			s.conn.giveTurn(s)
		}
	}
	m, err := s.inbox.take(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answering = false
	if err != nil {
		return nil, err
	}
	if s.taken && m.bareEnd() {
		return nil, io.EOF
	}
	s.taken = true
	s.answering = m.Flags&FlagTerminateStream != 0
	return m, nil
}

// Send sends a message on the stream. It waits while the send queue is full, until ctx ends, and not for the
// message to be written. The caller may reuse the message's payload when it returns.
//
// FlagTerminateStream in m.Flags makes it the stream's last. After the client has terminated the stream only a
// handler that took the terminating message may still answer it, before it calls Recv again. Beside ctx's error
// the error is ErrStreamClosed, ErrMessageType, a *FrameError or why the connection ended.
func (s *ServerStream) Send(ctx context.Context, m *Message) error {
	if !m.Type.onStream() {
		return ErrMessageType
	}
	if err := s.sendable(); err != nil {
		return err
	}
	o, err := s.conn.out.prepare(m, "")
	if err != nil {
		return err
	}
	if s.conn.out.tryReserve(&o) != nil {
		s.conn.giveTurn(s)
		if err := s.conn.out.reserve(ctx, s.conn.ctx, &o); err != nil {
			return err
		}
	}
	o.stream = s.id
	s.send.Lock()
	defer s.send.Unlock()
	if err := s.beginSend(m.Flags&FlagTerminateStream != 0); err != nil {
		o.receipt.budget.give(o.receipt.weight)
		return err
	}
	return s.conn.endReason(s.conn.out.push(&o))
}

// sendable says why nothing can be sent.
func (s *ServerStream) sendable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.sendClosed, s.peerEnded && !s.answering:
		return ErrStreamClosed
	case s.conn.ctx.Err() != nil:
		return context.Cause(s.conn.ctx)
	}
	return nil
}

func (s *ServerStream) isPeerEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peerEnded
}

// beginSend checks that a message can be sent, and for one that terminates, closes the stream: before the
// client can see that message, so that what it sends afterwards finds no stream.
func (s *ServerStream) beginSend(terminates bool) error {
	if err := s.sendable(); err != nil || !terminates {
		return err
	}
	s.mu.Lock()
	s.sendClosed = true
	s.mu.Unlock()
	c := s.conn
	c.mu.Lock()
	if _, open := c.state.streams[s.id]; open {
		delete(c.state.streams, s.id)
		c.stats.Closed++
	}
	c.mu.Unlock()
	s.inbox.end(ErrStreamClosed)
	return nil
}

// serve runs the handler and ends the stream.
func (s *ServerStream) serve(h Handler) {
	if h == nil {
		h = new(Mux)
	}
	err := h.ServeStream(s.ctx, s)
	s.finish(err)
	s.inbox.shutDown(ErrStreamClosed)
	s.cancel(context.Canceled)
}

// finish tells the client how the handler ended, if the stream is still open. It waits for room in the send queue as
// Send does, until the connection ends: the stream counts as served until then, and so a client that opens streams
// and reads nothing meets the limit of them.
func (s *ServerStream) finish(err error) {
	if errors.Is(err, ErrRefuseStream) {
		s.conn.end(ErrRefuseStream, faultInternal.message())
		return
	}
	if s.isSettled(err) {
		return
	}
	o := s.lastMessage(err)
	if s.conn.out.tryReserve(&o) != nil {
		s.conn.giveTurn(s)
		if s.conn.out.reserve(s.conn.ctx, s.conn.ctx, &o) != nil {
			return
		}
	}
	s.send.Lock()
	defer s.send.Unlock()
	if s.isSettled(err) || s.beginSend(true) != nil {
		o.receipt.budget.give(o.receipt.weight)
		return
	}
	// If it is not accepted the connection has ended, and with it the stream.
	_ = s.conn.out.push(&o)
}

// isSettled reports whether there is nothing to tell the client of a handler that returned err.
func (s *ServerStream) isSettled(err error) bool {
	return s.sendable() != nil || err == nil && s.isPeerEnded()
}

// lastMessage is what ends the stream of a handler that returned err.
func (s *ServerStream) lastMessage(err error) outgoing {
	m := &Message{Flags: FlagTerminateStream}
	var failure *ApplicationError
	switch {
	case errors.As(err, &failure):
		m.Type, m.Headers, m.Payload = MessageTypeApplicationError, failure.Headers, failure.Payload
	case err != nil:
		s.conn.server.log("handler of "+s.operation+" failed", err)
		m.Type, m.Headers = MessageTypeApplicationError, Headers{String(headerErrorCode, "InternalFailure")}
	}
	o, unfit := s.conn.out.prepare(m, "")
	if unfit != nil {
		s.conn.server.log("application error of "+s.operation+" cannot be sent", unfit)
		// An empty message is never refused.
		o, _ = s.conn.out.prepare(&Message{Flags: FlagTerminateStream}, "")
	}
	o.stream = s.id
	return o
}
