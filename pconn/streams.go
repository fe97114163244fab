package pconn

import (
	"github.com/packetstream/packetstream/packet/frame"
)

// streams is a connection's streams. Guarded by Conn.mu.
type streams struct {
	ours, theirs         map[uint64]*Stream // those that are not over, by number
	lastOurs, lastTheirs uint64             // the last numbers used
	budget               budget
	trip                 roundTrip
	openers              line // wait for room to open a stream

	handler   StreamHandler
	listeners map[string]*Listener
	backlog   streamQueue          // streams that wait for a handler's place
	waiting   int                  // streams that wait to be accepted, in all queues
	serving   map[*Stream]struct{} // those whose handlers are at work
}

func (t *streams) open() int { return len(t.ours) + len(t.theirs) }

// live says whether there is a stream that has still to be finished, rather than its RESET or the peer's to be sent.
func (t *streams) live() bool {
	for _, side := range []map[uint64]*Stream{t.ours, t.theirs} {
		for _, s := range side {
			if !s.state.over() && s.state.in != inAbandoned {
				return true
			}
		}
	}
	return false
}

func (t *streams) side(ours bool) *map[uint64]*Stream {
	if ours {
		return &t.ours
	}
	return &t.theirs
}

// add makes a stream that is open both ways, in its place. Conn.mu is held.
func (c *Conn) add(ours bool, id uint64, o *frame.Open, window recvWindow, credit uint64) *Stream {
	s := &Stream{conn: c, id: id, ours: ours, name: o.Name, metadata: o.Metadata}
	s.turn.stream = s
	s.in.window = window
	s.out.window.credit = int64(min(credit, maxCredit))
	side := c.st.streams.side(ours)
	if *side == nil {
		*side = make(map[uint64]*Stream)
	}
	(*side)[id] = s
	return s
}

// retire forgets a stream that is over: what still comes of it has crossed. One whose RESET has not left counts until
// then, so that a peer which does not read them cannot pile them up. But a RESET behind our END has crossed the peer's end
// of the stream, which counts it no more and may open the next: it need not leave. Conn.mu is held.
func (c *Conn) retire(s *Stream) {
	side := *c.st.streams.side(s.ours)
	if !s.state.over() || side[s.id] != s {
		return
	}
	if s.due.reset != nil && s.due.queued {
		if !s.out.endSent {
			return
		}
		s.due.reset = nil
	}
	delete(side, s.id)
	c.forget(s)
	c.step()
}

// forget gives back what a stream took. Conn.mu is held.
func (c *Conn) forget(s *Stream) {
	t := &c.st.streams
	t.budget.used -= s.in.window.shared
	t.openers.wakeFirst()
}

// streamTaken counts n bytes that the reader took, and allows the peer more if it is time for that. Conn.mu is
// held.
func (c *Conn) streamTaken(s *Stream, n int) {
	if s.state.in != inOpen {
		return // no more comes, and a stream that is over has nothing of the budget
	}
	w := &s.in.window
	w.alone, w.company = c.st.onlyData, c.st.company > 0
	if w.take(int64(n)) {
		c.allow(s)
	}
}

// allowRest allows the peer what a reader that is about to wait has taken, on a long way: what is kept back there until it
// is a whole lump is missing for a round trip. It leaves before anybody waits. Conn.mu is held.
func (c *Conn) allowRest(s *Stream) {
	if w := &s.in.window; s.state.in == inOpen && w.taken > w.size/leastRest && c.st.streams.trip.time() >= leastTrip {
		c.allow(s)
	}
}

// allow allows the peer what the stream's reader has taken. Conn.mu is held.
func (c *Conn) allow(s *Stream) {
	w, now, t, trip := &s.in.window, clock(), &c.st.streams, &c.st.streams.trip
	amount, grew := w.allow(now, trip.time(), &t.budget, c.opts.Streams.MaxWindow)
	if amount > 0 {
		s.due.credit += amount
		s.queueDue()
	}
	trip.doubtful = trip.doubtful || grew
	// Without a CREDIT nothing is about to be written, and the PING would wait for something else.
	if amount > 0 && w.size < c.opts.Streams.MaxWindow && trip.ask(now) {
		c.measureTrip(now)
	}
}

// endOut ends what we send, behind what is queued. Conn.mu is held.
func (s *Stream) endOut() {
	if s.state.out == outOpen {
		s.state.out = outEnding
		s.queueTurn()
	}
}

// stopIn drops what comes, and tells the peer. Conn.mu is held.
func (s *Stream) stopIn(why frame.Reset) {
	s.in.unwanted = true
	s.in.buf.drop()
	s.dropSpill()
	if s.state.in == inOpen {
		s.state.in = inStopped
		s.due.stop = &why
		s.queueDue()
	}
}

// abort ends both directions at once with err, and tells the peer. It reports false if there was nothing to end. The
// handler's context ends here, before the peer can answer with an end that would be another cause: what is to be called
// then runs on goroutines of its own. Conn.mu is held.
func (s *Stream) abort(why frame.Reset, err error) bool {
	if s.state.over() || s.state.in == inAbandoned {
		return false
	}
	s.due.reset = &why
	s.due.credit, s.due.stop = 0, nil
	s.queueDue()
	s.end(err)
	if s.cancel != nil {
		s.cancel(err)
	}
	if s.state.in != inEnded {
		s.state.in = inAbandoned
	}
	s.conn.retire(s)
	s.conn.step()
	return true
}

// end drops what is queued either way and lets Read and Write fail with err. What is sent is ended by what
// the caller has to say. Conn.mu is held.
func (s *Stream) end(err error) {
	s.state.out = outEnded
	s.out.buf = nil
	s.in.buf.drop()
	s.dropSpill()
	s.fail(err, err)
	if s.acceptedBy != nil {
		s.acceptedBy.remove(s)
	}
}

// fail gives Read and Write their errors, if they have none yet, and wakes them. Conn.mu is held.
func (s *Stream) fail(in, out error) {
	if s.in.err == nil {
		s.in.err = in
	}
	if s.out.err == nil {
		s.out.err = out
	}
	s.conn.closeSpill(s)
	s.wakeRead()
	s.wakeWrite()
}

// failStreams tells all streams of the end of the connection, and forgets them: what was received may still
// be read, and what was written and allowed is still sent. But those that wait for a handler's place have nobody who could
// read them. It returns those whose contexts end with it. Conn.mu is held.
func (c *Conn) failStreams(err error) (ended []*Stream) {
	t := &c.st.streams
	for s := t.backlog.pop(); s != nil; s = t.backlog.pop() {
		s.end(err)
	}
	for _, side := range []*map[uint64]*Stream{&t.ours, &t.theirs} {
		for _, s := range *side {
			s.fail(err, err)
			c.forget(s)
			if s.cancel != nil {
				ended = append(ended, s)
			}
		}
		*side = nil
	}
	for _, l := range t.listeners {
		l.poke()
	}
	return ended
}

// failWrites tells all streams that nothing can be sent any more. Conn.mu is held.
func (c *Conn) failWrites(err error) {
	t := &c.st.streams
	for _, side := range []map[uint64]*Stream{t.ours, t.theirs} {
		for _, s := range side {
			s.fail(nil, err)
		}
	}
	t.openers.wakeFirst()
}
