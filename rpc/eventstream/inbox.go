package eventstream

import (
	"context"
	"sync"
)

// inbox holds the messages of one stream until its user takes them. Their weight belongs to the
// connection's receive budget and is given back when they are taken or dropped.
type inbox struct {
	budget *budget
	wake   chan struct{} // capacity 1

	mu    sync.Mutex // guards the fields below
	queue []held
	head  int   // of queue; those before it were taken
	err   error // what take returns once the queue is empty
	shut  bool  // nobody will take any more
}

type held struct {
	message *Message
	weight  int64
}

func newInbox(b *budget) *inbox {
	return &inbox{budget: b, wake: make(chan struct{}, 1)}
}

func (b *inbox) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// put adds a message. If end is not nil the message is the last, and take returns end after it.
func (b *inbox) put(m *Message, weight int64, end error) {
	b.mu.Lock()
	dropped := b.shut || b.err != nil
	if !dropped {
		if b.head > 0 && len(b.queue) == cap(b.queue) {
			n := copy(b.queue, b.queue[b.head:])
			clear(b.queue[n:])
			b.queue, b.head = b.queue[:n], 0
		}
		b.queue = append(b.queue, held{m, weight})
		b.err = end
	}
	b.mu.Unlock()
	if dropped {
		b.budget.give(weight)
		return
	}
	b.signal()
}

// isEmpty reports whether take would wait.
func (b *inbox) isEmpty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.head == len(b.queue) && b.err == nil
}

// end makes take return err once the queue is empty. The first call counts.
func (b *inbox) end(err error) {
	b.mu.Lock()
	if b.err == nil {
		b.err = err
	}
	b.mu.Unlock()
	b.signal()
}

// shutDown drops what is queued and all that comes later.
func (b *inbox) shutDown(err error) {
	b.mu.Lock()
	queue := b.queue[b.head:]
	b.queue, b.head, b.shut = nil, 0, true
	if b.err == nil {
		b.err = err
	}
	b.mu.Unlock()
	for _, h := range queue {
		b.budget.give(h.weight)
	}
	b.signal()
}

// take returns the next message. What is queued comes before the end, and either before ctx's.
func (b *inbox) take(ctx context.Context) (*Message, error) {
	for {
		m, err := b.poll()
		if m != nil || err != nil {
			return m, err
		}
		select {
		case <-b.wake:
		case <-ctx.Done():
			if m, err := b.poll(); m != nil || err != nil {
				return m, err
			}
			return nil, ctx.Err()
		}
	}
}

// poll returns the next message or the end, or neither.
func (b *inbox) poll() (*Message, error) {
	b.mu.Lock()
	var next held
	if b.head < len(b.queue) {
		next = b.queue[b.head]
		b.queue[b.head] = held{}
		b.head++
	}
	more := b.head < len(b.queue) || b.err != nil
	err := b.err
	b.mu.Unlock()
	if more {
		// There may be another who waits.
		b.signal()
	}
	if next.message != nil {
		b.budget.give(next.weight)
		return next.message, nil
	}
	return nil, err
}
