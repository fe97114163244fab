package pconn

import (
	"sync/atomic"
	"time"
)

// inliner runs handlers on the receiving goroutine.
//
// A handler that returns at once is best run there: no other goroutine has to be woken, and the
// answers to all requests of one read leave in one write. A handler that does not return at once must
// not hold receiving up. So receiving is taken away from under it, to go on on another goroutine, as
// soon as it calls back on the connection, or when a watchdog has seen it at work twice. The goroutine
// that lost receiving ends as any handler's. Request types whose handlers were seen to wait have
// goroutines of their own for a while.
//
// What is not atomic belongs to whoever receives.
type inliner struct {
	// state is the number of the last run, times two, plus one while it is under way. Whoever takes the
	// one away has receiving: the goroutine of the run when its handler is done, or who takes
	// receiving away from it.
	state   atomic.Uint64
	current *inlineType // of the run under way, or of the last

	slept    instant     // what Conn.readAt was when receiving last slept; the receiver's
	armed    atomic.Bool // the watchdog's timer runs
	watchdog *time.Timer
	seen     atomic.Uint64 // state at the watchdog's last look
	period   atomic.Int64  // nanoseconds to its next look
	wanted   atomic.Int64  // the shortest period that a run since the last look has asked for

	types [inlineTypes / inlineBlock]*[inlineBlock]inlineType // by request type, modulo their number; made when needed
}

// inlineType is what is known of a type's handlers.
type inlineType struct {
	runs       uint32 // since the type was last seen to wait
	long       uint32 // timed runs, one after another, that took long
	goroutines uint32 // how many requests have goroutines of their own before the next try
	penalty    uint32 // how many it was the last time
}

// inlineTypes is how many request types are told apart, and inlineBlock how many share a piece of memory.
const (
	inlineTypes = 64
	inlineBlock = 8
)

const (
	// minWatch is the watchdog's period while a type is new that runs, and after a look that has found
	// a handler at work. So a handler that waits holds receiving up for at most a period and this,
	// once in a while.
	minWatch = 200 * time.Microsecond

	// watchTrust is by how much each run that went well lengthens the period for its type, up to
	// maxWatch: a type that waits after all has held receiving up for little more than 1 µs for each
	// of its runs until then. A look wakes threads, and with one call at a time costs more than the call.
	watchTrust = time.Microsecond
	maxWatch   = 5 * time.Millisecond

	// A type that was seen to wait is tried inline again after minPenalty requests, and after twice as
	// many each time that it is seen again before as many runs went well.
	minPenalty = 256
	maxPenalty = 1 << 16

	// longRun is the time from which a handler has a goroutine of its own, since another core may run
	// it meanwhile. One run of sampleRuns is timed, and longRuns of those must be long in a row: one
	// may be the system's doing.
	longRun    = 20 * time.Microsecond
	longRuns   = 4
	sampleRuns = 16
)

// typeOf returns what is known of a type's handlers.
func (n *inliner) typeOf(typ uint64) *inlineType {
	block := &n.types[typ%inlineTypes/inlineBlock]
	if *block == nil {
		*block = new([inlineBlock]inlineType)
	}
	return &(*block)[typ%inlineBlock]
}

// mayRun says whether a request of the type is to be run inline.
func (t *inlineType) mayRun() bool {
	if t.goroutines > 0 {
		t.goroutines--
		return false
	}
	return true
}

// watch is how often the watchdog has to look while a handler of the type runs.
func (t *inlineType) watch() time.Duration {
	return min(max(time.Duration(t.runs)*watchTrust, minWatch), maxWatch)
}

// waited remembers that a handler of the type did not return at once.
func (t *inlineType) waited() {
	if t.runs > t.penalty {
		t.penalty = 0
	}
	t.penalty = min(max(2*t.penalty, minPenalty), maxPenalty)
	t.goroutines, t.runs, t.long = t.penalty, 0, 0
}

// took remembers how long a timed run took.
func (t *inlineType) took(d time.Duration) {
	if d < longRun {
		t.long = 0
		return
	}
	t.long++
	if t.long == longRuns {
		t.waited()
	}
}

// runInline runs a handler on the receiving goroutine, and reports whether that still receives.
func (c *Conn) runInline(in *incoming) bool {
	n := &c.inline
	t := n.typeOf(in.typ)
	t.runs++
	timed := t.runs%sampleRuns == 0
	var began instant
	if timed {
		began = clock()
	}
	period := t.watch()
	// From here on t may be somebody else's, as receiving may be.
	in.run = c.beginRun(t)
	c.watchRun(period)
	reply, err := c.invoke(in.ctx, in, c.mark())
	next := c.finish(in, reply, err)
	if !n.over(in.run) {
		// What finish left to be written when receiving stops has nobody else to write it.
		c.flushHeld()
		c.work(next)
		return false
	}
	c.keepIncoming(in)
	if next != nil {
		c.startHandler(next)
	}
	if timed {
		t.took(clock().since(began))
	}
	return true
}

// beginRun is the beginning of an inline run, whose number it returns.
func (c *Conn) beginRun(t *inlineType) uint64 {
	n := &c.inline
	c.watched = true
	run := n.state.Load() + 3 // the next even number, plus one
	n.current = t
	n.state.Store(run)
	return run
}

// over is the end of an inline run, and reports whether its goroutine still has receiving.
func (n *inliner) over(run uint64) bool { return n.state.CompareAndSwap(run, run-1) }

// runsInline says whether the goroutine of a handler receives.
func (c *Conn) runsInline(in *incoming) bool {
	return in.marked || in.run != 0 && c.inline.state.Load() == in.run
}

// takeReceiving takes receiving away from the handler that was run inline when the state was as given,
// and lets it go on on another goroutine. It does nothing if that run is over, or was left before.
func (c *Conn) takeReceiving(state uint64) {
	n := &c.inline
	if state&1 == 0 || !n.state.CompareAndSwap(state, state-1) {
		return
	}
	n.current.waited()
	c.counters.Handovers.Add(1)
	c.startReceiving()
}

// watchRun makes sure that the watchdog looks at the run that has begun within the period. The watchdog goes
// on until it has seen nothing run for a period.
func (c *Conn) watchRun(period time.Duration) {
	n := &c.inline
	arm := !n.armed.Load() && n.armed.CompareAndSwap(false, true)
	if arm {
		n.seen.Store(0)
	}
	if arm || int64(period) < n.wanted.Load() {
		n.wanted.Store(int64(period))
	}
	if arm || 2*int64(period) < n.period.Load() {
		c.lookIn(period)
	}
}

// sleeps is called when receiving is about to sleep, so that nothing runs. Where more time than the watchdog's period has passed since
// what came before the last sleep, its looks are in vain, and it sleeps as well. To stop and set a timer each time costs
// more where it does not ring.
func (n *inliner) sleeps(readAt instant) {
	passed := readAt.since(n.slept)
	n.slept = readAt
	if n.armed.Load() && int64(passed) > n.period.Load() && n.watchdog.Stop() {
		n.armed.Store(false)
	}
}

// lookIn sets the watchdog's timer.
func (c *Conn) lookIn(period time.Duration) {
	n := &c.inline
	n.period.Store(int64(period))
	if n.watchdog == nil {
		// It must not look before the field is set, which it needs itself.
		n.watchdog = time.AfterFunc(time.Hour, c.watchInline)
	}
	n.watchdog.Reset(period)
}

// watchInline is the watchdog's look. Two looks may overlap when the timer is set anew meanwhile: at worst a
// handler is taken for one that waits.
func (c *Conn) watchInline() {
	n := &c.inline
	state := n.state.Load()
	if state == n.seen.Load() {
		if state&1 != 0 {
			c.takeReceiving(state)
		}
		n.armed.Store(false)
		// A run that began before it could see that nobody watches is watched after all.
		if now := n.state.Load(); now&1 == 0 || now == state || !n.armed.CompareAndSwap(false, true) {
			return
		}
	}
	n.seen.Store(state)
	next := time.Duration(n.wanted.Swap(int64(maxWatch)))
	if state&1 != 0 {
		next = minWatch
	}
	c.lookIn(next)
}
