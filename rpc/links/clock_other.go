//go:build !linux

package links

import "time"

// clock calls a function some time after it was set.
type clock struct{ timer *time.Timer }

// newClock makes a clock for the function, which must not wait.
func newClock(f func()) *clock {
	c := &clock{time.AfterFunc(time.Hour, f)}
	c.timer.Stop()
	return c
}

// set has the function called after d.
func (c *clock) set(d time.Duration) { c.timer.Reset(d) }

// stop ends the clock.
func (c *clock) stop() { c.timer.Stop() }
