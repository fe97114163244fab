package prpc

import (
	"context"

	"github.com/packetstream/packetstream/internal/inline"
)

// run runs a method, which Conn.Wait waits for: that of a unary call on this goroutine, which receives, for as long as it
// returns at once, any other on one of its own. It reports whether this goroutine still receives.
func (s *session) run(r *Request) (receives bool) {
	if r.stream == nil {
		if kind := r.habit; kind.MayRun() {
			s.conn.methods.Add(1)
			if s.inline.Run(kind, r) {
				if r.spent {
					s.spare = r
				}
				return true
			}
			s.queue.flush()
			return false
		}
	}
	select {
	case s.work <- r:
	default:
		s.conn.methods.Add(1)
		go s.serve(r)
	}
	return true
}

// Serve implements inline.Work. It may end its goroutine, if the method does.
func (r *Request) Serve(turn inline.Turn) {
	defer r.session.conn.methods.Done()
	r.turn = turn
	r.serve()
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

// reply queues an answer. It waits for room, but not where receiving waits for it. What is queued while the method's
// goroutine receives leaves when that has nothing more to do, or when there is enough for the peer to go on with meanwhile.
func (r *Request) reply(m *buffer) {
	s := r.session
	if s.inline.Has(r.turn) && len(m.b) <= s.limits.MessageBytes {
		taken, enough := s.queue.hold(m, r.portion)
		if enough {
			s.queue.flush()
		}
		if taken {
			return
		}
		r.leaveTurn()
	}
	// The wait for room ends with the session at the latest.
	_ = s.put(context.Background(), m)
}

// portion returns how many answers are enough to leave while there are more calls to answer: half of what the peer seems to
// have in flight, so that it has the other half to do with meanwhile. It is the receiver's to call.
func (s *session) portion() int {
	if s.lender == nil {
		return minPortion
	}
	return min(max(s.lender.recent()/2, minPortion), maxPortion)
}

// methodContext is the context of a method, which tells whose it is. A method that asks when it ends, or passes it to
// what does, is about to wait: receiving goes on elsewhere.
type methodContext struct {
	context.Context
	request *Request
}

// requestKey is the key by which a context says which method it belongs to.
type requestKey struct{}

func (c *methodContext) Done() <-chan struct{} {
	c.request.leaveTurn()
	return c.Context.Done()
}

func (c *methodContext) Value(key any) any {
	if key == (requestKey{}) {
		return c.request
	}
	return c.Context.Value(key)
}

// leaveTurn lets another goroutine receive if the method's does: it is about to wait.
func (r *Request) leaveTurn() { r.session.inline.Leave(r.turn) }

// leaveTurn does so for the method that ctx belongs to, if it does.
func leaveTurn(ctx context.Context) {
	if r, ok := ctx.Value(requestKey{}).(*Request); ok {
		r.leaveTurn()
	}
}
