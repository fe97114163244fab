package eventstream

import (
	"context"
	"io"
)

// Stream is the client's end of a stream in the form with contexts. One goroutine may send and another
// receive; Close may be called at any time.
type Stream struct {
	k *Continuation
}

// OpenStream opens a stream with its first message; nil means an empty one. It waits while the send queue is
// full, until ctx ends. The stream outlives ctx. It should be closed.
//
// Beside ctx's error the error is ErrOperation, ErrMessageType, a *FrameError, ErrHandshake,
// ErrStreamIDs or why the connection ended.
func (c *ClientConn) OpenStream(ctx context.Context, operation string, first *Message) (*Stream, error) {
	k, err := c.openInbox(ctx, operation, first)
	if err != nil {
		return nil, err
	}
	return &Stream{k}, nil
}

func (c *ClientConn) openInbox(ctx context.Context, operation string, first *Message) (*Continuation, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	k := &Continuation{conn: c, inbox: newInbox(c.in)}
	o, err := k.prepare(operation, orDefault(first, &Message{}))
	if err != nil {
		return nil, c.endReason(err)
	}
	if err := c.out.reserve(ctx, c.ctx, &o); err != nil {
		return nil, err
	}
	if err := k.open(&o, nil); err != nil {
		return nil, c.endReason(err)
	}
	if o.message.Flags&FlagTerminateStream != 0 {
		k.unregister(o.stream)
		k.close(io.EOF)
	}
	return k, nil
}

// endReason replaces ErrClosed by why the connection ended.
func (c *ClientConn) endReason(err error) error {
	if cause := context.Cause(c.ctx); err == ErrClosed && cause != nil {
		return cause
	}
	return err
}

// ID returns the stream's id on its connection.
func (s *Stream) ID() int32 { return s.k.ID() }

// Send sends a message on the stream. It waits while the send queue is full, until ctx ends, and not for the
// message to be written. The caller may reuse the message's payload when it returns.
//
// FlagTerminateStream in m.Flags makes it the stream's last message in either direction; what was received
// before it can still be taken. Beside ctx's error the error is ErrStreamClosed, ErrMessageType, a
// *FrameError or why the connection ended.
func (s *Stream) Send(ctx context.Context, m *Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := s.k.conn
	o, err := s.k.prepareSend(m)
	if err != nil {
		return c.endReason(err)
	}
	if err := c.out.reserve(ctx, c.ctx, &o); err != nil {
		return err
	}
	if err := s.k.push(&o, nil); err != nil {
		return c.endReason(err)
	}
	if m.Flags&FlagTerminateStream != 0 {
		s.k.unregister(s.k.ID())
		s.k.close(io.EOF)
	}
	return nil
}

// Recv returns the stream's next message, waiting for it until ctx ends. What was received comes before the
// end of the stream. The end is io.EOF if either end terminated the stream (a terminating message without
// content is not delivered), ErrStreamClosed after Close, else why the connection ended. An application error
// of the server comes as an *ApplicationError, after which the stream may go on. An ended ctx takes nothing
// from the stream.
func (s *Stream) Recv(ctx context.Context) (*Message, error) {
	m, err := s.k.inbox.take(ctx)
	switch {
	case err != nil:
		return nil, err
	case m.bareEnd():
		return s.Recv(ctx)
	case m.Type == MessageTypeApplicationError:
		return nil, &ApplicationError{Headers: m.Headers.User(), Payload: m.Payload}
	}
	return m, nil
}

// Close ends the stream, if it is still open by a message that tells the server. What was received and not
// taken is dropped. It does not wait and always returns nil.
func (s *Stream) Close() error {
	s.k.terminate()
	return nil
}

// Call opens a stream for operation with request, waits for one reply and ends the stream. A nil request
// is an empty message. When ctx ends first, the server is told that the stream is over. A request with
// FlagTerminateStream gets no reply, and Call returns io.EOF at once.
//
// An application error of the server comes as an *ApplicationError. The other errors are those of
// OpenStream and Recv.
func (c *ClientConn) Call(ctx context.Context, operation string, request *Message) (*Message, error) {
	k, err := c.openInbox(ctx, operation, request)
	if err != nil {
		return nil, err
	}
	defer k.terminate()
	m, err := k.inbox.take(ctx)
	if err != nil {
		return nil, err
	}
	if m.Type == MessageTypeApplicationError {
		return nil, &ApplicationError{Headers: m.Headers.User(), Payload: m.Payload}
	}
	return m, nil
}
