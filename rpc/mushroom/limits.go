package mushroom

import (
	"fmt"
	"time"
)

// Limits bounds what a peer can make this end hold. A zero field means its default; a value above its
// maximum is refused by the constructor that was given it.
type Limits struct {
	// MaxMessage is the size of one message, both ways and by every transport, in bytes. Default 1 MiB, at most 64 MiB: a
	// message is held whole in memory several times while it is read and answered.
	MaxMessage int
	// MaxBody is the size of one HTTP request body and of the messages in one poll answer, in bytes.
	// Default 4 MiB, at most 256 MiB. It should be above MaxMessage, or such a message cannot arrive.
	MaxBody int
	// MaxDepth is how deep arrays and objects may be nested in a message. Default 128, at most 10,000,
	// the bound of encoding/json. Real data is flat; deep data costs stack wherever it is decoded.
	MaxDepth int
	// MaxUnacked is how many sent messages may wait for the peer's acknowledgement. Default 16,384,
	// at most 1,048,576. It is what a peer that never acknowledges costs.
	MaxUnacked int
	// MaxUnackedBytes is how large those messages may be together, in bytes. Default 16 MiB, at most 1 GiB.
	MaxUnackedBytes int
	// MaxPending is how many of our requests may wait for their answer, and how many handlers may wait in
	// Session.Flush. Default 16,384, at most 1,048,576; each holds a caller.
	MaxPending int
	// MaxHandlers is how many handlers of one session may be at work at once; those that wait in
	// Session.Request or Session.Flush are not counted. Default 256, at most 65,536; each is a goroutine.
	MaxHandlers int
	// MaxInbox is how many messages may wait for a handler; together they may be as large as
	// MaxUnackedBytes. Reading from the peer pauses there. Default 1,024, at most 65,536.
	MaxInbox int
	// MaxSessions is how many sessions a server keeps. Default 65,536, at most 16,777,216. It bounds
	// what clients that open sessions and leave cost.
	MaxSessions int
}

// times are those that are not worth an option. Each bounds how long a peer can hold a goroutine.
type times struct {
	// write is for one write to a websocket or stream, and for one poll answer: a peer that takes nothing
	// for so long is gone.
	write time.Duration
	// body is for reading one HTTP request body.
	body time.Duration
	// close is how long Close waits for what was queued to be written.
	close time.Duration
	// closeGrace is how long a closed websocket waits for the peer's close frame. The original does not
	// wait at all.
	closeGrace time.Duration
	// lastPoll is how long a poll session that the server closed waits for one more poll, to hand over
	// what was sent. It covers a client that is between two polls.
	lastPoll time.Duration
	// drain is how long notifications that were taken before a session's end may run on with a live
	// context.
	drain time.Duration
	// ping is how long a websocket may take to answer a ping.
	ping time.Duration
	// pollGrace is how long a poll that has something to answer waits for handlers at work, so that what
	// they send in one burst leaves in one answer.
	pollGrace time.Duration
}

var normalTimes = times{
	write:      30 * time.Second,
	body:       30 * time.Second,
	close:      5 * time.Second,
	closeGrace: 250 * time.Millisecond,
	lastPoll:   5 * time.Second,
	drain:      5 * time.Second,
	ping:       15 * time.Second,
	pollGrace:  5 * time.Millisecond,
}

// Defaults of the options that are times.
const (
	defaultPollTimeout    = 40 * time.Second
	defaultSessionTimeout = 90 * time.Second
	defaultPingInterval   = 45 * time.Second
	defaultPostTimeout    = 15 * time.Second
	defaultRetryTimeout   = 60 * time.Second
	defaultPollWait       = defaultPollTimeout + 20*time.Second
)

const (
	// maxIDText is the length of an id's JSON text in bytes. Each heartbeat repeats it.
	maxIDText = 64
	// maxAnswer is the size of an HTTP answer that the client reads, in bytes. The original's server
	// answers with its whole list, whatever its size.
	maxAnswer = 64 << 20
	// maxAround is what a message that waits may hold beside its data, in bytes: method, ids and brackets.
	maxAround = 256
	// pumpBatch is how much is written to a websocket or stream between two looks for heartbeats, in bytes.
	pumpBatch = 64 << 10
	// sessionIDLength is the number of characters of a session's id: 131 bits from 62 characters.
	sessionIDLength = 22
)

// withDefaults fills in what is zero and refuses what is out of range.
func (l Limits) withDefaults() (Limits, error) {
	for _, f := range []struct {
		name         string
		value        *int
		normal, most int
	}{
		{"MaxMessage", &l.MaxMessage, 1 << 20, 64 << 20},
		{"MaxBody", &l.MaxBody, 4 << 20, 256 << 20},
		{"MaxDepth", &l.MaxDepth, 128, 10_000},
		{"MaxUnacked", &l.MaxUnacked, 1 << 14, 1 << 20},
		{"MaxUnackedBytes", &l.MaxUnackedBytes, 16 << 20, 1 << 30},
		{"MaxPending", &l.MaxPending, 1 << 14, 1 << 20},
		{"MaxHandlers", &l.MaxHandlers, 256, 1 << 16},
		{"MaxInbox", &l.MaxInbox, 1 << 10, 1 << 16},
		{"MaxSessions", &l.MaxSessions, 1 << 16, 1 << 24},
	} {
		if *f.value == 0 {
			*f.value = f.normal
		}
		if *f.value < 0 || *f.value > f.most {
			return l, fmt.Errorf("mushroom: limit %s is %d, want 1 to %d", f.name, *f.value, f.most)
		}
	}
	return l, nil
}
