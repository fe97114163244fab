package prpc

import (
	"context"
	"runtime"
	"sync"
)

// sendQueue holds the encoded messages that wait for the sender. Producers wait
// for room in the order they came.
//
// Who writes holds a token: the sender, or a producer that found nobody writing and
// nothing else to do, whose message then leaves without waking the sender.
type sendQueue struct {
	capacity int   // bytes at which producers begin to wait
	try      trier // nil if the carrier cannot write without waiting

	// mu guards everything below. Nobody blocks or writes under it.
	mu      sync.Mutex
	batch   []*buffer
	bytes   int // of the messages queued and being written
	waiters []*sendWaiter
	failed  error // why nothing more is taken
	closing bool  // the sender is to end when the queue is empty
	writing bool  // somebody holds the token
	rest    bool  // the carrier holds what it could not write without waiting
	passed  int   // times since the last flush that flushOverdue has left something queued
	// spare and messages are memory for the next flush. They belong to who holds the token.
	spare    []*buffer
	messages [][]byte
	// wake has room for one token, which says that there may be something to do for
	// the sender.
	wake chan struct{}
}

// sendWaiter is a producer that waits for room.
type sendWaiter struct {
	message *buffer
	taken   chan struct{} // closed when the message is queued or refused
	err     error         // set before taken is closed
}

// buffer is an encoded message whose memory is used again.
type buffer struct{ b []byte }

var buffers = sync.Pool{New: func() any { return new(buffer) }}

func newBuffer() *buffer { return buffers.Get().(*buffer) }

// free gives the memory back. Large buffers are left to the collector.
func (m *buffer) free() {
	if cap(m.b) > keptBuffer {
		return
	}
	m.b = m.b[:0]
	buffers.Put(m)
}

// trier is a Carrier that can write without waiting for the peer.
type trier interface {
	// trySend is a Send that writes what it can at once. If it reports false, the
	// carrier holds the rest, and the next Send writes it first. An error
	// comes back from that Send, too.
	trySend(messages ...[]byte) bool
}

// buffering is a Carrier that knows what it reads from.
type buffering interface {
	// more reports whether a whole message has been read ahead, so that Receive would not wait. It is the receiver's to call.
	more() bool
	// polled reports whether what it reads comes through the runtime's poller.
	polled() bool
}

// lender is a Carrier that can do without memory for a message.
type lender interface {
	// borrow is Receive, but for that a message which is lent belongs to the carrier, which does not read until giveBack is called.
	borrow() (message []byte, lent bool, err error)
	giveBack()
	// beforeWait has f called whenever borrow, or Close while the peer has yet to close too, is about to wait. f must not wait.
	beforeWait(f func())
	// recent returns how many messages have come since it last waited, or between that and the wait before if those were more. It is
	// the receiver's to call.
	recent() int
}

func newSendQueue(capacity int, carrier Carrier) *sendQueue {
	q := &sendQueue{capacity: capacity, wake: make(chan struct{}, 1)}
	q.try, _ = carrier.(trier)
	return q
}

// putAlone is put for a message that has nothing to wait for: it is written
// at once if nobody is writing.
func (q *sendQueue) putAlone(ctx context.Context, m *buffer) error {
	q.mu.Lock()
	if q.try == nil || q.failed != nil || q.writing || len(q.batch) > 0 || len(q.waiters) > 0 || len(m.b) > aloneBytes {
		q.mu.Unlock()
		return q.put(ctx, m)
	}
	q.writing = true
	q.mu.Unlock()
	q.messages = append(q.messages[:0], m.b)
	done := q.try.trySend(q.messages...)
	clear(q.messages)
	m.free()
	q.mu.Lock()
	q.writing = false
	q.rest = !done
	more := q.rest || len(q.batch) > 0 || q.failed != nil
	q.mu.Unlock()
	if more {
		q.signal()
	}
	return nil
}

// hold queues a message for flush, without waiting, and reports whether that makes a portion. It takes no message if there is
// no room.
func (q *sendQueue) hold(m *buffer, portion int) (taken, enough bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.failed != nil:
		m.free()
		return true, false
	case len(q.waiters) > 0 || q.bytes >= q.capacity:
		return false, false
	}
	q.add(m)
	return true, len(q.batch) >= portion
}

// flushOverdue is flush if what is queued is a single message, which gains nothing by waiting for others, or has been passed over
// heldReads times.
func (q *sendQueue) flushOverdue() {
	q.mu.Lock()
	if len(q.batch) > 0 {
		q.passed++
	}
	overdue := len(q.batch) == 1 || q.passed > heldReads
	q.mu.Unlock()
	if overdue {
		q.flush()
	}
}

// flush sees to it that what is queued leaves: it writes at once, without waiting, if nobody is writing, or leaves it to
// the sender.
func (q *sendQueue) flush() {
	q.mu.Lock()
	q.passed = 0
	if len(q.batch) == 0 {
		q.mu.Unlock()
		return
	}
	if q.try == nil || q.failed != nil || q.writing || q.rest || q.bytes > keptBuffer {
		q.mu.Unlock()
		q.signal()
		return
	}
	batch := q.batch
	q.batch = q.spare[:0]
	q.writing = true
	q.mu.Unlock()
	messages := q.messages[:0]
	for _, m := range batch {
		messages = append(messages, m.b)
	}
	done := q.try.trySend(messages...)
	clear(messages)
	q.messages = messages
	q.spare = batch[:0]
	q.written(batch, !done)
}

// put queues a message, which then belongs to the queue, and waits for room.
// It returns the context's error, or the reason for which the queue ended.
func (q *sendQueue) put(ctx context.Context, m *buffer) error {
	q.mu.Lock()
	if q.failed != nil {
		err := q.failed
		q.mu.Unlock()
		m.free()
		return err
	}
	if len(q.waiters) == 0 && q.bytes < q.capacity {
		q.add(m)
		q.mu.Unlock()
		q.signal()
		return nil
	}
	w := &sendWaiter{message: m, taken: make(chan struct{})}
	q.waiters = append(q.waiters, w)
	q.mu.Unlock()
	select {
	case <-w.taken:
		return w.err
	case <-ctx.Done():
		return q.abandon(ctx, w)
	}
}

// abandon takes a waiter out of the line, unless its message was queued already.
func (q *sendQueue) abandon(ctx context.Context, w *sendWaiter) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range q.waiters {
		if q.waiters[i] == w {
			q.waiters = append(q.waiters[:i], q.waiters[i+1:]...)
			w.message.free()
			return ctx.Err()
		}
	}
	return w.err
}

// putNow queues a message without waiting. It reports false when the queue is far over
// its capacity.
func (q *sendQueue) putNow(m *buffer) bool {
	q.mu.Lock()
	if q.failed != nil {
		q.mu.Unlock()
		m.free()
		return true
	}
	if q.bytes > controlFactor*q.capacity {
		q.mu.Unlock()
		return false
	}
	q.add(m)
	q.mu.Unlock()
	q.signal()
	return true
}

// add queues a message. The caller holds mu.
func (q *sendQueue) add(m *buffer) {
	q.batch = append(q.batch, m)
	q.bytes += len(m.b)
}

func (q *sendQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns the messages to write now, in exchange for an empty slice. It
// reports false when the queue has ended and everything was taken.
func (q *sendQueue) take(spare []*buffer) ([]*buffer, bool) {
	for {
		q.mu.Lock()
		batch, more := q.batch, !q.closing && q.failed == nil
		if !q.writing && (len(batch) > 0 || q.rest) {
			q.batch = spare
			q.writing = true
			q.rest = false
			q.mu.Unlock()
			return batch, true
		}
		more = more || q.writing
		q.mu.Unlock()
		if !more {
			return nil, false
		}
		<-q.wake
		// Others that are about to queue a message get to it now, so that it leaves with
		// this one.
		runtime.Gosched()
	}
}

// written gives the token back: it frees a batch, notes whether the carrier holds a rest of it, and lets waiting
// producers in.
func (q *sendQueue) written(batch []*buffer, rest bool) {
	size := 0
	for i, m := range batch {
		size += len(m.b)
		m.free()
		batch[i] = nil
	}
	q.mu.Lock()
	q.bytes -= size
	q.writing = false
	q.rest = rest
	for len(q.waiters) > 0 && q.bytes < q.capacity {
		w := q.waiters[0]
		q.waiters[0] = nil
		q.waiters = q.waiters[1:]
		q.add(w.message)
		close(w.taken)
	}
	more := rest || len(q.batch) > 0 || q.failed != nil
	q.mu.Unlock()
	if more {
		q.signal()
	}
}

// finish lets the sender write what is queued and then end; nothing more is taken.
func (q *sendQueue) finish(err error) {
	q.mu.Lock()
	q.refuse(err)
	q.closing = true
	q.mu.Unlock()
	q.signal()
}

// abort drops what is queued.
func (q *sendQueue) abort(err error) {
	q.mu.Lock()
	q.refuse(err)
	for _, m := range q.batch {
		m.free()
	}
	q.batch = nil
	q.mu.Unlock()
	q.signal()
}

// refuse makes every producer fail. The caller holds mu.
func (q *sendQueue) refuse(err error) {
	if q.failed == nil {
		q.failed = err
	}
	for _, w := range q.waiters {
		w.err = q.failed
		w.message.free()
		close(w.taken)
	}
	q.waiters = nil
}
