package endpoint

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/packetstream/packetstream/pconn"
)

// Limits bound what those who connect to a Listener may take. The zero value of each is its default.
type Limits struct {
	// MaxConns is how many connections Serve serves at a time, DefaultMaxConns if it is 0. Those that come
	// beyond wait to be accepted until others have ended.
	MaxConns int
	// Handshake is how long a handshake may take, that of TLS and that of a WebSocket each, DefaultHandshake if it is
	// 0.
	Handshake time.Duration
	// FirstPacket is how long a peer may take to send the first packet. 0 is no limit: a peer may have connected
	// to be called.
	FirstPacket time.Duration
	// MaxRequests is pconn.Options.MaxRequests where that is not set: after so many requests a connection
	// ends in good order. 0 is no limit.
	MaxRequests uint64
}

func (l Limits) withDefaults() (Limits, error) {
	switch {
	case l.MaxConns < 0 || l.MaxConns > MaxConns:
		return l, fmt.Errorf("endpoint: Limits.MaxConns %d is not within 0 and %d", l.MaxConns, MaxConns)
	case l.Handshake < 0:
		return l, fmt.Errorf("endpoint: Limits.Handshake %v is negative", l.Handshake)
	case l.FirstPacket < 0:
		return l, fmt.Errorf("endpoint: Limits.FirstPacket %v is negative", l.FirstPacket)
	}
	if l.MaxConns == 0 {
		l.MaxConns = DefaultMaxConns
	}
	if l.Handshake == 0 {
		l.Handshake = DefaultHandshake
	}
	return l, nil
}

// Listener takes connections at an endpoint. It has to be closed, by Close or by the end of Serve.
type Listener struct {
	// Limits are to be set before Accept and Serve are called.
	Limits Limits

	endpoint Endpoint
	l        net.Listener
	remove   func()    // removes what listening has made, or nil
	uids     []int     // who may connect, nil for all
	limiting sync.Once // tells l of Limits.Handshake
	closing  sync.Once
	closed   chan struct{}
}

// NewListener returns a Listener that takes its connections from l, for the endpoint e, which a package of its own
// may have. What l accepts is used as by NewConn; a *tls.Conn makes its handshake first. l needs a method SetDeadline, or
// AcceptContext(ctx), by which waiting for the next connection can be ended. If it makes handshakes by itself, before it
// accepts, a method LimitHandshake(time.Duration) tells it how long each may take: it is called once, before the first
// connection is waited for. l is closed with the Listener.
func NewListener(l net.Listener, e Endpoint) *Listener {
	return &Listener{endpoint: e, l: l, closed: make(chan struct{})}
}

// Addr returns the address, with the port that was chosen if none was given.
func (l *Listener) Addr() net.Addr { return l.l.Addr() }

// Close ends listening and removes a socket's file. Connections that were accepted go on. It may be called from any
// goroutine, and more than once; Accept and Serve then return.
func (l *Listener) Close() error {
	l.closing.Do(func() {
		if l.remove != nil {
			l.remove()
		}
		close(l.closed)
		_ = l.l.Close()
	})
	return nil
}

// Accept waits for the next connection and makes a packet connection of it. One goroutine at a time may call it. The
// error is ctx.Err(), ErrListenerClosed, or the system's; an *AdmissionError concerns one peer only, and
// the next call may accept another.
func (l *Listener) Accept(ctx context.Context, opts *pconn.Options) (*Conn, error) {
	limits, err := l.Limits.withDefaults()
	if err != nil {
		return nil, err
	}
	nc, err := l.accept(ctx, limits.Handshake)
	if err != nil {
		return nil, err
	}
	if err := l.admit(ctx, nc, limits.Handshake); err != nil {
		return nil, err
	}
	return NewConn(nc, l.endpoint.String(), limits.options(opts))
}

// admit makes the handshake and looks who has come. If there is an error nc is closed.
func (l *Listener) admit(ctx context.Context, nc net.Conn, limit time.Duration) error {
	err := handshake(ctx, nc, limit)
	if err == nil {
		err = checkUser(peerOf(nc), l.uids)
	}
	if err == nil {
		return nil
	}
	addr := nc.RemoteAddr()
	_ = nc.Close()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &AdmissionError{Endpoint: l.endpoint.String(), Addr: addr, Err: err}
}

// handshake makes the handshake of a connection that has one.
func handshake(ctx context.Context, nc net.Conn, limit time.Duration) error {
	tc, ok := nc.(*tls.Conn)
	if !ok {
		return nil
	}
	cause := fmt.Errorf("the handshake took longer than %v", limit)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, cause)
	defer cancel()
	err := tc.HandshakeContext(ctx)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

// options returns the options of one connection.
func (l Limits) options(opts *pconn.Options) *pconn.Options {
	var o pconn.Options
	if opts != nil {
		o = *opts
	}
	if o.MaxRequests == 0 {
		o.MaxRequests = l.MaxRequests
	}
	return &o
}

// accept ends when ctx does, by a deadline. handshake is Limits.Handshake.
func (l *Listener) accept(ctx context.Context, handshake time.Duration) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.limiting.Do(func() {
		if limited, ok := l.l.(interface{ LimitHandshake(time.Duration) }); ok {
			limited.LimitHandshake(handshake)
		}
	})
	d, ok := l.l.(interface{ SetDeadline(time.Time) error })
	if ok {
		set := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			defer close(set)
			_ = d.SetDeadline(time.Unix(1, 0))
		})
		defer func() {
			if !stop() {
				<-set
				_ = d.SetDeadline(time.Time{})
			}
		}()
	}
	accept := l.l.Accept
	if a, ok := l.l.(interface {
		AcceptContext(ctx context.Context) (net.Conn, error)
	}); ok {
		accept = func() (net.Conn, error) { return a.AcceptContext(ctx) }
	}
	nc, err := accept()
	switch {
	case err == nil:
		return nc, nil
	case isClosed(l.closed):
		return nil, ErrListenerClosed
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("endpoint: %s: %w", l.endpoint, err)
}
