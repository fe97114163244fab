package pconn

// Data of a stream is credited: an end sends as many bytes as the other has allowed, which allows more as
// its reader takes them. The three types of this file are the arithmetic of that, and nothing else.

// recvWindow is what this end allows the peer to send on one stream. At any time
//
//	size = bytes that wait for the reader + left + taken
//
// and what is taken is allowed again in lumps of at least a quarter of size, so that the peer never
// sends in crumbs for want of more.
type recvWindow struct {
	size    int64 // what the peer may have sent and the reader not taken
	left    int64 // what the peer may still send
	taken   int64 // what the reader took and the peer does not know of
	shared  int64 // how much of size is from the budget
	limited bool  // since the window grew the last time the peer had to stop although the reader kept up
}

// received counts n bytes that arrived, and reports false if the peer may not have sent them.
func (w *recvWindow) received(n int64) bool {
	if n > w.left {
		return false
	}
	w.left -= n
	if w.left == 0 && w.size-w.taken <= w.size/2 {
		w.limited = true
	}
	return true
}

// take counts n bytes that the reader took, and returns what the peer is to be allowed now: 0 for nothing
// yet. The window grows, if the budget has room, where the peer had to stop although no more than half of it
// waited for the reader, and shrinks where the budget is needed for others, never below leastWindow.
func (w *recvWindow) take(n int64, b *budget, most int64) int64 {
	w.taken += n
	if w.taken < w.size/4 {
		return 0
	}
	if w.limited && w.size < most {
		w.resize(b.take(min(w.size, most-w.size)))
		w.limited = false
	} else if w.size > leastWindow && w.shared > 0 && b.short() {
		less := min(w.shared, w.taken, w.size-leastWindow)
		b.used -= less
		w.resize(-less)
	}
	grant := w.taken
	w.left += grant
	w.taken = 0
	return grant
}

// resize changes the window by what was taken from the budget or given back.
func (w *recvWindow) resize(n int64) {
	w.size += n
	w.taken += n
	w.shared += n
}

// budget is the memory that a connection's windows may promise beyond what the streams that the peer may
// open begin with.
type budget struct{ max, used int64 }

// take returns how much of want there is, having taken it.
func (b *budget) take(want int64) int64 {
	n := max(0, min(want, b.max-b.used))
	b.used += n
	return n
}

// short says that most of the budget is used: windows that have grown should shrink.
func (b *budget) short() bool { return b.used > b.max/4*3 }

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
