package links

import (
	"runtime"
	"time"
)

// write is the writer goroutine: what is urgent first, then small traffic in its order, then the operations with larger payloads in turn.
func (c *Conn) write() {
	defer close(c.flushed)
	c.mu.Lock()
	for {
		for c.writing || !c.anythingDue() && !c.drained {
			c.work.Wait()
		}
		if c.open+c.served > 1 && !c.drained {
			// Others are likely to have something too: it leaves in the same write if they get to say it now.
			c.writing = true
			c.mu.Unlock()
			runtime.Gosched()
			c.mu.Lock()
			c.writing = false
		}
		batch := c.rest
		if c.rest = nil; batch == nil {
			batch = c.nextBatch()
		}
		if len(batch) == 0 && len(c.answers) == 0 && c.drained {
			c.unlock()
			return
		}
		c.writing = true
		c.unlockAndTell()
		if len(batch) > 0 {
			if err := c.carrier.WriteFrames(batch); err != nil {
				c.writeFailed(gone(err))
				return
			}
		}
		c.mu.Lock()
		c.writing = false
	}
}

// writeFailed leaves the end to the reader for a while: what the peer said last, or what it is that does not speak the protocol, is still to
// be read, and is a better reason than a broken pipe. The connection stays marked as being written, so that nobody else tries.
func (c *Conn) writeFailed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending {
		c.lastWords = time.AfterFunc(c.opts.FlushTime, func() { c.end(err) })
	}
}

func (c *Conn) anythingDue() bool {
	return len(c.rest) > 0 || len(c.urgent) > 0 || len(c.out) > 0 || c.turnDue()
}

// unlockAndTell unlocks, and tells our mate what came up while a batch was gathered.
func (c *Conn) unlockAndTell() {
	answers := c.answers
	c.answers = nil
	c.unlock()
	c.tell(answers)
}

// writeNow writes what is due on the goroutine that brought it, if nobody else writes and the descriptor takes it without waiting. With many
// operations at once it is left to the writer goroutine, which makes fewer and larger writes. It unlocks.
func (c *Conn) writeNow() {
	s, ok := c.carrier.(*stream)
	if !ok || s.out == nil || c.writing || len(c.rest) > 0 || c.open+c.served > maxDirect || c.ending || len(c.urgent)+len(c.out) == 0 {
		if c.anythingDue() {
			c.work.Signal()
		}
		c.unlock()
		return
	}
	c.writing = true
	batch := c.nextBatch()
	c.unlockAndTell()
	n, err := s.writeNow(batch)
	if err != nil {
		// The writer goroutine meets the same error, and ends the connection: that is not for the goroutine of a caller to do.
		n = 0
	}
	c.mu.Lock()
	c.writing = false
	if n < len(batch) {
		c.rest = batch[n:]
	}
	if c.anythingDue() || c.drained {
		c.work.Signal()
	}
	c.unlock()
}

// turnDue says whether a payload waits and its peer is known.
func (c *Conn) turnDue() bool { return c.greeted && c.turn.len() > 0 }

// nextBatch gathers what is due for one write.
func (c *Conn) nextBatch() []byte {
	batch := append(c.batch[:0], c.urgent...)
	c.urgent = c.urgent[:0]
	if len(batch) == 0 {
		batch, c.out = c.out, batch
	} else {
		batch = append(batch, c.out...)
		c.out = c.out[:0]
	}
	c.round++
	for len(batch) < batchSize && c.turnDue() {
		r := c.turn.pop()
		r.inTurn = false
		if r.closed {
			continue
		}
		batch = c.writeNext(batch, r)
		c.schedule(r)
	}
	c.batch = batch
	return batch
}

// writeNext writes one frame of the route: a ticket, or the next piece of its payload.
func (c *Conn) writeNext(b []byte, r *route) []byte {
	t := r.queue.first()
	room := int(min(pieceSize, r.credit))
	if !r.begun {
		described := describedLen(t)
		if described > c.describedLimit() {
			// It was taken before the peer's limit was known.
			c.answers = append(c.answers, c.refuseOwn(r, metadataTooLarge))
			return b
		}
		room = min(room, int(c.theirs.frame)-frameOverhead-described)
		piece := pieceOf(t, 0, max(room, 0))
		b = c.writeTicket(b, r, t, piece)
		r.begun, r.head = true, len(piece)
	} else {
		piece := pieceOf(t, r.head, min(room, int(c.theirs.frame)-frameOverhead))
		var mark frameMark
		b, mark = openFrame(b, len(piece))
		b = appendMore(b, r.wire, r.outSeq-1, uint64(r.head), piece)
		b = closeFrame(b, mark)
		r.credit -= int64(len(piece))
		r.head += len(piece)
	}
	if t.Payload == nil || r.head == t.Payload.size {
		r.queue.pop()
		r.begun, r.head = false, 0
		if t.Payload != nil {
			c.garbage = append(c.garbage, t.Payload)
		}
		c.writtenOut(r, t)
	}
	return b
}
