package eventstream

import "sync"

// event is one thing to be told to the application of a client connection.
type event struct {
	kind    eventKind
	stream  *Continuation
	message *Message
	flushed func(error)
	err     error
	budget  *budget // where weight goes back to after the callback
	weight  int64
}

type eventKind int

const (
	eventSetup eventKind = iota
	eventProtocolMessage
	eventStreamMessage
	eventFlushed
	eventTerminated // the end of a stream that this end terminated, then its flush notification
	eventStreamClosed
	eventEnd
)

// events is the queue in front of the callbacks' goroutine. What it holds is bounded by the budgets that
// its events carry.
type events struct {
	wake chan struct{} // capacity 1

	mu    sync.Mutex // guards queue
	queue []event
}

func newEvents() *events { return &events{wake: make(chan struct{}, 1)} }

func (q *events) post(e event) {
	q.mu.Lock()
	q.queue = append(q.queue, e)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// wait returns everything that is queued, once something is. spare becomes the next queue.
func (q *events) wait(spare []event) []event {
	for {
		q.mu.Lock()
		batch := q.queue
		if len(batch) > 0 {
			q.queue = spare[:0]
			q.mu.Unlock()
			return batch
		}
		q.mu.Unlock()
		<-q.wake
	}
}
