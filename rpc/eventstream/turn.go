package eventstream

import (
	"io"
	"time"
)

// turn is whose turn it is to receive on a server's connection. It is a goroutine's that does nothing else,
// except that it runs the handler of a stream that it just opened by itself: that spares a call two goroutine
// switches. While it does, nobody receives, so the handler's stream gives the turn away before it waits, and a
// timer takes it from a handler that takes its time: within maxInlineLook + inlinePatience. A handler that waits for
// its own next message keeps the turn and receives until that has come. Guarded by the connection's mu.
type turn struct {
	inline   *ServerStream // the stream that has the turn, if one has
	reading  bool          // it receives, in Recv
	recalled chan struct{} // closed when it has stopped, which it is to do; nil unless somebody waits for that
	moves    uint64        // counts what happened, for the timer to see whether anything did
	watched  uint64        // moves when the timer was set
	watching bool          // the timer is set
	look     time.Duration // what it was set to
	timer    *time.Timer
	slow     map[string]penalty // operations whose handlers lost the turn
}

// penalty is how many of an operation's next streams get a goroutine at once. It doubles each time a handler
// loses the turn: one that did because the machine was busy is soon tried again.
type penalty struct{ left, whole int }

// receiveLoop receives while the caller has the turn.
func (c *ServerConn) receiveLoop() {
	for {
		st, more := c.readOne()
		if !more {
			break
		}
		if st == nil {
			continue
		}
		if !c.beginInline(st) {
			c.start(st)
			continue
		}
		st.serve(c.server.Handler)
		if !c.endInline(st) {
			return
		}
	}
	c.discard()
	close(c.readDone)
}

// discard drops what still comes until the transport closes: the kernel would take back what the client has not
// read yet if a socket were closed with unread input.
func (c *ServerConn) discard() {
	if c.deadlines != nil {
		_ = c.deadlines.SetReadDeadline(time.Time{})
	}
	_, _ = io.Copy(io.Discard, c.rwc)
}

// beginInline gives the turn to a stream, unless its operation has lately taken its time.
func (c *ServerConn) beginInline(st *ServerStream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, slow := c.turn.slow[st.operation]; slow && p.left > 0 {
		c.turn.slow[st.operation] = penalty{p.left - 1, p.whole}
		return false
	}
	c.turn.inline = st
	c.move()
	if c.dec.hasWhole() {
		// The reply can leave together with that to the next message, which is there already.
		c.out.cork()
	}
	return true
}

// endInline takes the turn back after the stream's handler has returned, and reports whether it was still there.
func (c *ServerConn) endInline(st *ServerStream) bool {
	c.mu.Lock()
	kept := c.turn.inline == st
	if kept && c.turn.reading {
		c.recall()
	}
	if kept {
		c.turn.inline = nil
		c.turn.moves++
	}
	c.mu.Unlock()
	c.served()
	return kept
}

// recall breaks off the receiving of a goroutine that the handler has left behind in Recv. What was received of a
// message stays with the decoder. Called with mu held, which it releases meanwhile.
func (c *ServerConn) recall() {
	left := make(chan struct{})
	c.turn.recalled = left
	c.mu.Unlock()
	_ = c.deadlines.SetReadDeadline(time.Unix(1, 0))
	<-left
	_ = c.deadlines.SetReadDeadline(time.Time{})
	c.dec.resume()
	c.mu.Lock()
	c.turn.recalled = nil
}

// isRecalled reports whether the goroutine that receives is to stop.
func (c *ServerConn) isRecalled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.turn.recalled != nil
}

// move notes that a handler begins to run with the turn. Called with mu held.
func (c *ServerConn) move() {
	t := &c.turn
	t.moves++
	if t.watching {
		return
	}
	t.watching, t.watched, t.look = true, t.moves, inlinePatience
	if t.timer == nil {
		t.timer = time.AfterFunc(t.look, c.watch)
		return
	}
	t.timer.Reset(t.look)
}

// watch takes the turn from a handler that has had it since the timer was set. The timer is set again while anything
// happens: for ever longer if no handler is at it, else for as long as that one may still take.
func (c *ServerConn) watch() {
	c.mu.Lock()
	t := &c.turn
	st, still := t.inline, t.moves == t.watched
	if !still {
		t.watched = t.moves
		t.look = min(2*t.look, maxInlineLook)
		if st != nil && !t.reading {
			t.look = inlinePatience
		}
		t.timer.Reset(t.look)
		c.mu.Unlock()
		return
	}
	t.watching = false
	if st == nil || t.reading {
		c.mu.Unlock()
		return
	}
	if t.slow == nil || len(t.slow) >= maxSlowOperations {
		t.slow = map[string]penalty{}
	}
	whole := min(2*t.slow[st.operation].whole+1, maxPenalty)
	t.slow[st.operation] = penalty{whole, whole}
	c.mu.Unlock()
	c.giveTurn(st)
}

// giveTurn lets another goroutine receive, if the stream has the turn. Its handler may wait then.
func (c *ServerConn) giveTurn(st *ServerStream) {
	c.mu.Lock()
	had := c.turn.inline == st && !c.turn.reading
	if had {
		c.turn.inline = nil
	}
	c.mu.Unlock()
	if had {
		c.out.uncork()
		// serve waits for readDone, and so for this goroutine, before it waits for the handlers.
		c.handlers.Go(c.receiveLoop)
	}
}

// receiveFor receives until the stream that has the turn has a message or an end, and reports whether it could. For
// a stream without the turn it cannot, nor on a transport without deadlines: the connection's end has to break Read off.
func (c *ServerConn) receiveFor(st *ServerStream) bool {
	if c.deadlines == nil {
		return false
	}
	c.mu.Lock()
	mine := c.turn.inline == st && !c.turn.reading && !c.ended
	c.turn.reading = c.turn.reading || mine
	c.mu.Unlock()
	if !mine {
		return false
	}
	for st.inbox.isEmpty() {
		other, more := c.readOne()
		if !more {
			break
		}
		if other != nil {
			c.start(other)
		}
	}
	c.mu.Lock()
	c.turn.reading = false
	if c.turn.recalled != nil {
		close(c.turn.recalled)
	} else {
		c.move()
	}
	c.mu.Unlock()
	return true
}

// stopTurn is called when the connection is over. Called with mu held.
func (c *ServerConn) stopTurn() {
	if c.turn.timer != nil {
		c.turn.timer.Stop()
	}
}
