package pconn

import "github.com/packetstream/packetstream/packet"

// incoming is one request of the peer, from its acceptance to its answer. What its handler sees, and may keep, is apart
// from it, in ctx: so an incoming serves one request after another.
type incoming struct {
	self handling // set once and never again, since goroutines that a handler left behind may read it at any time
	accepted
}

// accepted is what an incoming is of one request.
type accepted struct {
	ctx     *handlerContext
	handler Handler
	channel uint64
	tag     uint64
	typ     uint64
	size    int64 // payload bytes, as counted against maxOutstandingBytes
	begun   instant
	run     uint64 // the inliner's state during the inline run, 0 if there was none

	marked bool // its handler is marked NonBlocking, and it is the receiver's scratch

	// Guarded by Conn.mu.
	state     incomingState
	repeated  bool
	abandoned bool      // the caller gave up: there is no answer
	left      bool      // the handler has returned, but not all of its calls
	waits     int32     // calls on this connection in which the handler waits now
	chain     *incoming // next in the same slot of the table
	queued    *incoming // next in the run queue
	before    *incoming // the one before it there
}

type incomingState uint8

const (
	incomingQueued incomingState = iota // accepted, waits for a place
	incomingAtWork
	incomingDone
)

// set makes an incoming that is zero that of a request. To set the fields one by one spares to make a copy of all.
func (in *incoming) set(c *Conn, h *packet.Header, handler Handler, ctx *handlerContext) {
	in.ctx, in.handler, in.begun = ctx, handler, c.readAt
	in.channel, in.tag, in.typ, in.size = h.Channel, h.Tag, h.Type-1, h.Size
}

// newIncoming returns an incoming for a request that is about to be accepted: that of the last one, if its handler did not
// need a goroutine.
func (c *Conn) newIncoming() *incoming {
	in := c.st.spare
	if in == nil {
		in = new(incoming)
		in.self = handling{c, in}
		return in
	}
	c.st.spare = nil
	return in
}

// clear makes an incoming ready for another request of the same connection.
func (in *incoming) clear() { in.accepted = accepted{} }

// keepIncoming keeps an incoming whose handler is finished for the next request.
func (c *Conn) keepIncoming(in *incoming) {
	if !in.left {
		in.clear()
		c.st.spare = in
	}
}

// incomingTable finds the requests at work by channel and tag, both of the peer's choice: a seed
// unknown to the peer keeps it from filling one slot. One that is alone when it is put in needs no slot, as in callTable. Guarded by
// Conn.mu.
type incomingTable struct {
	alone *incoming   // one without a slot, or nil
	slots []*incoming // a power of two of them, or none yet
	n     int
	bytes int64
	seed  uint64 // odd
}

func (t *incomingTable) slot(channel, tag uint64) **incoming {
	h := (tag ^ channel*0x9E3779B97F4A7C15) * t.seed
	return &t.slots[h>>32&uint64(len(t.slots)-1)]
}

func (t *incomingTable) find(channel, tag uint64) *incoming {
	if in := t.alone; in != nil && in.tag == tag && in.channel == channel {
		return in
	}
	if len(t.slots) == 0 {
		return nil
	}
	in := *t.slot(channel, tag)
	for in != nil && (in.tag != tag || in.channel != channel) {
		in = in.chain
	}
	return in
}

func (t *incomingTable) put(in *incoming) {
	t.n++
	t.bytes += in.size
	if t.n == 1 {
		t.alone = in
		return
	}
	if t.n > len(t.slots) {
		t.grow()
	}
	slot := t.slot(in.channel, in.tag)
	in.chain = *slot
	*slot = in
}

func (t *incomingTable) remove(in *incoming) {
	if t.alone == in {
		t.alone = nil
	} else {
		slot := t.slot(in.channel, in.tag)
		for *slot != in {
			slot = &(*slot).chain
		}
		*slot, in.chain = in.chain, nil
	}
	t.n--
	t.bytes -= in.size
	if t.n == 0 && len(t.slots) > keepSlots {
		t.slots = nil
	}
}

func (t *incomingTable) grow() {
	old := t.slots
	t.slots = make([]*incoming, max(minSlots, 2*len(old)))
	for _, in := range old {
		for in != nil {
			next := in.chain
			slot := t.slot(in.channel, in.tag)
			in.chain = *slot
			*slot = in
			in = next
		}
	}
}

// all calls f for each request.
func (t *incomingTable) all(f func(*incoming)) {
	if t.alone != nil {
		f(t.alone)
	}
	for _, in := range t.slots {
		for ; in != nil; in = in.chain {
			f(in)
		}
	}
}

// runQueue holds the accepted requests that wait for a place, in order. Guarded by Conn.mu.
type runQueue struct{ head, tail *incoming }

func (q *runQueue) push(in *incoming) {
	if q.tail == nil {
		q.head = in
	} else {
		q.tail.queued, in.before = in, q.tail
	}
	q.tail = in
}

func (q *runQueue) remove(in *incoming) {
	if in.before == nil {
		q.head = in.queued
	} else {
		in.before.queued = in.queued
	}
	if in.queued == nil {
		q.tail = in.before
	} else {
		in.queued.before = in.before
	}
	in.queued, in.before = nil, nil
}

func (q *runQueue) pop() *incoming {
	in := q.head
	if in != nil {
		q.remove(in)
	}
	return in
}
