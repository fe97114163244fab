package mushroom

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// Session is one end of a conversation. Its methods may be called concurrently, also by handlers.
type Session struct {
	Engine
	id        string
	transport string
	value     atomic.Pointer[any]

	presence presence
	abort    atomic.Pointer[func()] // ends the carrier at once
	closed   chan struct{}          // closed when nothing more is written or read
	done     chan struct{}
}

// The names of transports.
const (
	TransportWS     = "ws"
	TransportPoll   = "poll"
	TransportStream = "stream"
)

func newSession(s *settings, id, transport string, bye goodbye) *Session {
	session := &Session{id: id, transport: transport, closed: make(chan struct{}), done: make(chan struct{})}
	session.init(s, session)
	session.state.goodbye = bye
	return session
}

// ID is the session's id on its server. It is a secret: whoever knows it can take the session over. A
// stream's is empty.
func (s *Session) ID() string { return s.id }

// Transport is TransportWS, TransportPoll or TransportStream.
func (s *Session) Transport() string { return s.transport }

// SetValue keeps a value with the session: who was authenticated, what a handler needs the next time.
func (s *Session) SetValue(v any) { s.value.Store(&v) }

// Value is what SetValue kept last, or nil.
func (s *Session) Value() any {
	if v := s.value.Load(); v != nil {
		return *v
	}
	return nil
}

// Done is closed when the session is over and its handlers have returned. A handler that waits for the
// session's end uses its context.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err is nil while the session lives, and then the same error for everybody, under ErrSessionEnded.
func (s *Session) Err() (err error) {
	s.look(func(st *state) bool {
		err = st.ended
		return true
	})
	return err
}

// Close ends the session and tells the peer. What was sent before is written first. It returns as soon
// as that is done, at most after 5 seconds, and does not wait for handlers; Done does. Closing again is no
// error.
func (s *Session) Close() error {
	s.end(ErrClosed, true)
	timer := time.NewTimer(s.times.close)
	defer timer.Stop()
	select {
	case <-s.closed:
		return nil
	case <-timer.C:
	}
	if abort := s.abort.Load(); abort != nil {
		(*abort)()
	}
	return fmt.Errorf("mushroom: close: what was queued could not be written within %v", s.times.close)
}

// finish sees an ended session out, after its carrier was closed: it lets notifications that were taken
// come to their end, cancels all other handlers and waits for them.
func (s *Session) finish() {
	s.presence.gone()
	ctx, cancel := context.WithTimeout(context.Background(), s.times.drain)
	defer cancel()
	// When time is up, the notifications still at work are cancelled like the rest.
	_ = s.wait(ctx, func(st *state) bool { return st.notices == 0 })
	s.cancel(s.Err())
	s.tasks.Wait()
	close(s.done)
}

// startTask counts a goroutine that finish waits for, unless the session is over.
func (s *Session) startTask() (ok bool) {
	s.look(func(st *state) bool {
		if ok = st.ended == nil; ok {
			s.tasks.Add(1)
		}
		return true
	})
	return ok
}
