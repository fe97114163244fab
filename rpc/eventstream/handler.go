package eventstream

import (
	"context"
	"sync"
)

// Handler serves the streams of a server.
type Handler interface {
	// ServeStream serves one stream and ends it by returning; streams are served concurrently. The stream's first
	// message is there to be taken by Recv. It may begin on the goroutine that receives for the connection, and so
	// hold up other streams for some milliseconds, once in a while, if it waits for anything but its own stream.
	//
	// With nil a message that terminates the stream is sent, unless either end has sent one. An error that is an
	// *ApplicationError is sent as one and terminates the stream; ErrRefuseStream ends the connection with an
	// INTERNAL_ERROR; for any other the client gets an application error that says no more than
	// "InternalFailure", and Server.Logger the rest. If the stream is over already nothing is sent. While the send
	// queue is full, what is sent waits, and the stream counts as open.
	//
	// ctx ends when ServeStream returns, when the connection does, and when the client terminates the
	// stream by a message without content, which is how clients drop a subscription; its cause says
	// which. A terminating message with content does not end ctx: it is a request.
	ServeStream(ctx context.Context, s *ServerStream) error
}

// HandlerFunc is a function that is a Handler.
type HandlerFunc func(ctx context.Context, s *ServerStream) error

// ServeStream calls f.
func (f HandlerFunc) ServeStream(ctx context.Context, s *ServerStream) error { return f(ctx, s) }

// CallFunc is a function that is a Handler for operations with one request and one reply. A nil reply is
// an empty message.
type CallFunc func(ctx context.Context, request *Message) (reply *Message, err error)

// ServeStream calls f with the stream's first message and sends what it returns as the last one.
func (f CallFunc) ServeStream(ctx context.Context, s *ServerStream) error {
	request, err := s.Recv(ctx)
	if err != nil {
		return err
	}
	reply, err := f(ctx, request)
	if err != nil {
		return err
	}
	last := Message{Flags: FlagTerminateStream}
	if reply != nil {
		last = *reply
		last.Flags |= FlagTerminateStream
	}
	return s.Send(ctx, &last)
}

// Mux is a Handler that chooses among others by the stream's operation. It answers one that it does not
// know by an application error with the header "error-code" = "UnknownOperation" and the
// operation as its payload. The zero value is empty and ready for use; methods may be called concurrently.
type Mux struct {
	mu       sync.RWMutex // guards handlers
	handlers map[string]Handler
}

// NewMux returns an empty Mux.
func NewMux() *Mux { return new(Mux) }

// Handle registers a handler for an operation, in place of an earlier one.
func (m *Mux) Handle(operation string, h Handler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.handlers == nil {
		m.handlers = map[string]Handler{}
	}
	m.handlers[operation] = h
}

// HandleFunc registers a function that serves an operation's streams.
func (m *Mux) HandleFunc(operation string, f func(ctx context.Context, s *ServerStream) error) {
	m.Handle(operation, HandlerFunc(f))
}

// HandleCall registers a function that answers an operation's requests, one reply each.
func (m *Mux) HandleCall(operation string, f func(ctx context.Context, request *Message) (*Message, error)) {
	m.Handle(operation, CallFunc(f))
}

// ServeStream serves the stream by the handler of its operation.
func (m *Mux) ServeStream(ctx context.Context, s *ServerStream) error {
	m.mu.RLock()
	h := m.handlers[s.Operation()]
	m.mu.RUnlock()
	if h == nil {
		return &ApplicationError{
			Headers: Headers{String(headerErrorCode, "UnknownOperation")},
			Payload: []byte(s.Operation()),
		}
	}
	return h.ServeStream(ctx, s)
}
