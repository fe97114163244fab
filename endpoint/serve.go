package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/packetstream/packetstream/pconn"
)

// Serve serves every connection that comes, each with these settings, and closes the Listener in the end. It may be
// called once.
//
// It returns when ctx has ended or Close was called, and the connections have been shut down, each of which has its
// DrainTimeout to end in good order: nil if all did, else ErrNotDrained. How a connection ends concerns nobody
// else; opts.Logger is told, also of peers that were not admitted. A failure to accept for want of descriptors or
// memory passes; Serve tries again.
func (l *Listener) Serve(ctx context.Context, opts *pconn.Options) error {
	limits, err := l.Limits.withDefaults()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	s := &server[*limitedConn]{listener: l, limits: limits, conns: make(map[*limitedConn]struct{})}
	if opts != nil {
		s.logger = opts.Logger
	}
	s.begin = func(_ context.Context, nc net.Conn) (*limitedConn, error) { return newLimitedConn(nc, l, limits, opts) }
	s.wait = (*limitedConn).wait
	s.end = func(c *limitedConn) error { return drain(c.Conn, opts) }
	return s.serve(ctx)
}

// limitedConn is a connection that was accepted, with its limits.
type limitedConn struct {
	*Conn
	limits  Limits
	drain   time.Duration
	sentEOF chan struct{} // closed when EOF has left
}

func newLimitedConn(nc net.Conn, l *Listener, limits Limits, opts *pconn.Options) (*limitedConn, error) {
	c := &limitedConn{limits: limits, drain: drainTimeout(opts), sentEOF: make(chan struct{})}
	o := limits.options(opts)
	hook := o.OnSendEOF
	o.OnSendEOF = func(conn *pconn.Conn) {
		close(c.sentEOF)
		if hook != nil {
			hook(conn)
		}
	}
	var err error
	c.Conn, err = NewConn(nc, l.endpoint.String(), o)
	return c, err
}

// wait waits for the end of the connection, and sees to it that its peer does not hold its place longer than the
// limits allow.
func (c *limitedConn) wait() error {
	var why error
	if c.limits.FirstPacket > 0 && !within(c.Done(), c.limits.FirstPacket) && c.Counters().PacketsIn.Load() == 0 {
		why = fmt.Errorf("endpoint: no packet came within %v", c.limits.FirstPacket)
		_ = c.Close() // Wait says the same
	}
	select {
	case <-c.Done():
	case <-c.sentEOF:
		// Nothing more is served here; the peer has only to go.
		if !within(c.Done(), c.drain) {
			_ = c.Close()
		}
	}
	return errors.Join(why, c.Wait())
}
