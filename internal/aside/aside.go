// Package aside runs what belongs to the program's user (ticks, log records, trace lines) away from the goroutines
// that move packets. A [Queue] never makes its producer wait: what does not fit is dropped and counted.
package aside

import (
	"context"
	"sync"
	"sync/atomic"
)

// DefaultSize is how many values a Queue holds where no size is given.
const DefaultSize = 1024

// keep is how many values' worth of memory an empty Queue may hold on to.
const keep = 64

// Queue hands values, in order, to one function on a goroutine of its own; a value that finds the queue full is
// dropped and counted. The goroutine starts with the first Put and goes away while the queue is empty. All methods may be
// called from any goroutine.
type Queue[T any] struct {
	size    int
	do      func(T)
	dropped atomic.Uint64
	panics  atomic.Uint64

	// mu guards what follows. do is not called under it.
	mu      sync.Mutex
	ring    []T // n values from ring[head], around the end
	head, n int
	running bool          // the goroutine is there
	closed  bool          // no more is taken
	idle    chan struct{} // closed when the goroutine goes away after Close; made by Close
}

// New returns a Queue of up to size values, DefaultSize if that is not positive, besides the one being handed over.
func New[T any](size int, do func(T)) *Queue[T] {
	if size <= 0 {
		size = DefaultSize
	}
	return &Queue[T]{size: size, do: do}
}

// Put puts v behind what is queued, and never blocks. It returns false if v was dropped, because the queue is
// full or closed.
func (q *Queue[T]) Put(v T) bool {
	q.mu.Lock()
	if q.closed || q.n == q.size {
		q.mu.Unlock()
		q.dropped.Add(1)
		return false
	}
	if q.n == len(q.ring) {
		q.grow()
	}
	q.ring[(q.head+q.n)%len(q.ring)] = v
	q.n++
	start := !q.running
	q.running = true
	q.mu.Unlock()
	if start {
		// The goroutine ends when the queue is empty; Close waits for it.
		go q.run()
	}
	return true
}

// Dropped returns how many values were dropped so far.
func (q *Queue[T]) Dropped() uint64 { return q.dropped.Load() }

// Panics returns how many values the function did not come back from, because it panicked or ended its goroutine.
func (q *Queue[T]) Panics() uint64 { return q.panics.Load() }

// Close lets nothing more in, and waits until what was put has been handed over and the function has returned, at
// most until ctx ends. If ctx ends first, what is left is dropped and counted, and the error is ctx's; a call of
// the function that does not return is left behind. Close may be called again, but not by the function.
func (q *Queue[T]) Close(ctx context.Context) error {
	q.mu.Lock()
	q.closed = true
	if !q.running {
		q.mu.Unlock()
		return nil
	}
	if q.idle == nil {
		q.idle = make(chan struct{})
	}
	idle := q.idle
	q.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.running {
		return nil
	}
	q.dropped.Add(uint64(q.n))
	q.ring, q.head, q.n = nil, 0, 0
	return ctx.Err()
}

// run is the goroutine.
func (q *Queue[T]) run() {
	empty := false
	defer func() {
		// A function that ends its goroutine must not end the queue with it.
		if !empty {
			go q.run()
		}
	}()
	for {
		v, ok := q.take()
		if !ok {
			empty = true
			return
		}
		q.call(v)
	}
}

// take takes the first value, or marks the goroutine as gone.
func (q *Queue[T]) take() (v T, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n == 0 {
		q.running = false
		if len(q.ring) > keep {
			q.ring, q.head = nil, 0
		}
		if q.idle != nil {
			close(q.idle)
			q.idle = nil
		}
		return v, false
	}
	var zero T
	v, q.ring[q.head] = q.ring[q.head], zero
	q.head = (q.head + 1) % len(q.ring)
	q.n--
	return v, true
}

func (q *Queue[T]) call(v T) {
	returned := false
	defer func() {
		if !returned {
			recover()
			q.panics.Add(1)
		}
	}()
	q.do(v)
	returned = true
}

// grow doubles the ring, up to size. It is called with mu held.
func (q *Queue[T]) grow() {
	ring := make([]T, min(max(2*len(q.ring), 8), q.size))
	k := copy(ring, q.ring[q.head:])
	copy(ring[k:], q.ring[:q.head])
	q.ring, q.head = ring, 0
}
