package prpc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// randomID makes a connection id: 32 hexadecimal digits, as the original's.
func randomID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// open does the handshake and starts the session. If it fails, the session is over
// and has left nothing behind.
func (s *session) open(ctx context.Context) error {
	connID, answer, err := s.handshake(ctx)
	if err == nil {
		if err = s.begin(connID, answer); err == nil {
			return nil
		}
	}
	close(s.sent) // there is no sender to wait for
	s.end(err)
	<-s.stopped
	return err
}

// handshake agrees with the peer on a connection id, and returns the answer that a
// server still has to send. It runs before the receiver does, so that nothing that comes behind the peer's
// part is read before this end is ready.
func (s *session) handshake(ctx context.Context) (connID string, answer []byte, err error) {
	if timeout := s.conn.options.HandshakeTimeout; timeout >= 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, ErrHandshakeTimeout)
		defer cancel()
	}
	// Closing is what makes a Receive or Send return. A later Close waits for this one.
	stop := context.AfterFunc(ctx, func() { _ = s.carrier.Close(CloseProtocol) })
	if s.conn.mode == ModeServer {
		connID, answer, err = s.acceptHandshake(ctx)
	} else {
		connID, err = s.requestHandshake(ctx)
	}
	switch {
	case stop():
		return connID, answer, err
	case errors.Is(context.Cause(ctx), ErrHandshakeTimeout):
		return "", nil, ErrHandshakeTimeout
	default:
		return "", nil, ctx.Err()
	}
}

// expect returns the first message of a kind; others mean nothing yet.
func (s *session) expect(kind MessageType) (*message, error) {
	for {
		b, err := s.carrier.Receive()
		if err != nil {
			return nil, &closedError{received(err)}
		}
		m, err := parseMessage(b, s.limits)
		if err != nil {
			return nil, &closedError{err}
		}
		if m.kind == kind {
			return &m, nil
		}
	}
}

// requestHandshake is the client's part. Its message takes the first id.
func (s *session) requestHandshake(ctx context.Context) (string, error) {
	s.lastID++
	id := callID{number: s.lastID}
	b, err := appendHandshake(head(nil, RequestHandshake, id), "", s.conn.options.Data)
	if err != nil {
		return "", err
	}
	if err := s.carrier.Send([][]byte{b}); err != nil {
		return "", &closedError{err}
	}
	m, err := s.expect(ResponseHandshake)
	if err != nil {
		return "", err
	}
	if m.id != id {
		return "", &closedError{violation(BadHandshake, "%v", m.id.value())}
	}
	if m.status != StatusSuccess {
		return "", remoteError("handshake", m)
	}
	connID := ""
	if m.handshake.connID != nil {
		connID = fmt.Sprint(m.handshake.connID)
	}
	s.peer = m.handshake
	return connID, s.approve(ctx, connID)
}

// acceptHandshake is the server's part.
func (s *session) acceptHandshake(ctx context.Context) (string, []byte, error) {
	m, err := s.expect(RequestHandshake)
	if err != nil {
		return "", nil, err
	}
	if m.handshake.version != int64(Version) {
		return "", nil, &closedError{violation(BadVersion, "%v, not %d", m.handshake.version, Version)}
	}
	connID := s.conn.options.newID()
	b, err := appendHandshake(head(nil, ResponseHandshake, m.id), connID, s.conn.options.Data)
	if err != nil {
		return "", nil, err
	}
	s.peer = m.handshake
	return connID, append(b, byte(StatusSuccess), 0xc0), s.approve(ctx, connID)
}

// approve asks OnConnect.
func (s *session) approve(ctx context.Context, connID string) error {
	c := s.conn
	if c.options.OnConnect == nil {
		return nil
	}
	c.mu.Lock()
	c.id, c.peer = connID, s.peer.data
	c.mu.Unlock()
	if err := c.options.OnConnect(ctx, c); err != nil {
		return fmt.Errorf("%w: %w", ErrRejected, err)
	}
	return nil
}

// begin makes the session the connection's current one, queues the server's answer and
// starts the receiver and the sender.
func (s *session) begin(connID string, answer []byte) error {
	if answer != nil {
		// Calls that are made from now on wait for the peer, or until then.
		if delay := s.conn.options.CallDelay; delay > 0 {
			s.until = time.Now().Add(delay)
		}
		s.queue.putNow(&buffer{b: answer})
	}
	if !s.conn.connected(s, connID) {
		return &closedError{}
	}
	if s.lender != nil {
		s.lender.beforeWait(s.queue.flush)
	}
	s.workers.Add(2)
	go s.receive()
	go s.send()
	return nil
}
