package pconn

import (
	"context"
	"errors"
	"net"

	"github.com/packetstream/packetstream/packet/frame"
)

// ErrListening says that there is a Listener for that name already, or that Options.StreamHandler takes every
// name that has none.
var ErrListening = errors.New("pconn: streams of that name are taken already")

// Listener is a net.Listener that accepts the peer's streams of one name. Its methods may be called
// concurrently.
type Listener struct {
	conn *Conn
	name string

	// Guarded by Conn.mu.
	queue    streamQueue
	acceptor line
	closed   bool
	declared bool // in Options.Listen, and not yet asked for
}

// Listen returns a Listener for the streams that the peer opens by that name, before Options.StreamHandler;
// "" is every name that has no Listener of its own, where there is no StreamHandler. Streams that come before
// are refused, unless the name is in Options.Listen. The error is ErrListening, or that of the connection's end. The Listener ends with the connection.
func (c *Conn) Listen(name string) (*Listener, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.st.streams
	switch {
	case c.st.recvEnded:
		return nil, c.st.endErr
	case t.listeners[name] != nil && t.listeners[name].declared:
		t.listeners[name].declared = false
		return t.listeners[name], nil
	case t.listeners[name] != nil || name == "" && t.handler != nil:
		return nil, ErrListening
	}
	return c.addListener(name), nil
}

// addListener makes the listener of a name. Conn.mu is held, or nobody knows the connection yet.
func (c *Conn) addListener(name string) *Listener {
	t := &c.st.streams
	if t.listeners == nil {
		t.listeners = make(map[string]*Listener)
	}
	l := &Listener{conn: c, name: name}
	t.listeners[name] = l
	return l
}

// Accept waits for the next stream. The error is net.ErrClosed after Close, and that of Conn.Err when the
// connection has ended.
func (l *Listener) Accept() (net.Conn, error) {
	s, err := l.AcceptStream(context.Background())
	if err != nil {
		return nil, &net.OpError{Op: "accept", Net: StreamAddr{}.Network(), Addr: l.Addr(), Err: err}
	}
	return s, nil
}

// AcceptStream is Accept with a context, whose end gives exactly its error.
func (l *Listener) AcceptStream(ctx context.Context) (*Stream, error) {
	in, err := l.conn.leavePlace(ctx)
	if err != nil {
		return nil, err
	}
	if in != nil {
		defer l.conn.rejoinPlace(in)
	}
	c := l.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if !l.acceptor.empty() || !l.ready() {
		if err := c.waitFor(ctx, &l.acceptor, l.ready); err != nil {
			return nil, err
		}
	}
	s := l.queue.pop()
	if l.ready() {
		l.acceptor.wakeFirst() // another stream, or the end, which is everybody's
	}
	switch {
	case s != nil:
		return s, nil
	case l.closed:
		return nil, net.ErrClosed
	}
	return nil, c.st.endErr
}

// ready says whether there is a stream, or no point in waiting. Conn.mu is held.
func (l *Listener) ready() bool { return l.queue.n > 0 || l.closed || l.conn.st.recvEnded }

func (l *Listener) poke() { l.acceptor.wakeFirst() }

// Addr returns a StreamAddr of the name.
func (l *Listener) Addr() net.Addr { return StreamAddr{Conn: l.conn.opts.Name, Name: l.name} }

// Close refuses streams that were not yet accepted and later ones; those accepted go on. It ends an Accept that
// waits. A second call does nothing.
func (l *Listener) Close() error {
	c := l.conn
	c.mu.Lock()
	if l.closed {
		c.mu.Unlock()
		return nil
	}
	l.closed = true
	delete(c.st.streams.listeners, l.name)
	var refused []*Stream
	for s := l.queue.pop(); s != nil; s = l.queue.pop() {
		refused = append(refused, s)
		s.abort(frame.Reset{Reason: frame.ReasonRefused, Text: "nobody takes streams of this name any more"},
			&StreamError{Stream: s.id, Name: s.name, Refused: true})
	}
	l.poke()
	c.unlockAndWrite()
	for _, s := range refused {
		c.mu.Lock()
		s.unlockAfterUse() // which gives its disk back
	}
	return nil
}

var _ net.Listener = (*Listener)(nil)
var _ net.Conn = (*Stream)(nil)
