package mushroom

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// A poll session that the server closed has a last answer, with what was sent before and a Disconnect. It waits for a
// client that is between two polls, and it is given again to a client that comes again, since the
// exchange that it went out in may have been lost.

// closedForPolls reports whether the server closed the session, so that its polls get the last answer.
func (s *Session) closedForPolls() bool {
	return s.transport == TransportPoll && errors.Is(s.Err(), ErrClosed)
}

// told reports whether a poll was answered with the end.
func (s *Session) told() (told bool) {
	s.look(func(st *state) bool {
		told = st.told
		return true
	})
	return told
}

// waitForLastPoll keeps a closed session for a client that is between two polls. It does not wait if a poll
// was told already.
func (s *Session) waitForLastPoll() {
	ctx, cancel := context.WithTimeout(context.Background(), s.times.lastPoll)
	defer cancel()
	// A client that does not come in time finds the session gone, which says the same.
	_ = s.wait(ctx, func(st *state) bool { return st.told })
}

// keepFarewell lets go of a session that was closed, and keeps its last answer for a moment if that was given.
func (s *Server) keepFarewell(session *Session) {
	var text []byte
	if session.closedForPolls() && session.told() {
		text = session.pollAnswer()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leaving, session.id)
	if text == nil || s.down || len(s.farewell) >= s.limits.MaxSessions {
		return
	}
	s.farewell[session.id] = text
	time.AfterFunc(s.times.lastPoll, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.farewell, session.id)
	})
}

// serveGone answers an exchange of a session that is not there: a poll of one that was closed just now gets
// its last answer again.
func (s *Server) serveGone(w http.ResponseWriter, r *http.Request, id string) {
	s.mu.RLock()
	farewell := s.farewell[id]
	s.mu.RUnlock()
	if farewell == nil || r.Method != http.MethodPost {
		answer(w, http.StatusNotFound)
		return
	}
	body, ok := s.readBody(w, r)
	if !ok {
		return
	}
	if !s.hasHeartbeat(body) {
		answer(w, http.StatusNotFound)
		return
	}
	write(w, http.StatusOK, "application/json", farewell)
}

// hasHeartbeat reports whether a body is a poll's.
func (s *Server) hasHeartbeat(body []byte) bool {
	rest, err := openArray(body, s.limits.MaxDepth+1)
	for err == nil && len(rest) > 0 {
		var text []byte
		text, rest = nextElement(rest)
		var m Message
		m, err = parseMessage(text, s.limits.MaxDepth)
		if err == nil && m.Kind == KindHeartbeat {
			return true
		}
	}
	return false
}
