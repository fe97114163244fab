package prpc

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// Conn is one end of a connection. Its methods may be called concurrently.
type Conn struct {
	options Options
	mode    ConnMode
	// dial makes the carrier of a client that reconnects, else it is nil.
	dial func(context.Context) (Carrier, error)

	// ctx has the values of the context the connection was made with and ends when
	// the connection is closed for good.
	ctx    context.Context
	cancel context.CancelCauseFunc

	methods sync.WaitGroup // methods that run
	calls   sync.Pool      // calls that nobody but unary saw
	done    chan struct{}  // closed when the state is ConnClosed

	// current is the session while the state is Connected, else nil. It changes with the state, and spares calls the lock.
	current atomic.Pointer[session]

	// mu guards what follows. No other lock is taken under it.
	mu      sync.Mutex
	state   machine[ConnState]
	changed chan struct{} // closed and replaced when the state changes
	session *session      // the current or last one
	id      string
	peer    Raw
	err     error // why the connection closed, once it is closing
}

func newConn(ctx context.Context, mode ConnMode, options *Options) (*Conn, error) {
	filled, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Conn{options: filled, mode: mode, done: make(chan struct{}), changed: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	return c, nil
}

// Connect makes a connection of a carrier, as the client: it begins the
// handshake and waits for its end. It owns the carrier from then on. ctx limits the handshake; its
// values are seen by the methods the peer calls.
//
// Errors: that of ctx, ErrHandshakeTimeout, one wrapping ErrRejected if OnConnect refused,
// and one wrapping ErrClosed if the peer did, or broke the protocol.
func Connect(ctx context.Context, carrier Carrier, options *Options) (*Conn, error) {
	c, err := newConn(ctx, ModeClient, options)
	if err == nil && c.options.Reconnect != nil {
		err = errors.New("prpc: Options.Reconnect needs Dial or DialFunc, which can make another carrier")
	}
	if err != nil {
		_ = carrier.Close(CloseNormal)
		return nil, err
	}
	return c.open(ctx, carrier)
}

// Accept makes a connection of a carrier, as the server: it waits for the
// client's handshake and answers it. It owns the carrier from then on. Context and
// errors are those of Connect; Options.Reconnect is of no use here.
func Accept(ctx context.Context, carrier Carrier, options *Options) (*Conn, error) {
	c, err := newConn(ctx, ModeServer, options)
	if err != nil {
		_ = carrier.Close(CloseNormal)
		return nil, err
	}
	return c.open(ctx, carrier)
}

// Dial opens a WebSocket, with a ws or wss URL, and a connection over it. Besides the errors of Connect
// there are those of the network. With Options.Reconnect a lost connection is
// opened again; the first attempt is not repeated.
func Dial(ctx context.Context, url string, options *Options) (*Conn, error) {
	filled, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	return DialFunc(ctx, func(ctx context.Context) (Carrier, error) {
		return dialWebSocket(ctx, url, &filled.WebSocket, filled.Limits.MessageBytes)
	}, options)
}

// DialFunc opens a connection, as the client, over a carrier that dial makes. With
// Options.Reconnect, dial is called again when the carrier is lost.
func DialFunc(ctx context.Context, dial func(context.Context) (Carrier, error), options *Options) (*Conn, error) {
	c, err := newConn(ctx, ModeClient, options)
	if err != nil {
		return nil, err
	}
	carrier, err := dial(ctx)
	if err != nil {
		c.cancel(err)
		return nil, err
	}
	if c.options.Reconnect != nil {
		c.dial = dial
	}
	return c.open(ctx, carrier)
}

// open does the first handshake. The goroutine it starts lives as long as the
// connection; Close waits for it.
func (c *Conn) open(ctx context.Context, carrier Carrier) (*Conn, error) {
	s := newSession(c, carrier)
	c.mu.Lock()
	c.session = s
	c.to(ConnPending)
	c.mu.Unlock()
	if err := s.open(ctx); err != nil {
		c.closed()
		return nil, err
	}
	go c.supervise(s)
	return c, nil
}

// connected makes a session that completed its handshake the current one. It reports
// false if the connection was closed meanwhile.
func (c *Conn) connected(s *session, id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.to(Connected) {
		return false
	}
	c.session, c.id, c.peer = s, id, s.peer.data
	c.current.Store(s)
	return true
}

// to changes the state. The caller holds mu.
func (c *Conn) to(s ConnState) bool {
	if !c.state.to(s) {
		return false
	}
	c.current.Store(nil)
	close(c.changed)
	c.changed = make(chan struct{})
	return true
}

// sessionEnded is told by a session, before its calls fail, that it is over.
func (c *Conn) sessionEnded(s *session, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != s {
		return // a new one that never became the current
	}
	if c.dial != nil && c.state.now == Connected && lost(cause) {
		c.to(ConnDisconnected)
		return
	}
	if c.to(ConnClosing) {
		c.err = s.err
	}
}

// lost tells a carrier that broke from an end that one of the sides wanted.
func lost(cause error) bool {
	var closed *CloseError
	var pe *ProtocolError
	switch {
	case cause == nil, errors.As(cause, &pe):
		return false
	case errors.As(cause, &closed):
		return closed.Code != CloseNormal && closed.Code != CloseProtocol
	default:
		return true
	}
}

// supervise follows the connection through its sessions to its end.
func (c *Conn) supervise(s *session) {
	for s != nil {
		<-s.stopped
		s = c.reconnect()
	}
	c.closed()
}

// closed is the last step of a connection.
func (c *Conn) closed() {
	c.mu.Lock()
	c.to(ConnClosing)
	c.to(ConnClosed)
	if c.err == nil {
		c.err = &closedError{}
	}
	err := c.err
	c.mu.Unlock()
	c.cancel(err)
	close(c.done)
}

// live returns the session for a new call, waiting for one if the connection is about to have one.
func (c *Conn) live(ctx context.Context) (*session, error) {
	if s := c.current.Load(); s != nil {
		return s, ctx.Err()
	}
	for {
		c.mu.Lock()
		s, state, changed := c.session, c.state.now, c.changed
		err := c.err
		c.mu.Unlock()
		switch state {
		case Connected:
			return s, ctx.Err()
		case ConnPending, ConnDisconnected:
		default:
			return nil, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Mode tells which end this is.
func (c *Conn) Mode() ConnMode { return c.mode }

// State returns the state the connection is in.
func (c *Conn) State() ConnState {
	state, _ := c.Watch()
	return state
}

// Watch returns the state and a channel that is closed when the state changes.
func (c *Conn) Watch() (ConnState, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.now, c.changed
}

// ID returns the connection id, which the server chose; "" before the handshake. A
// connection that was reconnected has another.
func (c *Conn) ID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id
}

// PeerData stores the user data of the peer's handshake where target points. It returns
// a *DecodeError if it does not fit. In OnConnect it is known already.
func (c *Conn) PeerData(target any) error {
	c.mu.Lock()
	data := c.peer
	c.mu.Unlock()
	if data == nil {
		data = Raw{0xc0}
	}
	return decodeTo(data, target)
}

// Active returns the number of calls that run in either direction.
func (c *Conn) Active() int {
	c.mu.Lock()
	s := c.session
	c.mu.Unlock()
	return int(s.running.Load())
}

// Done returns a channel that is closed when the connection is closed for good.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns nil while the connection is not closing, then an error that wraps ErrClosed and the reason.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close closes the connection. Pending calls fail, running methods are cancelled,
// what was queued is sent if the peer takes it within a second, and the peer is told. It
// does not wait for methods, so a method may call it. Closing again waits for the
// first one. Its error is always nil.
func (c *Conn) Close() error {
	c.mu.Lock()
	s, pending := c.session, c.state.now == ConnPending
	if c.state.now == ConnDisconnected {
		c.to(ConnClosing)
		c.err = &closedError{}
	}
	c.mu.Unlock()
	s.end(nil)
	s.inline.LeaveAny() // the caller may be a method
	c.cancel(ErrClosed)
	if pending {
		return nil // OnConnect called; whoever waits for the handshake goes on
	}
	<-c.done
	return nil
}

// Wait waits until the connection is closed and the last method has returned. A
// method must not call it.
func (c *Conn) Wait() {
	<-c.done
	c.methods.Wait()
}
