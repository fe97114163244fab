package mushroom

import "time"

// SetPollGrace makes polls wait longer for handlers at work, for tests that count on one burst being
// one answer on a busy machine.
func SetPollGrace(s *Server, grace time.Duration) { s.pollGrace = grace }
