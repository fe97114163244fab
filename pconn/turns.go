package pconn

// turns are those who have more to send than they may send at once: each sends a piece, in turn. Guarded by
// Conn.mu.
type turns struct {
	ring *ring // nil where there never was any
}

type ring struct {
	head, tail *turn
	n          int
}

// turn is a place in the ring. It is part of what takes the turn: a stream, or a large payload.
type turn struct {
	next   *turn
	queued bool
	stream *Stream
	large  *large
}

func (r *turns) empty() bool { return r.ring == nil || r.ring.n == 0 }

// first returns who is next, or nil.
func (r *turns) first() *turn {
	if r.ring == nil {
		return nil
	}
	return r.ring.head
}

// len returns how many have a turn.
func (r *turns) len() int {
	if r.ring == nil {
		return 0
	}
	return r.ring.n
}

// begin counts t in, before next.
func (r *turns) begin(t, next *turn) *ring {
	if r.ring == nil {
		r.ring = new(ring)
	}
	t.queued, t.next = true, next
	r.ring.n++
	return r.ring
}

func (r *turns) push(t *turn) {
	if t.queued {
		return
	}
	q := r.begin(t, nil)
	if q.tail == nil {
		q.head = t
	} else {
		q.tail.next = t
	}
	q.tail = t
}

// pushFront gives t the next turn.
func (r *turns) pushFront(t *turn) {
	q := r.begin(t, r.first())
	q.head = t
	if q.tail == nil {
		q.tail = t
	}
}

func (r *turns) pop() *turn {
	q := r.ring
	t := q.head
	q.head, t.next, t.queued = t.next, nil, false
	q.n--
	if q.head == nil {
		q.tail = nil
	}
	return t
}

// remove takes t out, if it is in.
func (r *turns) remove(t *turn) {
	if r.empty() {
		return
	}
	q := r.ring
	var before *turn
	for at := q.head; at != nil; before, at = at, at.next {
		switch {
		case at != t:
			continue
		case before == nil:
			r.pop()
			return
		case q.tail == t:
			q.tail = before
		}
		before.next, t.next, t.queued = t.next, nil, false
		q.n--
		return
	}
}

// addTurns appends pieces to the batch that is about to be written, until it has a write's share of them.
// Conn.mu is held.
func (c *Conn) addTurns(b *batch) {
	r := &c.st.sender.turns
	for room := turnShare; room > 0 && !r.empty(); {
		t := r.pop()
		if t.large != nil {
			room -= c.addLarge(b, t.large)
			continue
		}
		share := streamPiece
		if b.Len() == 0 {
			share = turnShare // all that this write has
		}
		room -= t.stream.addPieces(b, share)
		if t.stream.sendable() {
			r.push(t)
		}
	}
}
