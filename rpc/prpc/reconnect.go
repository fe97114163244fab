package prpc

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Reconnect is how a client that lost its carrier looks for a new one. The connection is then
// ConnDisconnected: calls that were in flight have failed, new ones wait. It
// closes for good when the peer closes with code 1000 or 1002, when the peer breaks the
// protocol, or when the attempts are used up. The zero value tries for ever.
type Reconnect struct {
	// Initial is the pause before the second attempt; the first comes at once. Pauses
	// grow by half each time, up to Max, and vary by half. 0 means 500 ms.
	Initial time.Duration
	// Max is the longest pause; 0 means 30 s.
	Max time.Duration
	// Attempts is the number of attempts after one loss; 0 means no limit.
	Attempts uint
}

// reconnect returns the next session, or nil if the connection is over.
func (c *Conn) reconnect() *session {
	if c.State() != ConnDisconnected {
		return nil
	}
	r := c.options.Reconnect
	pauses := backoff.NewExponentialBackOff()
	if r.Initial > 0 {
		pauses.InitialInterval = r.Initial
	}
	pauses.MaxInterval = 30 * time.Second
	if r.Max > 0 {
		pauses.MaxInterval = r.Max
	}
	s, err := backoff.Retry(c.ctx, c.redial, backoff.WithBackOff(pauses),
		backoff.WithMaxTries(r.Attempts), backoff.WithMaxElapsedTime(0))
	if err == nil {
		return s
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.to(ConnClosing) {
		c.err = &closedError{err}
	}
	return nil
}

// redial makes one attempt.
func (c *Conn) redial() (*session, error) {
	carrier, err := c.dialInTime()
	if err != nil {
		return nil, err
	}
	s := newSession(c, carrier)
	if err := s.open(c.ctx); err != nil {
		var refused *RemoteError
		if !lost(err) || errors.Is(err, ErrRejected) || errors.As(err, &refused) {
			return nil, backoff.Permanent(err)
		}
		return nil, err
	}
	return s, nil
}

// dialInTime gives dialling as much time as a handshake.
func (c *Conn) dialInTime() (Carrier, error) {
	timeout := c.options.HandshakeTimeout
	if timeout < 0 {
		return c.dial(c.ctx)
	}
	ctx, cancel := context.WithTimeout(c.ctx, timeout)
	defer cancel()
	return c.dial(ctx)
}
