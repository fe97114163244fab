package pconn

import (
	"net"
	"time"
)

// streamDeadline is a read or write deadline. Guarded by Conn.mu.
type streamDeadline struct {
	passed bool
	timer  *time.Timer
	set    uint64 // how many times it was: a timer that was too late to be stopped compares
}

func (d *streamDeadline) stop() {
	d.set++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

func (s *Stream) setDeadline(d *streamDeadline, wake func(), t time.Time) error {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.closed {
		return s.opError("set deadline", net.ErrClosed)
	}
	d.stop()
	d.passed = false
	if t.IsZero() {
		return nil
	}
	left := time.Until(t)
	if left <= 0 {
		d.passed = true
		wake()
		return nil
	}
	set := d.set
	d.timer = time.AfterFunc(left, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if d.set == set {
			d.passed = true
			wake()
		}
	})
	return nil
}

// waitWake waits to be poked, without Conn.mu, which is held before and after. Who is poked looks at the
// state again: there is one goroutine to a channel, and a poke before the wait counts.
func (c *Conn) waitWake(wake *chan struct{}) {
	if *wake == nil {
		*wake = make(chan struct{}, 1)
	}
	w := *wake
	c.mu.Unlock()
	<-w
	c.mu.Lock()
}

// poke wakes who waits in waitWake, or the next who would. Conn.mu is held.
func poke(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// locked calls f with Conn.mu held.
func (c *Conn) locked(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}
