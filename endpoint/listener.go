package endpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/packetstream/packetstream/pconn"
)

// Listener takes connections at an endpoint. It has to be closed, by Close or by the end of Serve.
type Listener struct {
	// MaxConns is how many connections Serve serves at a time, DefaultMaxConns if it is 0. Those that come
	// beyond wait to be accepted until others have ended. It is to be set before Serve is called.
	MaxConns int

	endpoint Endpoint
	l        net.Listener
	remove   func() // removes what listening has made, or nil
	closing  sync.Once
	closed   chan struct{}
}

func newListener(l net.Listener, e Endpoint, remove func()) *Listener {
	return &Listener{endpoint: e, l: l, remove: remove, closed: make(chan struct{})}
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
// error is ctx.Err(), ErrListenerClosed, or the system's.
func (l *Listener) Accept(ctx context.Context, opts *pconn.Options) (*Conn, error) {
	nc, err := l.accept(ctx)
	if err != nil {
		return nil, err
	}
	return newConn(nc, opts, l.endpoint.String())
}

// accept ends when ctx does, by a deadline.
func (l *Listener) accept(ctx context.Context) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
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
	nc, err := l.l.Accept()
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

// Serve serves every connection that comes, each with these settings, and closes the Listener in the end. It may be
// called once.
//
// It returns when ctx has ended or Close was called, and the connections have been shut down, each of which has its
// DrainTimeout to end in good order: nil if all did, else ErrNotDrained. How a connection ends concerns nobody
// else; opts.Logger is told. A failure to accept for want of descriptors or memory passes; Serve tries again.
func (l *Listener) Serve(ctx context.Context, opts *pconn.Options) error {
	maxConns, err := l.maxConns()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	s := &server{listener: l, opts: opts, places: make(chan struct{}, maxConns)}
	err = s.accept(ctx)
	_ = l.Close()
	if errors.Is(err, ErrListenerClosed) || err == ctx.Err() {
		err = nil
	}
	return errors.Join(err, s.drain())
}

func (l *Listener) maxConns() (int, error) {
	switch {
	case l.MaxConns < 0 || l.MaxConns > MaxConns:
		return 0, fmt.Errorf("endpoint: Listener.MaxConns %d is not within 0 and %d", l.MaxConns, MaxConns)
	case l.MaxConns == 0:
		return DefaultMaxConns, nil
	}
	return l.MaxConns, nil
}

// server is one run of Listener.Serve.
type server struct {
	listener *Listener
	opts     *pconn.Options
	places   chan struct{} // holds one value for each connection
	running  sync.WaitGroup

	// mu guards conns.
	mu    sync.Mutex
	conns map[*Conn]struct{}
}

// accept takes connections until ctx ends, the listener is closed or accepting fails for good.
func (s *server) accept(ctx context.Context) error {
	pause := &backoff.ExponentialBackOff{
		InitialInterval: acceptRetryMin, MaxInterval: acceptRetryMax,
		Multiplier: backoff.DefaultMultiplier, RandomizationFactor: backoff.DefaultRandomizationFactor,
	}
	pause.Reset()
	for {
		select {
		case s.places <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.listener.closed:
			return ErrListenerClosed
		}
		conn, err := s.listener.Accept(ctx, s.opts)
		switch {
		case err == nil:
			pause.Reset()
			s.serve(conn)
			continue
		case !passes(err):
			return err
		}
		<-s.places
		s.log(slog.LevelWarn, "accepting failed", "error", err)
		if err := sleep(ctx, pause.NextBackOff()); err != nil {
			return err
		}
	}
}

// serve lets a connection be until it ends. drain waits for the goroutine, which ends with the connection.
func (s *server) serve(conn *Conn) {
	s.mu.Lock()
	if s.conns == nil {
		s.conns = make(map[*Conn]struct{})
	}
	s.conns[conn] = struct{}{}
	s.mu.Unlock()
	s.running.Go(func() {
		if err := conn.Wait(); err != nil {
			s.log(slog.LevelInfo, "connection ended", "peer", conn.Peer().Addr, "error", err)
		}
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
		<-s.places
	})
}

// drain ends all connections in good order, at the same time, and waits for them.
func (s *server) drain() error {
	s.mu.Lock()
	conns := make([]*Conn, 0, len(s.conns))
	for conn := range s.conns {
		conns = append(conns, conn)
	}
	s.mu.Unlock()
	errs := make([]error, len(conns))
	var draining sync.WaitGroup
	for i, conn := range conns {
		draining.Go(func() {
			if err := drain(conn, s.opts); errors.Is(err, ErrNotDrained) {
				errs[i] = err
			}
		})
	}
	draining.Wait()
	s.running.Wait()
	return errors.Join(errs...)
}

func (s *server) log(level slog.Level, msg string, args ...any) {
	if s.opts != nil && s.opts.Logger != nil {
		s.opts.Logger.Log(context.Background(), level, msg, append(args, "endpoint", s.listener.endpoint.String())...)
	}
}
