package pconn

// turns are those who have more to send than they may send at once: each sends a piece, in turn. Guarded by
// Conn.mu.
type turns struct{ head, tail *turn }

// turn is a place in the ring. It is part of what takes the turn: a stream, or a large payload.
type turn struct {
	next   *turn
	queued bool
	stream *Stream
	large  *large
}

func (r *turns) empty() bool { return r.head == nil }

func (r *turns) push(t *turn) {
	if t.queued {
		return
	}
	t.queued, t.next = true, nil
	if r.tail == nil {
		r.head = t
	} else {
		r.tail.next = t
	}
	r.tail = t
}

// pushFront gives t the next turn.
func (r *turns) pushFront(t *turn) {
	t.queued, t.next = true, r.head
	r.head = t
	if r.tail == nil {
		r.tail = t
	}
}

func (r *turns) pop() *turn {
	t := r.head
	r.head, t.next, t.queued = t.next, nil, false
	if r.head == nil {
		r.tail = nil
	}
	return t
}

// remove takes t out, if it is in.
func (r *turns) remove(t *turn) {
	var before *turn
	for at := r.head; at != nil; before, at = at, at.next {
		switch {
		case at != t:
			continue
		case before == nil:
			r.pop()
			return
		case r.tail == t:
			r.tail = before
		}
		before.next, t.next, t.queued = t.next, nil, false
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
