// Package inline runs handlers on the goroutine that receives.
//
// A handler that returns at once is best run there: no other goroutine has to be woken, and the answers to all the
// requests of one read can leave in one write. A handler that does not return at once must not hold receiving up. So
// receiving is taken away from under it, to go on on another goroutine, when it says that it is about to wait, or
// when a watchdog has seen it at work twice. Kinds of handlers that were seen to wait have goroutines of their own
// for a while.
package inline

import (
	"sync/atomic"
	"time"

	"github.com/packetstream/packetstream/internal/clock"
)

// Turn is the right to receive, as it was given to one handler. The zero Turn is that of a handler that runs
// elsewhere.
type Turn uint64

// Work is a handler with its request. Serve may end its goroutine, but must not panic.
type Work interface{ Serve(Turn) }

// Runner is for one connection.
type Runner struct {
	resume func()

	// state is the number of the last run, times two, plus one while it is under way. Whoever takes the one away
	// has the right to receive: the goroutine of the run when its handler is done, or who takes it away.
	state atomic.Uint64
	kind  *Kind // of the run under way, or the last; belongs to whoever receives

	watchdog *clock.Clock
	armed    atomic.Bool   // the watchdog is set
	period   atomic.Int64  // nanoseconds to its next look
	wanted   atomic.Int64  // the shortest period that a run since the last look has asked for
	seen     atomic.Uint64 // state at the last look
}

// New returns a Runner. resume has receiving go on on another goroutine, since a handler has lost its turn; it must not wait.
// polled says that what is received comes through the runtime's poller, from a socket or a pipe of the system.
func New(resume func(), polled bool) *Runner {
	r := &Runner{resume: resume}
	r.watchdog = clock.New(polled, r.look)
	return r
}

// Stop ends the watchdog. It is called when nothing is received any more, and not by a handler.
func (r *Runner) Stop() { r.watchdog.Stop() }

// Run runs a handler on the calling goroutine, which must be the one that receives, and reports whether that still
// does. If it does not, the caller must not touch what belongs to the receiver, and finish as the handler's own
// goroutine.
func (r *Runner) Run(k *Kind, w Work) (receives bool) {
	k.runs++
	timed, patience := k.runs%sampleRuns == 0, k.patience()
	turn := r.state.Load() + 3 // the next even number, plus one
	r.kind = k
	r.state.Store(turn)
	// From here on k may be somebody else's, as receiving may be.
	r.watch(patience)
	returned := false
	defer func() {
		if !returned { // the handler has ended its goroutine
			r.Leave(Turn(turn))
		}
	}()
	var began time.Time
	if timed {
		began = time.Now()
	}
	w.Serve(Turn(turn))
	returned = true
	receives = r.state.CompareAndSwap(turn, turn-1)
	if receives && timed {
		k.took(time.Since(began))
	}
	return receives
}

// Leave gives a handler's turn away, before it waits. It does nothing if it is not its turn any more. It may be called
// by anybody, at any time.
func (r *Runner) Leave(t Turn) {
	turn := uint64(t)
	if turn&1 == 0 || !r.state.CompareAndSwap(turn, turn-1) {
		return
	}
	r.kind.waited()
	r.resume()
}

// Has reports whether it is still a handler's turn. Only the handler may ask.
func (r *Runner) Has(t Turn) bool { return t&1 != 0 && r.state.Load() == uint64(t) }

// LeaveAny gives the turn of whichever handler has one away.
func (r *Runner) LeaveAny() { r.Leave(Turn(r.state.Load())) }
