package pconn

import "time"

// Data of a stream is credited: an end sends as many bytes as the other has allowed, which allows more as
// its reader takes them. The types of this file are the arithmetic of that, and nothing else.

// recvWindow is what this end allows the peer to send on one stream. At any time
//
//	size = bytes that wait for the reader + left + taken
//
// and what is taken is allowed again in lumps of at least a quarter of size, so that the peer never
// sends in crumbs for want of more: half of it where the window has grown for that, see nearWindow.
//
// A sender that waits for its window gets a whole one through in each round trip, whatever the link could carry. So
// the window doubles where a whole one was taken within two round trips while hardly anything waited for the reader. It
// does not where the reader is what is slow, nor once the window is more than the link carries in two round trips.
type recvWindow struct {
	size   int64 // what the peer may have sent and the reader not taken
	left   int64 // what the peer may still send
	taken  int64 // what the reader took and the peer does not know of
	shared int64 // how much of size is from the budget

	alone bool  // nothing but data of streams comes
	near  int64 // how much of shared there is because of that

	company  bool  // requests or answers come beside the data
	withheld int64 // how much less size is because of that

	since instant // when the allowing began that made up paced; 0 before the first
	paced int64   // what was allowed since then
}

// received counts n bytes that arrived, and reports false if the peer may not have sent them.
func (w *recvWindow) received(n int64) bool {
	if n > w.left {
		return false
	}
	w.left -= n
	return true
}

// take counts n bytes that the reader took, and reports whether it is time to allow the peer more.
func (w *recvWindow) take(n int64) bool {
	w.taken += n
	lump := w.size / 4
	if w.near > 0 {
		lump = w.size / 2
	}
	return w.taken >= max(1, lump)
}

// allow returns what the peer is to be allowed now, which is what was taken, and more or less than that where the
// window grows, up to most, or shrinks because the budget is needed for others or others' packets would wait. trip is the
// round trip, 0 if it is not known.
func (w *recvWindow) allow(now instant, trip time.Duration, b *budget, most int64) (amount int64, grew bool) {
	w.paced += w.taken
	if w.since == 0 || trip < leastTrip || now.since(w.since) >= 2*trip {
		w.since, w.paced = now, 0
	}
	waiting := w.size - w.left - w.taken
	switch {
	case !w.alone && w.near > 0:
		less := min(w.near, w.taken)
		w.near -= less
		w.shrink(less, b)
	case w.company && w.size > besideWindow && 0 < trip && trip < leastTrip:
		w.withhold(min(w.size-besideWindow, w.taken))
	case w.withheld > 0 && (!w.company || trip >= leastTrip):
		w.withhold(-w.withheld)
	case w.paced >= w.size && waiting <= w.size/4 && w.size < most:
		more := b.grow(min(w.size, most-w.size))
		w.resize(more)
		w.since, w.paced, grew = now, 0, more > 0
	case w.alone && w.size < nearWindow && 0 < trip && trip < leastTrip && waiting <= w.size/4 && !b.short():
		more := b.grow(min(w.size, nearWindow-w.size, most-w.size))
		w.resize(more)
		w.near += more
	case w.size > leastWindow && w.shared > 0 && b.short():
		w.shrink(min(w.shared, w.taken, w.size-leastWindow), b)
	}
	amount = w.taken
	w.left += amount
	w.taken = 0
	return amount, grew
}

// shrink gives back to the budget what is then not allowed again.
func (w *recvWindow) shrink(less int64, b *budget) {
	b.used -= less
	w.paced -= less
	w.resize(-less)
}

// withhold makes the window smaller for a while, or as large again.
func (w *recvWindow) withhold(less int64) {
	w.size -= less
	w.taken -= less
	w.withheld += less
}

// resize changes the window by what was taken from the budget or given back.
func (w *recvWindow) resize(n int64) {
	w.size += n
	w.taken += n
	w.shared += n
	w.near = min(w.near, w.shared)
}

// budget is the memory that a connection's windows may promise beyond what the streams that the peer may
// open begin with. Its last quarter is for the streams that this end opens: windows do not grow into it.
type budget struct{ max, used int64 }

// take returns how much of want there is, having taken it.
func (b *budget) take(want int64) int64 {
	n := max(0, min(want, b.max-b.used))
	b.used += n
	return n
}

// grow is take for a window that grows: it gets half of what is left at most, so that there is some for the next.
func (b *budget) grow(want int64) int64 { return b.take(min(want, (b.max/4*3-b.used)/2)) }

// short says that most of the budget is used: windows that have grown should shrink.
func (b *budget) short() bool { return b.used > b.max/4*3 }

// roundTrip is how long it takes to the peer and back: the least that was measured of late, since it takes longer
// behind data that is on its way.
type roundTrip struct {
	known         bool
	asked         bool          // a PING is under way
	doubtful      bool          // it is to be measured again
	since         instant       // when the period began
	least, before time.Duration // in the period, and in the one before it
}

// tripPeriod is how long a round trip counts, and as long again as that of the period before.
const tripPeriod = 10 * time.Second

// nearWindow is what a window grows to on a shorter way than leastTrip while nothing but the data of streams comes. It is then
// allowed in lumps of half of it, each of which wakes the sender. What others begin to send has so much in front of it,
// until the window is back at what it was.
const nearWindow = 768 << 10

// besideWindow is what a larger window shrinks to on such a way while requests or answers come beside the data: they wait for
// what is on its way, and half as much does nearly as well for the stream.
const besideWindow = 128 << 10

// leastRest is which part of a window is worth a CREDIT of its own where the reader has taken all that has come.
const leastRest = 32

// leastTrip is the round trip from which windows grow. On a shorter way the first window is not what holds a stream up,
// and a larger one would only fill the pipe in front of everybody else's requests.
const leastTrip = time.Millisecond

// measured counts a round trip that has just ended.
func (r *roundTrip) measured(trip time.Duration, now instant) {
	r.asked = false
	trip = max(trip, 1)
	switch {
	case !r.known:
		r.known, r.since, r.least, r.before = true, now, trip, trip
	case now.since(r.since) >= tripPeriod:
		r.since, r.least, r.before = now, trip, r.least
	default:
		r.least = min(r.least, trip)
	}
}

// time returns the round trip, or 0 if it is not known.
func (r *roundTrip) time() time.Duration { return min(r.least, r.before) }

// ask reports whether a PING is to be sent to measure the round trip, and counts it as sent.
func (r *roundTrip) ask(now instant) bool {
	if r.asked || r.known && !r.doubtful && now.since(r.since) < tripPeriod {
		return false
	}
	r.asked, r.doubtful = true, false
	return true
}

// sendWindow is what the peer allows this end to send on one stream.
type sendWindow struct{ credit int64 }

// maxCredit is the most that may be allowed in all and not used, 1 TiB: more is an error of the peer's
// arithmetic.
const maxCredit = 1 << 40

// allow counts what the peer allows, and reports false if that is nothing, or more than can be meant.
func (w *sendWindow) allow(n uint64) bool {
	if n == 0 || n > maxCredit || w.credit+int64(n) > maxCredit {
		return false
	}
	w.credit += int64(n)
	return true
}
