package eventstream

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Server serves the RPC protocol. Its fields are set before first use and not changed then; the zero
// value of each but Handler is a sensible one. Its methods may be called concurrently.
type Server struct {
	// Handler serves the streams. If it is nil every operation is unknown.
	Handler Handler

	// Connect decides about a connection by calling Accept or Reject of the request, at once or
	// later, from any goroutine. Nothing is read from the client until it returns, so that an ack it gives is
	// out before the client's next message is judged. ctx ends with the connection. If Connect is nil
	// every connection is accepted.
	Connect func(ctx context.Context, r *ConnectRequest)

	// ProtocolMessage is called for every other message of a connection, and reports whether it has
	// dealt with it. Else a PING is answered and the rest dropped. Nothing is read from the client
	// until it returns. ctx ends with the connection.
	ProtocolMessage func(ctx context.Context, c *ServerConn, m *Message) bool

	// Logger is told of handlers' errors and of connections that end in another way than by their
	// client's closing. Nil logs nothing.
	Logger *slog.Logger

	// MaxStreams is how many streams one connection may have open; 0 means DefaultMaxStreams. One more is
	// answered by an application error, "TooManyStreams".
	MaxStreams int

	// HandshakeTimeout is how long a connection may take until it is accepted; 0 means
	// DefaultHandshakeTimeout, a negative value no limit.
	HandshakeTimeout time.Duration

	// WriteTimeout is how long one write to a connection may take before the client is given up, for
	// it does not read; 0 means DefaultWriteTimeout, a negative value no limit.
	WriteTimeout time.Duration

	// Linger is how long the client is waited for to close after a rejection or a fatal error; 0
	// means DefaultLinger, a negative value not at all.
	Linger time.Duration

	// SendQueue, ReceiveQueue and MaxMessage are as in Options, for each connection.
	SendQueue    int
	ReceiveQueue int
	MaxMessage   int

	mu        sync.Mutex // guards the fields below
	listeners map[net.Listener]struct{}
	conns     map[*ServerConn]struct{}
	closing   chan struct{} // closed when closed is set; nil until Serve is called
	closed    bool          // Close or Shutdown was called
	idle      chan struct{} // closed when conns becomes empty; nil unless somebody waits
}

// Serve accepts connections from l and serves each on a goroutine of its own, until the listener
// fails or the server is shut down or closed. It closes l, and returns ErrServerClosed or the listener's
// error, after the connections it accepted have ended. For TLS, l is a TLS listener.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	closing := s.track(l)
	if closing == nil {
		return ErrServerClosed
	}
	defer s.untrack(l)
	var conns sync.WaitGroup
	defer conns.Wait()
	for pause := time.Duration(0); ; {
		conn, err := l.Accept()
		if err == nil {
			pause = 0
			conns.Go(func() { _ = s.ServeConn(context.Background(), conn) })
			continue
		}
		if s.isClosed() {
			return ErrServerClosed
		}
		if !retriable(err) {
			_ = s.Close()
			return err
		}
		pause = min(max(2*pause, minAcceptPause), maxAcceptPause)
		s.log("accept failed", err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-closing:
			timer.Stop()
		}
	}
}

// retriable tells an Accept that failed for one connection, or for want of descriptors, from a
// listener that is no more.
func retriable(err error) bool {
	var temporary interface{ Temporary() bool }
	return errors.As(err, &temporary) && temporary.Temporary()
}

// track adds a listener and returns the channel that ends its loop, or nil if the server is closed.
func (s *Server) track(l net.Listener) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	if s.listeners == nil {
		s.listeners = map[net.Listener]struct{}{}
		s.closing = make(chan struct{})
	}
	s.listeners[l] = struct{}{}
	return s.closing
}

func (s *Server) untrack(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *Server) log(what string, err error) {
	if s.Logger != nil {
		s.Logger.Warn("eventstream: "+what, "error", err)
	}
}

// ServeConn serves one connection, which it owns from the call on, until it has ended and all its
// handlers have returned. Closing rwc must end its Read and Write. When ctx ends the connection is
// closed. It returns why the connection ended: nil if this end closed it, ErrPeerClosed if the client
// did, a *FrameError, a *ViolationError, a *RejectedError, ErrHandshakeTimeout, ErrWriteTimeout, ErrRefuseStream,
// ErrQueueFull, ctx's error, or ErrServerClosed if the server was closed before.
func (s *Server) ServeConn(ctx context.Context, rwc io.ReadWriteCloser) error {
	c, err := newServerConn(s, rwc)
	if err == nil && !s.add(c) {
		err = ErrServerClosed
	}
	if err != nil {
		_ = rwc.Close()
		return err
	}
	defer s.remove(c)
	defer context.AfterFunc(ctx, func() { c.end(ctx.Err(), nil) })()
	err = c.serve()
	if err != nil && !errors.Is(err, ErrPeerClosed) {
		s.log("connection ended", err)
	}
	return err
}

func (s *Server) add(c *ServerConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.conns == nil {
		s.conns = map[*ServerConn]struct{}{}
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) remove(c *ServerConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if len(s.conns) == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// beginClose lets nothing new in, and returns the connections there are and a channel that is closed when
// they are gone.
func (s *Server) beginClose() (conns []*ServerConn, idle <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && s.closing != nil {
		close(s.closing)
	}
	s.closed = true
	for l := range s.listeners {
		_ = l.Close()
	}
	for c := range s.conns {
		conns = append(conns, c)
	}
	if s.idle == nil {
		s.idle = make(chan struct{})
		if len(conns) == 0 {
			gone := s.idle
			close(gone)
			s.idle = nil
			return nil, gone
		}
	}
	return conns, s.idle
}

// Close closes the listeners and every connection, as ServerConn.Close does, and waits for nothing: Serve and
// ServeConn return once it is done. It always returns nil.
func (s *Server) Close() error {
	conns, _ := s.beginClose()
	for _, c := range conns {
		c.end(nil, nil)
	}
	return nil
}

// Shutdown closes the listeners, then each connection as soon as it has no open stream; a stream that is opened
// meanwhile is answered by an application error, "ServerShutdown". It waits for all that, and so must not
// be called by a handler. When ctx ends first it closes what is left, as Close does, and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	conns, idle := s.beginClose()
	for _, c := range conns {
		c.drain()
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		_ = s.Close()
		return ctx.Err()
	}
}
