package prpc

import (
	"fmt"
	"time"
)

// Limits bounds what one connection may take. A zero field means its default.
type Limits struct {
	// MessageBytes is the size of one message, in bytes. A larger one from
	// the peer ends the connection with close code 1009; a larger one of our
	// own fails its call with ErrTooLarge, because the peer would end the connection.
	// Default 4 MiB, what the original's transport takes; maximum 1 GiB, so that lengths
	// fit everywhere.
	MessageBytes int
	// Depth is how deeply arrays and maps of one message may be nested, the message
	// itself included. Default 512, which is what the original's decoder takes;
	// maximum 10,000, since decoding recurses.
	Depth int
	// Elements is the number of values in one message, keys included. An element of
	// one byte on the wire takes up to 40 bytes when it is decoded, so this bounds
	// the memory a small message can ask for. Default 1 Mi, maximum 64 Mi.
	Elements int
	// Calls is the number of the peer's calls that may run at the same time; more are
	// answered with status 30. Default 16,384, far more than a peer
	// that waits for answers has in flight; maximum 1 Mi.
	Calls int
	// StreamBytes is the size of the messages one stream may hold unread. Beyond it
	// the call ends with status 30, or is cancelled with ErrStreamOverflow.
	// Default 4 MiB: one message of the largest size; maximum 1 GiB.
	StreamBytes int
	// BufferBytes is the size of the messages all streams of the connection together may hold
	// unread, so that many slow streams cannot add up. Default 64 MiB, maximum 1 GiB.
	BufferBytes int
	// SendBytes is the size of the messages that may wait to be written. Calls,
	// stream messages and answers wait for room, in order, within their contexts.
	// What the receiver has to say cannot wait; when that passes four times this
	// size, the connection ends with ErrSendOverflow. Default 1 MiB, which keeps
	// a fast writer busy; maximum 1 GiB.
	SendBytes int
}

const (
	// streamMessages is the number of unread messages from which on a
	// stream's reader must not stand still: the size of the original's buffer.
	streamMessages = 32
	// defaultHandshakeTimeout is the original's.
	defaultHandshakeTimeout = 60 * time.Second
	// defaultReadTimeout is the original's STREAM_READ_TIMEOUT.
	defaultReadTimeout = 5 * time.Second
	// defaultCallDelay is twice the pause after which the original was seen to
	// take a call behind its handshake.
	defaultCallDelay = 100 * time.Millisecond
	// defaultPingAfter and defaultPingTimeout are the original's heartbeat.
	defaultPingAfter   = 10 * time.Second
	defaultPingTimeout = 5 * time.Second
	// drainTimeout is how long a close waits for messages accepted earlier to
	// be written; a peer that reads takes them at once.
	drainTimeout = time.Second
	// closeTimeout is how long a close waits for the peer to close too. A
	// live peer answers within a round trip.
	closeTimeout = time.Second
	// verdictTimeout is how long a failed write waits for the receiver to say why. What the peer
	// sent before it closed is there already.
	verdictTimeout = 100 * time.Millisecond
	// controlFactor times SendBytes ends the connection, see Limits.SendBytes.
	controlFactor = 4
	// idleMethods is the number of goroutines kept for the next calls, which is more than
	// are needed at once by calls that come one by one.
	idleMethods = 64
	// idBytes is the size of a call id the peer chooses. Ids are numbers; a text id
	// is kept for as long as its call runs.
	idBytes = 1 << 10
	// aloneBytes is the size up to which a message may be written by the goroutine it
	// comes from: what a socket's buffer takes at once.
	aloneBytes = 4 << 10
	// minPortion and maxPortion are how many answers are held back at most to leave together, while there are more calls to answer:
	// enough to make the write cheap at both ends, and few enough that a peer with twice as many calls in flight, or with some dozens,
	// has work of its own meanwhile.
	minPortion = 16
	maxPortion = 32
	// heldReads is how many reads answers are held back at most, while each read finds something at once: enough for a portion to
	// come together from a peer that calls, and few enough that one which sends much else does not notice.
	heldReads = 16
	// lentBytes is the size, in bytes and with its frame's header, of the largest message that is used where it was read to. Larger ones
	// are read to memory of their own.
	lentBytes = 16 << 10
	// eagerUpTo is how many messages may have come since receiving last waited, for it to look for more before it waits again. A peer
	// with more calls in flight keeps both ends at work anyway.
	eagerUpTo = 64
	// controlBytes is how many bytes of control frames may wait behind a write that the peer does not
	// take, such as answers to its pings; beyond, the connection ends. One has at most 131 bytes.
	controlBytes = 64 << 10
	// keptBuffer is the largest buffer kept for the next message, in bytes;
	// nearly all messages are smaller.
	keptBuffer = 64 << 10
)

// limit is one row of the table that fills Limits in.
type limit struct {
	name              string
	value             *int
	standard, maximum int
}

func (l *Limits) table() []limit {
	return []limit{
		{"MessageBytes", &l.MessageBytes, 4 << 20, 1 << 30},
		{"Depth", &l.Depth, 512, 10_000},
		{"Elements", &l.Elements, 1 << 20, 64 << 20},
		{"Calls", &l.Calls, 16_384, 1 << 20},
		{"StreamBytes", &l.StreamBytes, 4 << 20, 1 << 30},
		{"BufferBytes", &l.BufferBytes, 64 << 20, 1 << 30},
		{"SendBytes", &l.SendBytes, 1 << 20, 1 << 30},
	}
}

// withDefaults fills in zero fields and refuses what is out of range.
func (l Limits) withDefaults() (Limits, error) {
	for _, row := range l.table() {
		switch {
		case *row.value == 0:
			*row.value = row.standard
		case *row.value < 0 || *row.value > row.maximum:
			return l, fmt.Errorf("prpc: Limits.%s is %d, not between 1 and %d", row.name, *row.value, row.maximum)
		}
	}
	return l, nil
}
