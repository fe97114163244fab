package endpoint

import (
	"context"
	"errors"
	"log/slog"
	"net"
)

// ServeBytes gives the bytes of every connection that comes to serve, on a goroutine of its own, and closes them when it
// has returned; the Listener is closed in the end. It may be called once, instead of Serve. Of the Limits those
// count that are not about packets.
//
// It returns when ctx has ended or Close was called, and all of serve have returned: its context ends with ctx. How
// they end is told to the logger, which may be nil. What passes is as in Serve.
func (l *Listener) ServeBytes(ctx context.Context, logger *slog.Logger, serve func(context.Context, Transport) error) error {
	limits, err := l.Limits.withDefaults()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	s := &server[*servedBytes]{listener: l, limits: limits, logger: logger, conns: make(map[*servedBytes]struct{})}
	s.begin = func(ctx context.Context, nc net.Conn) (*servedBytes, error) {
		t, err := transportOf(nc, nil)
		if err != nil {
			return nil, err
		}
		// Without its end: stop is what ends it.
		ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
		return &servedBytes{Transport: t, ctx: ctx, stop: stop, serve: serve, ended: make(chan struct{})}, nil
	}
	s.wait = (*servedBytes).run
	s.end = (*servedBytes).drain
	return s.serve(ctx)
}

// servedBytes is one connection of ServeBytes.
type servedBytes struct {
	Transport
	ctx   context.Context
	stop  context.CancelFunc
	serve func(context.Context, Transport) error
	ended chan struct{} // closed when serve has returned, after err is set
	err   error
}

// run serves the connection, on the goroutine that the server has for it.
func (b *servedBytes) run() error {
	defer b.stop()
	defer close(b.ended)
	b.err = b.serve(b.ctx, b.Transport)
	_ = b.Close() // as a rule it was closed
	return b.err
}

// drain asks for the end and waits for it.
func (b *servedBytes) drain() error {
	b.stop()
	<-b.ended
	return b.err
}
