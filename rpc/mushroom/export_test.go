package mushroom

import "time"

// SetPollGrace makes polls wait longer for handlers at work, for tests that count on one burst being
// one answer on a busy machine.
func SetPollGrace(s *Server, grace time.Duration) { s.times.pollGrace = grace }

// SetTimes shortens what a test would have to wait for.
func SetTimes(s *Server, body, ping time.Duration) { s.times.body, s.times.ping = body, ping }

// Crowd tells how many messages wait for a handler.
func Crowd(s *Session) (count int) {
	s.look(func(st *state) bool {
		count = len(st.inbox)
		return true
	})
	return count
}

// Pending tells how many requests wait for their answer.
func Pending(s *Session) (count int) {
	s.look(func(st *state) bool {
		count = len(st.pending)
		return true
	})
	return count
}
