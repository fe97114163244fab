package prpc

import (
	"context"
	"sync/atomic"
)

// contextWatch looks after a context that many calls have in common. Who waits for its call and for a context at once pays for
// both, and all who wait for the same context are in each other's way. So a session looks after one context, that of
// the last calls which had one in common, and those calls wait for nothing but their results.
type contextWatch struct {
	done <-chan struct{} // which tells contexts apart
	stop func() bool     // ends the watch
	over atomic.Bool     // the context has ended

	calls int // in flight; guarded by the session's mu
}

// share returns the watch over the context of a call that is registered, or nil if the call has to see to its context itself. It
// reports whether the context is worth a watch. The caller holds mu.
func (s *session) share(done <-chan struct{}) (w *contextWatch, worth bool) {
	if w = s.watch; w != nil && w.done == done {
		w.calls++
		return w, false
	}
	worth = s.lastDone == done && s.outgoing.count > 1 && (w == nil || w.calls == 0)
	s.lastDone = done
	return nil, worth
}

// watchOver begins to look after a context for the calls to come, unless there is another by now. The watch ends with the
// context, with the session, or when there is another.
func (s *session) watchOver(ctx context.Context) {
	w := &contextWatch{done: ctx.Done()}
	w.stop = context.AfterFunc(ctx, func() { s.cancelAll(w, ctx.Err()) })
	s.mu.Lock()
	before := s.watch
	if s.err != nil || w.over.Load() || before != nil && before.calls > 0 {
		before = w
	} else {
		s.watch = w
	}
	s.mu.Unlock()
	if before != nil {
		before.stop()
	}
}

// cancelAll cancels the calls of a context that has ended. A call that has not been sent yet sees that itself: the peer must not hear
// of the cancel first.
func (s *session) cancelAll(w *contextWatch, err error) {
	w.over.Store(true)
	var calls []*Call
	s.mu.Lock()
	if s.watch == w {
		s.watch = nil
	}
	s.outgoing.each(func(call *Call) {
		if call.watch == w && call.sent.Load() {
			calls = append(calls, call)
		}
	})
	for _, call := range calls {
		s.unlist(call) // so at most its caller completes it before
	}
	s.count()
	s.mu.Unlock()
	for _, call := range calls {
		id := call.id // the call is its caller's once it is complete
		if call.complete(CallCancelled, nil, err) {
			s.putCancel(id)
		}
	}
}
