package pconn

// turns are those who have more to send than they may send at once: each sends a piece, in turn. Guarded by
// Conn.mu.
type turns struct{ head, tail *turn }

// turn is a place in the ring. It is part of what takes the turn.
type turn struct {
	next   *turn
	queued bool
	stream *Stream
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

func (r *turns) pop() *turn {
	t := r.head
	r.head, t.next, t.queued = t.next, nil, false
	if r.head == nil {
		r.tail = nil
	}
	return t
}

// addTurns appends pieces to the batch that is about to be written, until it has a write's share of them.
// Conn.mu is held.
func (c *Conn) addTurns(b *batch) {
	r := &c.st.sender.turns
	for room := turnShare; room > 0 && !r.empty(); {
		t := r.pop()
		room -= t.stream.addPiece(b)
		if t.stream.sendable() {
			r.push(t)
		}
	}
}
