package pconn

import "github.com/packetstream/packetstream/packet"

// A caller that is alone receives for itself. A receiving goroutine beside it would be woken for each answer only to wake the
// caller: another change of goroutines, and among many connections another stack that is in no cache. So when a number of calls
// have come one by one, and nothing but their answers, the receiving goroutine gives receiving to the caller with the last of
// those answers, and ends. From then on it is lent: the next call takes it, waits for its own answer, and lends it again. A
// packet that is anything but this answer is left for a receiving goroutine, which then goes on as before.
//
// Between two calls nobody receives, for as long as it takes a goroutine to begin: who lends receiving starts one (relieve), unless
// the last has not begun yet. It runs as soon as the caller waits or another processor has nothing to do. If no call has taken receiving
// by then, it takes it.

// lending is where receiving is, on its way from one call to the next.
type lending uint8

const (
	lendingNone  lending = iota // somebody receives
	lendingOut                  // nobody does: the next call may, or relieve will, which is about to run
	lendingTaken                // somebody does again, and relieve is about to run in vain
)

// loneFrom is how many calls have to come one by one: a goroutine that was started in vain costs less than so many could save.
const loneFrom = 32

// countAnswered counts the answer to a call that has just left the table. Conn.mu is held, by the receiver.
func (c *Conn) countAnswered() {
	if c.st.calls.n > 0 {
		c.lone = 0
	} else if c.lone < loneFrom {
		c.lone++
	}
}

// mayGiveReceiving says whether the caller of a call that was just answered may have receiving: calls have come one by one, with no frames
// between them, so that there is nothing else that the receiver would have to look after, and an end of its wait can reach it. What
// looks on is not called by callers, who may survive its panic.
func (c *Conn) mayGiveReceiving(call *call) bool {
	return c.lone == loneFrom && call.mayReceive() && !c.ext.pieces && c.watch == nil && c.in.NonBlocking()
}

// mayReceive says whether the caller of a call may receive: it waits, has lent no payload, which is large, and is told by the connection
// if its context ends.
func (c *call) mayReceive() bool {
	return c.kind == callWaits && c.result == nil && c.size < gatherFrom && (c.context.gone == nil || c.context.watched)
}

// giveReceiving completes a call with its response, all that is buffered, and lets its caller receive. The receiving goroutine ends.
func (c *Conn) giveReceiving(call *call, h *packet.Header) {
	b, _ := c.in.Peek(0)
	call.answer(h, call.keep(b), nil)
	call.lends = true
	_ = c.in.Skip(h.Size) // it is buffered
	call.complete()
}

// lend lends receiving to the next call. It is called by a caller that receives and has its answer.
func (c *Conn) lend() {
	c.mu.Lock()
	if c.st.relieve == nil {
		c.st.relieve = c.relieve // once, since each would be memory
	}
	relieve, start := c.st.relieve, c.lending == lendingNone
	c.lending = lendingOut
	if start {
		go relieve() // before the write, in which nobody receives
	}
	c.st.sender.awake = false
	c.flushUnlock()
}

// relieve takes receiving unless somebody has taken it.
func (c *Conn) relieve() {
	c.mu.Lock()
	takes := c.lending == lendingOut
	c.lending = lendingNone
	if c.st.recvEnded && c.st.leavers > 0 {
		c.st.returned.Broadcast()
	}
	c.mu.Unlock()
	if takes {
		c.lone = 0
		c.receive()
	}
}

// awaitRelieve waits for the goroutine of relieve, if there is one, at the end of the connection. That needs the lock only: receiving is
// over, and so not lent.
func (c *Conn) awaitRelieve() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.lending != lendingNone {
		c.waitReturned()
	}
}

// receiveAnswer waits for the answer to a call that receives, and reports false if somebody else receives from now on, since
// something else has come. It holds little on the stack meanwhile.
func (c *Conn) receiveAnswer(call *call) bool {
	_, err := c.in.Peek(1)
	return c.takeAnswer(call, err)
}

// takeAnswer is receiveAnswer when something has come. What is not the answer, whole and alone, is not taken.
func (c *Conn) takeAnswer(call *call, err error) (ours bool) {
	var h packet.Header
	b, _ := c.in.Peek(0)
	n, plain := c.furtherResponse(&h, b)
	ours = plain && err == nil && h.Tag == call.tag && h.Channel == call.channel && n+int(h.Size) == len(b)

	c.mu.Lock()
	call.receives = false
	ended := call.context.ended
	if ended {
		c.resumeInput()
	}
	if ours {
		c.st.removeCall(call)
		c.step()
		if ended {
			<-call.done // where contextEnded has told of it
		}
	}
	c.mu.Unlock()

	if !ours {
		c.lone = 0
		if err == nil {
			c.noteRead()
		}
		c.startReceiving()
		return false
	}
	c.countReceived(&h, len(b))
	call.answer(&h, call.keep(b[n:]), nil)
	call.lends = true
	_ = c.in.Skip(int64(len(b))) // it is buffered
	return true
}
