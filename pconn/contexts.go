package pconn

import "context"

// contextWatch looks after a context that calls use again and again. Who waits for its call and for a context at once pays
// for both, in the way of every other call of the context; calls of a context that is looked after wait for their
// outcome only.
//
// All but gone is guarded by Conn.mu.
type contextWatch struct {
	gone  <-chan struct{} // the context's Done, which tells contexts apart
	stop  func() bool     // ends it; nil when it is over, since it holds the context, and calls that are kept hold the watch
	calls *call           // those in the table, linked
	over  bool            // it looks after its context no more
}

// contextUse is what a call knows of its context, and keeps for the next call that it is used for: mostly that of the same
// caller. All but the first three are guarded by Conn.mu while the call is in the table.
type contextUse struct {
	gone    <-chan struct{} // Done of the last context
	times   uint32          // used so many times, one after another
	watched bool            // the call is one of watch's

	watch          *contextWatch
	ended          bool // the context has ended, and the caller is told so
	newer, earlier *call
}

const (
	// watchFrom is after how many calls in a row a context is worth a watch: that costs as much as some calls save by it.
	watchFrom = 16

	// maxWatches is how many contexts of one connection are looked after.
	maxWatches = 4096
)

// use notes the context of a call that is about to be made.
func (u *contextUse) use(gone <-chan struct{}) {
	if u.gone != gone {
		*u = contextUse{gone: gone}
	}
	if gone != nil { // else it never ends
		u.times = min(u.times+1, watchFrom+1)
	}
}

// worthWatch says whether the context is worth a watch that it has not.
func (u *contextUse) worthWatch() bool { return u.times > watchFrom && !u.watched }

// watches are the contexts that are looked after. Guarded by Conn.mu.
type watches map[<-chan struct{}]*contextWatch

// joinWatch lets a call that is in the table wait for its outcome only, if its context is looked after.
func (s *state) joinWatch(c *call) {
	u := &c.context
	if u.times <= watchFrom || c.kind != callWaits {
		return
	}
	if u.watch != nil && u.watch.over {
		u.watch, u.times = nil, 0 // others took its place, and would lose theirs to it at once
		return
	}
	if u.watch == nil {
		u.watch = s.watches[u.gone]
	}
	if u.watch == nil {
		return
	}
	u.watched = true
	u.newer, u.earlier = nil, u.watch.calls
	if u.earlier != nil {
		u.earlier.context.newer = c
	}
	u.watch.calls = c
}

// leave is the end of that, when the call has left the table.
func (u *contextUse) leave() {
	if u.newer == nil {
		u.watch.calls = u.earlier
	} else {
		u.newer.context.earlier = u.earlier
	}
	if u.earlier != nil {
		u.earlier.context.newer = u.newer
	}
	u.newer, u.earlier = nil, nil
}

// watchContext looks after a context from now on, for the calls to come. It ends with the context, with the connection,
// or when there are too many that no call uses.
func (c *Conn) watchContext(ctx context.Context) {
	w := &contextWatch{gone: ctx.Done()}
	stop := context.AfterFunc(ctx, func() { c.contextEnded(w) })
	c.mu.Lock()
	unused := []func() bool{stop}
	if !w.over && !c.st.recvEnded && c.st.watches[w.gone] == nil {
		unused = nil
		if len(c.st.watches) >= maxWatches {
			unused = c.st.watches.dropIdle()
		}
		if c.st.watches == nil {
			c.st.watches = watches{}
		}
		w.stop = stop
		c.st.watches[w.gone] = w
	}
	c.mu.Unlock()
	for _, stop := range unused {
		stop()
	}
}

// contextEnded tells the callers that wait with a context that it has ended. They take their calls back as any other.
func (c *Conn) contextEnded(w *contextWatch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.over {
		return
	}
	w.over, w.stop = true, nil
	if c.st.watches[w.gone] == w {
		delete(c.st.watches, w.gone)
	}
	for call := w.calls; call != nil; call = call.context.earlier {
		call.context.ended = true
		call.done <- struct{}{} // there is room for this and the outcome
		if call.receives {
			c.in.Interrupt()
		}
	}
}

// dropIdle takes those out that no call uses, and returns what is to be called without the lock to end them.
func (w watches) dropIdle() (stop []func() bool) {
	for gone, watch := range w {
		if watch.calls == nil {
			stop = append(stop, watch.stop)
			watch.over, watch.stop = true, nil
			delete(w, gone)
		}
	}
	return stop
}
