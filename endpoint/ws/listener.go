package ws

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/packetstream/packetstream/endpoint"
)

const (
	// maxPending is how many connections that have made the handshake may wait to be accepted. Others are
	// told to come again.
	maxPending = 64

	// maxHeader is how many bytes a request's header may have.
	maxHeader = 16 << 10
)

// Listen listens at the URL's host and port. Handshakes have endpoint.Limits.Handshake, that of TLS and that of the
// WebSocket each, and begin with the first Accept, or Serve. Up to 64 connections that have made theirs wait to be
// accepted; beyond that the answer is status 503. The listening port is not for other requests: they are answered with
// an error.
func (e WS) Listen(ctx context.Context) (*endpoint.Listener, error) {
	u, err := e.parse()
	if err != nil {
		return nil, &endpoint.SyntaxError{Endpoint: e.String(), Reason: err.Error()}
	}
	s := &server{
		origins:  e.Origins,
		path:     u.EscapedPath(),
		accepted: make(chan *conn),
		pending:  make(chan struct{}, maxPending),
		closed:   make(chan struct{}),
		down:     make(chan struct{}),
	}
	if s.path == "" {
		s.path = "/"
	}
	s.http = http.Server{
		Handler:        s,
		MaxHeaderBytes: maxHeader,
		// What is refused concerns the peer alone, which is told.
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	s.serve = s.http.Serve
	port := "80"
	if u.Scheme == "wss" {
		port = "443"
		if s.http.TLSConfig, err = e.Files.Server(e.Config); err != nil {
			return nil, fmt.Errorf("endpoint: %s: %w", e, err)
		}
		s.serve = func(l net.Listener) error { return s.http.ServeTLS(l, "", "") }
		// A WebSocket begins with HTTP/1.1.
		s.http.Protocols = new(http.Protocols)
		s.http.Protocols.SetHTTP1(true)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	var lc net.ListenConfig
	if s.sockets, err = lc.Listen(ctx, "tcp", net.JoinHostPort(u.Hostname(), port)); err != nil {
		return nil, fmt.Errorf("endpoint: %s: %w", e, err)
	}
	return endpoint.NewListener(s, e), nil
}

// server makes WebSockets of requests, and is the listener that gives them out.
type server struct {
	http     http.Server
	sockets  net.Listener
	serve    func(net.Listener) error // with or without TLS
	path     string
	origins  []string
	accepted chan *conn
	pending  chan struct{} // holds one value for each that waits
	closing  sync.Once
	closed   chan struct{}
	begin    sync.Once     // begins to make handshakes, unless Close was first
	down     chan struct{} // closed when that has ended
	failed   error         // why, set before
}

// LimitHandshake begins to make handshakes, each of which may take so long.
func (s *server) LimitHandshake(limit time.Duration) {
	s.begin.Do(func() {
		// A WebSocket, once there is one, has none of these limits.
		s.http.ReadTimeout, s.http.WriteTimeout = limit, limit
		// Close waits for it, and ends it.
		go func() {
			defer close(s.down)
			s.failed = s.serve(s.sockets)
		}()
	})
}

// ServeHTTP answers one request.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.EscapedPath() != s.path {
		http.NotFound(w, r)
		return
	}
	select {
	case s.pending <- struct{}{}:
		defer func() { <-s.pending }()
	default:
		http.Error(w, "too many connections", http.StatusServiceUnavailable)
		return
	}
	c := newConn()
	c.local, _ = r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	c.remote = addrOf(r.RemoteAddr)
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:    []string{subprotocol},
		OriginPatterns:  s.origins,
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return // it was answered
	}
	c.use(ws, r.TLS)
	select {
	case s.accepted <- c:
	case <-s.closed:
		_ = ws.Close(websocket.StatusGoingAway, "not serving any more")
	}
}

// addrOf is a request's address, which is that of a TCP connection.
func addrOf(text string) net.Addr {
	addr, err := net.ResolveTCPAddr("tcp", text)
	if err != nil {
		return nil
	}
	return addr
}

// AcceptContext returns the next connection.
func (s *server) AcceptContext(ctx context.Context) (net.Conn, error) {
	select {
	case c := <-s.accepted:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	case <-s.down:
		return nil, s.failed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept returns the next connection.
func (s *server) Accept() (net.Conn, error) { return s.AcceptContext(context.Background()) }

// Addr returns the address.
func (s *server) Addr() net.Addr { return s.sockets.Addr() }

// Close ends listening. Connections that were accepted go on.
func (s *server) Close() error {
	s.closing.Do(func() {
		close(s.closed)
		ctx, cancel := context.WithTimeout(context.Background(), closeTime)
		defer cancel()
		// What is in its handshake is answered; what does not end it is closed.
		if s.http.Shutdown(ctx) != nil {
			_ = s.http.Close()
		}
		s.begin.Do(func() { // no handshake was made, and none will be
			_ = s.sockets.Close()
			s.failed = net.ErrClosed
			close(s.down)
		})
		<-s.down
	})
	return nil
}
