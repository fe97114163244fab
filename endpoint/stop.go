package endpoint

import (
	"fmt"
	"syscall"
	"time"
)

// Stop says how long a child is given at each step of being stopped, before the next one. 0 is the
// default; a negative duration goes on to the next step at once.
type Stop struct {
	// EOF is the time after the end of its input: a child that does nothing but serve ends then.
	EOF time.Duration
	// Term is the time after SIGTERM to its process group.
	Term time.Duration
	// Kill is the time after SIGKILL to its process group, which is enough unless the system itself is
	// stuck, or a process outside of the group holds the child's pipes.
	Kill time.Duration
}

func (s Stop) withDefaults() (Stop, error) {
	for _, d := range []struct {
		name  string
		value *time.Duration
		unset time.Duration
	}{
		{"EOF", &s.EOF, DefaultStopEOF},
		{"Term", &s.Term, DefaultStopTerm},
		{"Kill", &s.Kill, DefaultStopKill},
	} {
		switch {
		case *d.value == 0:
			*d.value = d.unset
		case *d.value > MaxStop:
			return s, fmt.Errorf("endpoint: Stop.%s %v is more than %v", d.name, *d.value, MaxStop)
		}
	}
	return s, nil
}

// Step is a step of stopping a child.
type Step uint8

const (
	// StepNone says that the child ended by itself.
	StepNone Step = iota
	// StepEOF says that it ended after its input did.
	StepEOF
	// StepTerm says that it ended after SIGTERM.
	StepTerm
	// StepKill says that it ended after SIGKILL, or not at all.
	StepKill
)

func (s Step) String() string {
	return [...]string{"nothing", "the end of its input", "SIGTERM", "SIGKILL"}[s]
}

// group is a child's process group, as far as stopping it is concerned.
type group interface {
	// signal sends a signal to all of the group, or to nobody once the child has been waited for.
	signal(syscall.Signal) error
}

// climb stops a child whose input has ended, one step after another, until it has exited and nobody
// holds its pipes (released); a child that has exited already leaves to what it started only a
// moment before the signals. It returns the step that ended the child itself, and always returns
// within the sum of the durations.
func climb(g group, exited, released <-chan struct{}, s Stop) Step {
	step := StepEOF
	if isClosed(exited) {
		step = StepNone
		s.EOF = min(s.EOF, lingerMoment)
	}
	for _, rung := range []struct {
		step   Step
		signal syscall.Signal
		wait   time.Duration
	}{
		{StepEOF, 0, s.EOF},
		{StepTerm, syscall.SIGTERM, s.Term},
		{StepKill, syscall.SIGKILL, s.Kill},
	} {
		if !isClosed(exited) {
			step = rung.step
		}
		if rung.signal != 0 {
			_ = g.signal(rung.signal) // whoever has gone needs none
		}
		if waitGone(exited, released, rung.wait, rung.signal == 0) {
			break
		}
	}
	// Those of the group that hold no pipe go too. Nobody is hit who has gone already.
	_ = g.signal(syscall.SIGKILL)
	return step
}

// waitGone waits until both channels are closed, for at most d and, if linger is set, for a moment only
// once the first is.
func waitGone(exited, released <-chan struct{}, d time.Duration, linger bool) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	if isClosed(exited) && isClosed(released) {
		return true
	}
	select {
	case <-exited:
	case <-timer.C:
		return false
	}
	var lingered <-chan time.Time
	if linger {
		moment := time.NewTimer(lingerMoment)
		defer moment.Stop()
		lingered = moment.C
	}
	select {
	case <-released:
		return true
	case <-lingered:
	case <-timer.C:
	}
	return false
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// within waits for c to be closed, for at most d, and reports whether it was.
func within(c <-chan struct{}, d time.Duration) bool {
	if isClosed(c) {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c:
		return true
	case <-timer.C:
		return false
	}
}
