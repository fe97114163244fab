package endpoint

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"

	"github.com/cenkalti/backoff/v5"
)

// server serves a listener: it makes connections of what is accepted, and looks after them.
type server[C comparable] struct {
	listener *Listener
	limits   Limits
	logger   *slog.Logger
	begin    func(context.Context, net.Conn) (C, error) // makes a connection, and closes the socket if it cannot
	wait     func(C) error                              // waits for the end of one
	end      func(C) error                              // ends one in good order
	running  sync.WaitGroup

	// mu guards the rest.
	mu     sync.Mutex
	ending bool
	conns  map[C]struct{}
}

func (s *server[C]) serve(ctx context.Context) error {
	admitting, stop := context.WithCancel(ctx)
	err := s.accept(ctx, admitting)
	_ = s.listener.Close()
	stop()
	if errors.Is(err, ErrListenerClosed) || err == ctx.Err() {
		err = nil
	}
	return errors.Join(err, s.drain())
}

// accept takes connections until ctx ends, the listener is closed or accepting fails for good.
func (s *server[C]) accept(ctx, admitting context.Context) error {
	pause := &backoff.ExponentialBackOff{
		InitialInterval: acceptRetryMin, MaxInterval: acceptRetryMax,
		Multiplier: backoff.DefaultMultiplier, RandomizationFactor: backoff.DefaultRandomizationFactor,
	}
	pause.Reset()
	places := make(chan struct{}, s.limits.MaxConns) // holds one value for each connection
	for {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.listener.closed:
			return ErrListenerClosed
		}
		nc, err := s.listener.accept(ctx, s.limits.Handshake)
		switch {
		case err == nil:
			pause.Reset()
			// drain waits for the goroutine, which ends with the connection.
			s.running.Go(func() {
				s.one(admitting, nc)
				<-places
			})
			continue
		case !passes(err):
			return err
		}
		<-places
		s.log(slog.LevelWarn, "accepting failed", "error", err)
		if err := sleep(ctx, pause.NextBackOff()); err != nil {
			return err
		}
	}
}

// one serves what was accepted, until its end.
func (s *server[C]) one(ctx context.Context, nc net.Conn) {
	if err := s.listener.admit(ctx, nc, s.limits.Handshake); err != nil {
		s.log(slog.LevelWarn, "connection refused", "error", err)
		return
	}
	addr := nc.RemoteAddr()
	conn, err := s.begin(ctx, nc)
	if err != nil {
		s.log(slog.LevelWarn, "connection refused", "peer", addr, "error", err)
		return
	}
	if !s.add(conn) {
		s.running.Go(func() { _ = s.end(conn) })
	}
	if err := s.wait(conn); err != nil {
		s.log(slog.LevelInfo, "connection ended", "peer", addr, "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

// add counts a connection among those that drain ends. It is too late once drain has begun.
func (s *server[C]) add(conn C) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return false
	}
	s.conns[conn] = struct{}{}
	return true
}

// drain ends all connections in good order, at the same time, and waits for them.
func (s *server[C]) drain() error {
	s.mu.Lock()
	s.ending = true
	conns := make([]C, 0, len(s.conns))
	for conn := range s.conns {
		conns = append(conns, conn)
	}
	s.mu.Unlock()
	errs := make([]error, len(conns))
	var draining sync.WaitGroup
	for i, conn := range conns {
		draining.Go(func() {
			if err := s.end(conn); errors.Is(err, ErrNotDrained) {
				errs[i] = err
			}
		})
	}
	draining.Wait()
	s.running.Wait()
	return errors.Join(errs...)
}

func (s *server[C]) log(level slog.Level, msg string, args ...any) {
	if s.logger != nil {
		s.logger.Log(context.Background(), level, msg, append(args, "endpoint", s.listener.endpoint.String())...)
	}
}
