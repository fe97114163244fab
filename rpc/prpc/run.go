package prpc

// run runs a method in a goroutine of its own, which Conn.Wait waits for.
func (s *session) run(r *Request) {
	select {
	case s.work <- r:
	default:
		s.conn.methods.Add(1)
		go s.serve(r)
	}
}

// serve runs methods, first the one given. A few goroutines that have nothing to do are kept
// for the next calls, since one that is new must grow its stack first.
func (s *session) serve(r *Request) {
	defer s.conn.methods.Done()
	for {
		r.serve()
		if s.idle.Add(1) > idleMethods {
			s.idle.Add(-1)
			return
		}
		var more bool
		if r, more = <-s.work; !more {
			return
		}
		s.idle.Add(-1)
	}
}
