package inline

import "time"

// watch makes sure that the watchdog looks at the run that has begun within the period. The watchdog goes on until it has seen
// nothing run for a period.
func (r *Runner) watch(period time.Duration) {
	arm := !r.armed.Load() && r.armed.CompareAndSwap(false, true)
	if arm {
		r.seen.Store(0)
	}
	if arm || int64(period) < r.wanted.Load() {
		r.wanted.Store(int64(period))
	}
	if arm || 2*int64(period) < r.period.Load() {
		r.lookIn(period)
	}
}

// lookIn sets the watchdog.
func (r *Runner) lookIn(period time.Duration) {
	r.period.Store(int64(period))
	r.watchdog.Set(period)
}

// look is the watchdog's look. Two looks may overlap when it is set anew meanwhile: at worst a handler is taken for one that
// waits.
func (r *Runner) look() {
	state := r.state.Load()
	if state == r.seen.Load() {
		if state&1 != 0 {
			r.Leave(Turn(state))
		}
		r.armed.Store(false)
		// A run that began before it could see that nobody watches is watched after all.
		if now := r.state.Load(); now&1 == 0 || now == state || !r.armed.CompareAndSwap(false, true) {
			return
		}
	}
	r.seen.Store(state)
	next := time.Duration(r.wanted.Swap(int64(maxPatience)))
	if state&1 != 0 {
		next = minPatience // it may be one that waits
	}
	r.lookIn(next)
}
