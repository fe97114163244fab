package prpc

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// Server accepts connections over WebSockets. It is an http.Handler that takes
// upgrade requests on any path it is given; anything else is answered with a status of 4xx.
// Methods see the values of the request's context.
//
// The connections outlive http.Server.Shutdown: call Close after it.
type Server struct {
	options *Options
	ctx     context.Context
	cancel  context.CancelFunc
	serving sync.WaitGroup // requests being served

	// mu guards conns and closed. The connections are closed without it.
	mu     sync.Mutex
	conns  map[*Conn]struct{}
	closed bool
}

// NewServer returns a server whose connections have these options. Options with a limit
// that is out of range answer every request with status 500.
func NewServer(options *Options) *Server {
	s := &Server{options: options, conns: map[*Conn]struct{}{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// ServeHTTP serves one connection, until it is closed and its last method has returned.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	options, err := s.options.withDefaults()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if !s.enter() {
		http.Error(w, "server is closed", http.StatusServiceUnavailable)
		return
	}
	defer s.serving.Done()
	carrier, err := acceptWebSocket(w, r, &options.WebSocket, options.Limits.MessageBytes)
	if err != nil {
		return // it answered the request
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	conn, err := Accept(ctx, carrier, &options)
	if err != nil {
		return // the client was told by the close code
	}
	if !s.add(conn) {
		_ = conn.Close()
	}
	conn.Wait()
	s.remove(conn)
}

// Close closes all connections and waits until their methods have returned. New ones are
// answered with status 503.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	conns := make([]*Conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	s.cancel()
	var closing sync.WaitGroup
	for _, c := range conns {
		closing.Go(func() { _ = c.Close() })
	}
	closing.Wait()
	s.serving.Wait()
	return nil
}

// Serve serves a tree of methods over WebSockets, on any path, until ctx ends or the
// listener fails. It closes the listener and returns when the last method has returned: nil
// if ctx ended, else the error of the tree or the listener. Options may be nil; their Methods are not
// used. For more than this, make a Server part of an http.Server.
func Serve(ctx context.Context, listener net.Listener, methods Tree, options *Options) error {
	defer func() { _ = listener.Close() }()
	locator, err := NewTree(methods)
	if err != nil {
		return err
	}
	filled, err := options.withDefaults()
	if err != nil {
		return err
	}
	filled.Methods = locator
	handler := NewServer(&filled)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: defaultHandshakeTimeout}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	err = server.Serve(listener)
	_ = handler.Close()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.serving.Add(1)
	return true
}

func (s *Server) add(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) remove(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}
