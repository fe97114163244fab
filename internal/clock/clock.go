// Package clock calls a function some time after it was told to, at no cost to those who wait for input meanwhile.
//
// While one of the runtime's timers is pending, each wait for input has its time as a limit, which costs a short message a tenth
// of its way and more. A watchdog that is set nearly all the time therefore has a clock of the system's, where there is one.
package clock

import (
	"sync"
	"time"
)

// Clock calls one function. Its methods may be called concurrently, and by the function, except that Stop waits for it.
type Clock struct {
	ring   func()
	polled bool

	mu      sync.Mutex // guards what follows; alarms are set under it, but nobody waits
	alarm   alarm      // made by the first Set
	stopped bool
}

// alarm is what a clock is made of.
type alarm interface {
	set(time.Duration)
	stop() // waits for the function if it runs on a goroutine of the alarm's
}

// New makes a clock for the function, which must not wait. polled says that what is waited for meanwhile comes through the runtime's
// poller, from a socket or a pipe of the system; the clock then has a descriptor and a goroutine from the first Set until
// Stop. Else it is a timer.
func New(polled bool, ring func()) *Clock { return &Clock{ring: ring, polled: polled} }

// Set has the function called after d. What was set before is forgotten. It does nothing once the clock is stopped.
func (c *Clock) Set(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return
	}
	if c.alarm == nil && c.polled {
		c.alarm = newDescriptor(c.ring)
	}
	if c.alarm == nil {
		c.alarm = newTimer(c.ring)
	}
	c.alarm.set(d)
}

// Stop ends the clock. The function may still be at work if the clock is a timer, else Stop waits for it.
func (c *Clock) Stop() {
	c.mu.Lock()
	a := c.alarm
	c.alarm, c.stopped = nil, true
	c.mu.Unlock()
	if a != nil {
		a.stop()
	}
}

// timer is an alarm anywhere.
type timer struct{ *time.Timer }

func newTimer(ring func()) alarm {
	t := timer{time.AfterFunc(time.Hour, ring)}
	t.Stop()
	return t
}

func (t timer) set(d time.Duration) { t.Reset(d) }
func (t timer) stop()               { t.Stop() }
