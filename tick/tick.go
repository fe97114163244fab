package tick

import (
	"context"

	"github.com/packetstream/packetstream/internal/aside"
)

// Symbol is what is reported of one event.
type Symbol uint8

const (
	// Received is "<", a packet received.
	Received Symbol = iota
	// Sent is ">", a packet sent.
	Sent
	// Grace is "Sg": the wait before a flush begins.
	Grace
	// Flush is "F": what was sent is given to the system.
	Flush
	// EOF is ">EOF", the end of sending.
	EOF
)

var symbols = [...]string{Received: "<", Sent: ">", Grace: "Sg", Flush: "F", EOF: ">EOF"}

// String returns the symbol as it is written. A value that is none of the constants is "?".
func (s Symbol) String() string {
	if int(s) < len(symbols) {
		return symbols[s]
	}
	return "?"
}

// queued is how many ticks may wait for the function: about what a burst of packets makes while one line is written.
const queued = 1024

// Ticker hands ticks to a function, in order, on a goroutine of its own that is there only while there are any. A nil
// *Ticker is off. All methods may be called from any goroutine.
type Ticker struct {
	queue *aside.Queue[Symbol]
	text  []byte // of the symbol being handed over; used by the queue's goroutine only
}

// New returns a Ticker that calls f with each symbol. The slice is valid during the call only. A panic of f is
// contained. With a nil f it returns nil, which is off.
func New(f func([]byte)) *Ticker {
	if f == nil {
		return nil
	}
	t := &Ticker{}
	t.queue = aside.New(queued, func(s Symbol) {
		t.text = append(t.text[:0], s.String()...)
		f(t.text)
	})
	return t
}

// Tick reports one event, and whether it was taken. It never blocks: if too many are waiting, the tick is dropped and
// counted.
func (t *Ticker) Tick(s Symbol) bool {
	return t == nil || t.queue.Put(s)
}

// Dropped returns how many ticks never reached the function. What Stderr itself drops is counted by StderrDropped.
func (t *Ticker) Dropped() uint64 {
	if t == nil {
		return 0
	}
	return t.queue.Dropped()
}

// Close waits until the function has had all ticks, at most until ctx ends, whose error it then returns; what is
// left then is dropped and counted. Later ticks are dropped.
func (t *Ticker) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.queue.Close(ctx)
}
