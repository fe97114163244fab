package pconn

import (
	"context"
	"sync"
)

// line is a queue of goroutines that wait for room, in order. Only the first is woken; it takes what
// it needs and wakes the next if there is room left. Guarded by Conn.mu.
type line struct{ head, tail *waiter }

// waiter is one goroutine in a line. Its channel takes one token at a time.
type waiter struct {
	wake       chan struct{}
	prev, next *waiter
}

func (l *line) empty() bool { return l.head == nil }

func (l *line) join(w *waiter) {
	w.prev, w.next = l.tail, nil
	if l.tail == nil {
		l.head = w
	} else {
		l.tail.next = w
	}
	l.tail = w
}

func (l *line) leave(w *waiter) {
	if w.prev == nil {
		l.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
}

// wakeFirst tells the first in line to look again.
func (l *line) wakeFirst() {
	if l.head == nil {
		return
	}
	select {
	case l.head.wake <- struct{}{}:
	default: // it has been told already
	}
}

// waitFor waits in line until ready says that there is room, or that there is nothing to wait for any
// more. It is called and returns with Conn.mu held, and ready is asked with the lock held, only of
// the first in line. Whoever waited successfully wakes the next. The error is ctx's.
func (c *Conn) waitFor(ctx context.Context, l *line, ready func() bool) error {
	if c.freeWaiters == nil {
		c.freeWaiters = new(sync.Pool)
	}
	w, _ := c.freeWaiters.Get().(*waiter)
	if w == nil {
		w = &waiter{wake: make(chan struct{}, 1)}
	}
	l.join(w)
	for {
		c.mu.Unlock()
		var ctxEnded bool
		select {
		case <-w.wake:
		case <-ctx.Done():
			ctxEnded = true
		}
		c.mu.Lock()
		if !ctxEnded && (l.head != w || !ready()) {
			continue
		}
		l.leave(w)
		if ctxEnded {
			l.wakeFirst() // the token may have been meant for the one who went away
		}
		select {
		case <-w.wake:
		default:
		}
		c.freeWaiters.Put(w)
		if ctxEnded {
			return ctx.Err()
		}
		return nil
	}
}
