package bufio

import (
	"sync"
	"sync/atomic"
)

// gate is what Interrupt, Resume and Close, from any goroutine, leave for the one that reads or writes.
type gate struct {
	// mu guards the fields, and is held while apply is called, so that a deadline that stands for an
	// interrupt and the field that says so always agree. Nothing else is locked under it.
	mu          sync.Mutex
	interrupted bool
	closed      bool
	busy        bool   // a read or write is under way
	interrupts  uint64 // how many there were

	// stop is interrupted or closed, to be looked at without mu.
	stop atomic.Bool

	// apply makes a blocked read or write return, or undoes that, if something must be done for it.
	apply func(stop bool)
}

// enter begins a read or write, and returns what leave wants.
func (g *gate) enter() (uint64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.state(); err != nil {
		return 0, err
	}
	g.busy = true
	return g.interrupts, nil
}

// leave ends it, and says whether it was interrupted or closed meanwhile.
func (g *gate) leave(seen uint64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy = false
	if g.closed {
		g.applyLocked(false)
		return ErrClosed
	}
	if g.interrupts != seen {
		return ErrInterrupted
	}
	return nil
}

// check is cheap while nothing is to stop.
func (g *gate) check() error {
	if !g.stop.Load() {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state()
}

// state is called with mu held.
func (g *gate) state() error {
	switch {
	case g.closed:
		return ErrClosed
	case g.interrupted:
		return ErrInterrupted
	}
	return nil
}

func (g *gate) interrupt() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	g.interrupted = true
	g.interrupts++
	g.stop.Store(true)
	g.applyLocked(true)
}

func (g *gate) resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || !g.interrupted {
		return
	}
	g.interrupted = false
	g.stop.Store(false)
	g.applyLocked(false)
}

// shut closes the gate and reports whether it was open. A deadline that ended a blocked call is taken away by
// leave, so that the owner's file or connection is left as it was.
func (g *gate) shut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.closed = true
	g.stop.Store(true)
	if g.busy {
		g.applyLocked(true)
	} else if g.interrupted {
		g.applyLocked(false)
	}
	return true
}

func (g *gate) applyLocked(stop bool) {
	if g.apply != nil {
		g.apply(stop)
	}
}
