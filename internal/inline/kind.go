package inline

import (
	"hash/maphash"
	"time"
)

// Kind is what is known of one kind of handlers: those of a method, or of a type of request. It belongs to whoever
// receives.
type Kind struct {
	runs      uint32 // since the kind was last seen to wait
	long      uint32 // timed runs, one after another, that took long
	elsewhere uint32 // how many handlers have goroutines of their own before the next try
	penalty   uint32 // how many it was the last time
}

const (
	// A kind that was seen to wait is tried again after minPenalty handlers, and after twice as many each time
	// that it is seen again before as many runs went well.
	minPenalty = 256
	maxPenalty = 1 << 16

	// longRun is the time from which a handler has a goroutine of its own, since another core may run it
	// meanwhile. One run of sampleRuns is timed, and longRuns of those must be long in a row: one may be
	// the system's doing.
	longRun    = 20 * time.Microsecond
	longRuns   = 4
	sampleRuns = 16

	// minPatience is the watchdog's period while a kind is new, and after a look that has found a handler at work. So a handler
	// that waits holds receiving up for at most a period and this, once in a while.
	minPatience = 200 * time.Microsecond

	// trust is by how much each run that went well lengthens the period for its kind, up to maxPatience: so a kind
	// that waits after all has held receiving up for little more than 1 µs for each of its runs before. A look wakes a thread, and
	// with one request at a time costs more than the request.
	trust       = time.Microsecond
	maxPatience = 10 * time.Millisecond
)

// MayRun says whether the next handler is to be run by Run, and counts it if it is not.
func (k *Kind) MayRun() bool {
	if k.elsewhere > 0 {
		k.elsewhere--
		return false
	}
	return true
}

func (k *Kind) patience() time.Duration {
	return min(max(time.Duration(k.runs)*trust, minPatience), maxPatience)
}

// waited remembers that a handler did not return at once.
func (k *Kind) waited() {
	if k.runs > k.penalty {
		k.penalty = 0
	}
	k.penalty = min(max(2*k.penalty, minPenalty), maxPenalty)
	k.elsewhere, k.runs, k.long = k.penalty, 0, 0
}

// took remembers how long a timed run took.
func (k *Kind) took(d time.Duration) {
	if d < longRun {
		k.long = 0
		return
	}
	k.long++
	if k.long == longRuns {
		k.waited()
	}
}

// kinds is how many kinds are told apart. A peer that calls many names cannot make a table grow.
const kinds = 64

// Kinds tells kinds apart by name. The zero value is ready. It belongs to whoever receives.
type Kinds struct {
	seed  maphash.Seed
	table *[kinds]Kind // made for the first request
}

// Of returns what is known of the handlers of a name.
func (t *Kinds) Of(name []byte) *Kind {
	if t.table == nil {
		t.seed, t.table = maphash.MakeSeed(), new([kinds]Kind)
	}
	return &t.table[maphash.Bytes(t.seed, name)%kinds]
}
