package pconn

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/tick"
)

// sender is what waits to be sent and who sends it. Whoever has a packet appends it to the pending
// batch; if nobody is writing, it writes, as far as the descriptor takes it at once, and what others
// append meanwhile leaves in the next write. A goroutine of the connection's own takes over what did
// not fit, and what a single caller should not be kept for.
//
// Everything in it is guarded by Conn.mu, but that who has set writing may look at current, which nobody else changes, and works
// on what is in it without the lock if that is plain (sending).
type sender struct {
	pending *batch // being filled, see toFill; or noBatch
	control *batch // rejections and the like, which leave first; nil while there are none
	current *batch // being written, by whoever set writing
	spare   *batch // empty ones, which with the others are three at most; or nil

	overtook   uint8 // batches of control, one after another, that left before what was pending
	queued     uint8 // packets ever appended, up to severalQueued
	writing    bool  // somebody is in a write cycle, or is about to be
	leaving    bool  // some of current may have left
	timed      bool  // which began at time, and does not wait
	hold       bool  // what is appended now may wait for flushHeld
	awake      bool  // receiving takes up answers, or looks for some, and writes what is pending before it sleeps: see leftToReceiver
	graceArmed bool  // graceTimer will flush what is pending
	enlarged   bool  // a larger pipe was asked for
	eof        bool  // the EOF packet is queued: nothing may follow
	helloLost  bool  // err came with nothing but our HELLO ever sent
	helloFirst bool  // control has our answer to HELLO, which no other frame may overtake

	lingers uint32 // the number of who is about to write, but lets others append first; or 0
	time    instant

	due   dueList  // streams that have control to send
	turns turns    // those who send in pieces
	left  *writers // whose memory has left, and who do not know it yet

	// given is the highest tag of ours that there was when a write of requests last began: of a call with a higher
	// one surely nothing has left.
	given uint64

	err        error  // of writing: nothing is sent any more
	lingered   uint32 // the last number of lingers
	graceTimer *time.Timer
	larges     larges
}

// severalQueued is for the sender more than its own HELLO.
const severalQueued = 2

// countQueued counts a packet that was appended.
func (s *sender) countQueued() { s.queued = min(s.queued+1, severalQueued) }

// controlBatch returns control to append to.
func (s *sender) controlBatch() *batch {
	if s.control == nil {
		s.control = s.takeSpare()
	}
	return s.control
}

func (s *sender) controlLen() int {
	if s.control == nil {
		return 0
	}
	return s.control.Len()
}

// unwritten returns how many responses surely have not left: behind others the peer may send its next request at once, long before
// all of the write is gone.
func (s *sender) unwritten() int {
	n := int(s.pending.answers) + s.larges.replies
	if s.control != nil {
		n += int(s.control.answers)
	}
	switch {
	case s.current == nil:
	case s.leaving:
		n -= int(s.current.replies)
	default:
		n += int(s.current.answers)
	}
	return n
}

func (s *sender) hasPending() bool {
	return s.pending.Len() > 0 || s.controlLen() > 0 || !s.due.empty() || !s.turns.empty()
}

// linger gives who is about to write, but lets others append first, a number.
func (s *sender) linger() uint32 {
	s.lingered = max(s.lingered+1, 1)
	s.lingers = s.lingered
	return s.lingers
}

// beforeWait is called when receiving is about to wait. It says how soon more is expected: at once, wherever packets
// came one by one, and later where more came together, since their answers need some time.
func (c *Conn) beforeWait() (pace int) {
	if c.alone.bytes < aloneFrom && !c.alone.onlyCredit() {
		pace = max(1, min(int(c.held), maxPace))
	}
	c.held, c.wrote = 0, 0
	c.portion.end()
	c.setAwake(false) // until beforeLook says so, which an input that cannot look does not
	c.in.BesideBulk(c.besideBulk())
	return pace
}

// beforeLook is called when receiving has found nothing, and either lets others run before it looks again, or sleeps. What the
// callers among them then append is written before the next look but one, and meanwhile may leave in a write of more.
func (c *Conn) beforeLook(again bool) {
	c.setAwake(again)
	if !again && c.watched {
		c.inline.sleeps(c.readAt)
	}
}

// setAwake tells those who send whether receiving is awake, and writes what was left to it until now.
func (c *Conn) setAwake(awake bool) {
	c.mu.Lock()
	c.st.sender.awake = awake
	c.flushUnlock()
}

// leaveReceiving writes what inline handlers answered, at the end of receiving. Requests that were left to receiving never leave, since their
// answers could not come.
func (c *Conn) leaveReceiving() {
	c.mu.Lock()
	c.st.sender.awake = false
	unsent := c.dropUnsent()
	c.flushUnlock()
	closeHandles(unsent)
}

// flushHeld writes what inline handlers answered, and what was left to receiving. It is called between two packets, and by the
// goroutine of an inline handler that has lost receiving.
func (c *Conn) flushHeld() {
	c.mu.Lock()
	c.flushUnlock()
}

// flushUnlock lets Conn.mu go, and writes what is pending unless somebody else does or will.
func (c *Conn) flushUnlock() {
	s := &c.st.sender
	if s.writing || s.graceArmed || s.err != nil || !s.hasPending() {
		c.mu.Unlock()
		return
	}
	s.writing = true
	c.writeBatches(callerRounds)
}

// armGrace starts the timer of a grace wait, unless it runs already.
func (c *Conn) armGrace() bool {
	s := &c.st.sender
	if s.graceArmed {
		return false
	}
	s.graceArmed = true
	if s.graceTimer == nil {
		s.graceTimer = time.AfterFunc(c.opts.Grace, c.graceOver)
	} else {
		s.graceTimer.Reset(c.opts.Grace)
	}
	return true
}

func (c *Conn) graceOver() {
	c.mu.Lock()
	c.st.sender.graceArmed = false
	c.wakeSender()
	c.mu.Unlock()
}

// wakeSender starts a write cycle on a goroutine of the connection's own, if there is anything to
// write and nobody writes. Conn.mu is held.
func (c *Conn) wakeSender() {
	s := &c.st.sender
	if s.writing || s.err != nil || !s.hasPending() {
		return
	}
	s.writing = true
	c.startSender()
}

// startSender hands the write cycle to the sender goroutine, which ends when nothing is left to
// send. windDown waits for it through c.sendEnd, as far as the descriptor lets its write end.
func (c *Conn) startSender() { go c.writeCycle(math.MaxInt) }

// callerRounds is how many batches a caller writes before the sender goroutine takes over: its own
// and one more.
const callerRounds = 2

// maxYields is how often a caller lets others append before it writes.
const maxYields = 8

// writeCycle writes batch after batch until nothing is pending. The caller has set writing. With
// rounds below the sender goroutine's it never blocks: what the descriptor does not take at once, and
// what comes after that many rounds, is the sender goroutine's.
func (c *Conn) writeCycle(rounds int) {
	c.mu.Lock()
	c.writeBatches(rounds)
}

// writeBatches is writeCycle with Conn.mu held, which it lets go.
func (c *Conn) writeBatches(rounds int) {
	s := &c.st.sender
	wait := rounds == math.MaxInt
	for first := true; ; rounds-- {
		if wait {
			s.timed = false
		}
		if s.current == nil && (!first && c.restLeft() || !c.nextBatch()) {
			c.mu.Unlock()
			return
		}
		first = false
		if rounds == 0 || !wait && s.eof {
			// The end of sending is not for a caller to look after.
			c.startSender()
			c.mu.Unlock()
			return
		}
		b := s.current
		c.sending = sending{kind: b.kind(wait)}
		s.leaving = s.leaving || c.sending.kind == batchPlain
		c.mu.Unlock()
		c.showFrames(b)

		err := c.out.Write((*sendSource)(c), wait)
		if errors.Is(err, bufio.ErrWouldBlock) {
			c.counters.SenderHandovers.Add(1)
			c.leaveRest()
			return
		}
		c.watch.tick(tick.Flush)
		if err != nil {
			c.writeFailed(err)
			return
		}
		c.mu.Lock()
		letOthers, eofGone := c.written()
		if !letOthers && !eofGone {
			continue // with the lock
		}
		c.mu.Unlock()
		if eofGone {
			c.endSending(nil)
		}
		if letOthers {
			runtime.Gosched()
		}
		c.mu.Lock()
	}
}

// leaveRest leaves what the descriptor did not take at once to the sender goroutine, which it starts. It notes whether any of it has
// left, and asks for a larger pipe, once, when a bulk of bytes did not fit. Only who writes calls it.
func (c *Conn) leaveRest() {
	c.mu.Lock()
	s := &c.st.sender
	s.leaving = s.current.Len() < s.current.size
	// What is left may be a few bytes, as when a header is what makes a packet larger than the pipe.
	bulk := !s.enlarged && s.current.size >= gatherFrom
	s.enlarged = s.enlarged || bulk
	c.mu.Unlock()
	if bulk {
		c.out.Enlarge()
	}
	c.startSender()
}

// restLeft ends the write cycle where what was appended meanwhile is a few requests, which are left to receiving: see
// leftToReceiver. Conn.mu is held.
func (c *Conn) restLeft() bool {
	s := &c.st.sender
	if s.pending.Len() == 0 || s.pending.answers > 0 || s.controlLen() > 0 || s.eof || !s.due.empty() || !s.turns.empty() ||
		c.opts.Grace > 0 || !c.leftToReceiver() || worthWrite(s.pending.packets, s.pending.Len(), c.st.calls.n) {
		return false
	}
	s.endCycle()
	return true
}

// endCycle ends a write cycle.
func (s *sender) endCycle() {
	s.writing, s.timed = false, false
	s.leaveSpares()
	s.left.wake()
}

// nextBatch makes the next batch current, or ends the write cycle. Control leaves first, a few times in a row
// at most while others wait; then what is pending, and behind it pieces of streams, whose turn so comes with
// every write. EOF is behind all of them. Conn.mu is held.
func (c *Conn) nextBatch() bool {
	s := &c.st.sender
	first := s.helloFirst || s.eof || s.overtook < maxOvertake || s.pending.Len() == 0
	switch {
	case s.due.empty():
	case first:
		c.addDue(s.controlBatch())
	default:
		c.addDue(s.toFill()) // no data may leave before its OPEN
	}
	control, pieces := false, true
	if first && s.controlLen() > 0 {
		control, pieces = true, s.pending.Len() == 0
	} else if s.eof && !s.turns.empty() {
		control = true // what is pending has EOF at its end
	}
	if !control && s.pending.Len() == 0 && s.turns.empty() {
		s.endCycle()
		return false
	}
	s.overtook++
	if !control || s.pending.Len() == 0 {
		s.overtook = 0
	}
	if control {
		s.current, s.control = s.controlBatch(), nil
		s.helloFirst = false
		if c.ext.extended != nil {
			c.ext.pings.queued = 0
		}
	} else {
		s.current, s.pending = s.toFill(), &noBatch
		s.given = c.st.calls.last
	}
	if pieces {
		c.addTurns(s.current)
	}
	s.current.size, s.leaving = s.current.Len(), false
	c.counters.Flushes.Add(1)
	if s.current.packets > 1 {
		c.counters.Batches.Add(1)
	}
	return true
}

// written is called when the current batch is gone. It reports whether others should run before the next
// one is written: writers, or whoever is beside bulk; and whether that was the end of sending. Conn.mu is held.
func (c *Conn) written() (letOthers, eofGone bool) {
	s := &c.st.sender
	b := s.current
	letOthers = b.size >= bulkFrom && c.st.company > 0
	s.current = nil
	if c.sending.kind != batchSpent {
		s.spare, b.spare = b, s.spare
	}
	b.Reset()
	b.packets, b.answers, b.replies = 0, 0, 0
	for i, buf := range b.buffers {
		c.st.buffers.put(buf)
		b.buffers[i] = nil
	}
	b.buffers = b.buffers[:0]
	for i, stream := range b.streams {
		stream.partsLeft()
		b.streams[i] = nil
	}
	b.streams = b.streams[:0]
	letOthers = c.wakeWriters() || letOthers
	c.largesLeft(b)
	c.st.repliers.wakeFirst()
	c.st.callers.wakeFirst()
	return letOthers, s.eof && !s.hasPending()
}

// writeFailed ends sending. Answers that the peer wrote before it went away are still read, for a
// moment.
func (c *Conn) writeFailed(err error) {
	err = fmt.Errorf("%w: %w", ErrPeerGone, err)
	c.mu.Lock()
	s := &c.st.sender
	s.err = err
	s.helloLost = c.ext.offered && s.queued == 1
	lost, eof := s.helloLost, s.eof
	if lost {
		c.settle(err) // the connection goes on, and no answer can come
	}
	lostHandles := s.takeHandles()
	s.pending, s.control, s.current = &noBatch, nil, nil
	s.due, s.turns, s.larges = dueList{}, turns{}, larges{repliers: s.larges.repliers}
	s.left.wake()
	c.failWrites(err)
	c.st.repliers.wakeFirst()
	s.larges.repliers.wakeFirst()
	c.st.callers.wakeFirst()
	c.mu.Unlock()
	closeHandles(lostHandles)
	// Not here: receiving may be what writes, inside a read of the same file, which that file's Close would wait for.
	// windDown waits for it.
	go c.endSending(err)
	if !lost {
		c.cancel(err)
	}
	if !lost || eof {
		c.lateInterrupt() // EOF will not leave, either
	}
}

// sending is what who has set writing knows of the current batch.
type sending struct {
	kind batchKind
	gone bool // all of a shared one was written, and there is no need to ask it again
}

// batchKind says how a batch is treated that is about to be written.
type batchKind uint8

const (
	batchShared batchKind = iota // each step of its writing takes the lock, since somebody may have memory or files in it
	batchPlain                   // nobody has, or had: no name of such is left by which another asks for it, and it is the writer's alone
	batchSpent                   // somebody had, and may have that name still: it gives way to another, which may be plain
)

// kind says how the batch is treated. Who may wait for the descriptor takes the lock for any, to tell at each step what has left.
func (b *batch) kind(wait bool) batchKind {
	switch {
	case b.HasRefs() || b.HasHandles():
		return batchShared
	case b.HadRefs():
		return batchSpent
	case wait:
		return batchShared
	}
	return batchPlain
}

// sendSource is the connection as what bufio.Output asks for bytes. A payload may be taken out of the
// current batch between two system calls, never during one. From a plain batch nothing can be, and so the lock is left alone.
type sendSource Conn

func (c *sendSource) Next(bufs [][]byte) [][]byte {
	switch {
	case c.sending.gone:
		return bufs
	case c.sending.kind == batchPlain:
		return c.st.sender.current.Next(bufs)
	}
	c.mu.Lock()
	bufs = c.st.sender.current.Next(bufs)
	c.st.sender.leaving = true
	if c.files.passes {
		c.files.leaving = c.st.sender.current.Handles()
	}
	c.mu.Unlock()
	return bufs
}

// Handles is asked behind Next by whoever writes.
func (c *sendSource) Handles() *bufio.Handles { return c.files.leaving }

func (c *sendSource) Wrote(n int) {
	s := &c.st.sender
	if c.sending.kind == batchPlain {
		s.current.Wrote(n)
		return
	}
	c.mu.Lock()
	s.current.Wrote(n)
	c.files.leaving = nil
	c.sending.gone = s.current.Len() == 0
	s.leaving = s.current.Len() < s.current.size
	if c.st.leavers > 0 {
		c.st.returned.Broadcast()
	}
	c.mu.Unlock()
}
