package pconn

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/packetstream/packetstream/packet"
)

// phase is how far this end's side of the connection has come. Shutdown, the peer's EOF and errors
// only ever move it forward.
//
//	open ──Shutdown, end of receiving──▶ draining ──nothing outstanding, or time is up──▶ ended
//
// In draining no new requests are made, but by handlers; those accepted are finished, and responses
// flow. On the way to ended the EOF packet is queued, behind which nothing is sent. The connection
// is closed when EOF has left (or sending has failed) and receiving has ended: see windDown.
type phase uint8

const (
	phaseOpen phase = iota
	phaseDraining
	phaseEnded
)

func (p phase) String() string { return [...]string{"open", "draining", "ended"}[p] }

// state is everything in flight. It is guarded by Conn.mu. What every call needs comes first, as in Conn.
type state struct {
	phase     phase
	shutdown  bool // Shutdown was called
	ending    bool // the peer said EOF, and endErr is being found out: no answer can come any more
	recvEnded bool // nothing more will be received

	noMoreRequests bool // the peer sent ERQ
	gotEOF         bool // the peer sent EOF, rather than ending its stream
	goingAway      bool // GoAway was called
	onlyData       bool // nothing but data of streams has come lately

	// Our requests.
	calls        callTable
	callBytes    int64
	maxCalls     int                  // how many of ours may be outstanding, by our bounds and the peer's
	maxCallBytes int64                // and how many bytes of them
	goneAway     *GoAwayError         // the peer's
	leader       *lead                // what leads, or whose call receives; or nil
	freeCall     atomic.Pointer[call] // one that is free, not guarded; others are in Conn.freeCalls
	relieve      func()               // Conn.relieve, made when it is needed
	callers      line                 // wait for room to make a request

	repliers line // handlers that wait for room to answer
	sender   sender

	// The peer's requests.
	incoming incomingTable
	running  int       // handlers at work, those that wait in a call not counted
	workers  int       // handlers begun and not finished
	spare    *incoming // for the next request, or nil; the receiver's
	queue    runQueue  // accepted requests that wait for a place
	refused  int32     // requests past the bounds since the last that was accepted
	company  int32     // how much bulk may come until requests and answers beside it are forgotten
	leavers  int32     // how many wait for returned
	closers  int32     // Close calls made by handlers, which are not waited for
	buffers  bufferList
	streams  streams
	returned *sync.Cond // signalled when a system call has given a caller's memory back, or relieve has run; made when somebody waits

	failure     error // why receiving was interrupted, if fail was called
	endErr      error // what ended the connection, once recvEnded
	workersGone chan struct{}

	watches watches // of contexts that callers wait with

	text []byte // the first bytes received, while they are no packet yet and read as text
}

// mayRunInline says whether handlers may run on the receiving goroutine: not while answers wait for
// room, which receiving must not do.
func (s *state) mayRunInline() bool { return s.repliers.empty() && s.roomForReply() }

// mayCall says whether a new request can be made.
func (s *state) mayCall(inHandler bool) error {
	switch {
	case s.recvEnded:
		return s.endErr
	case s.ending && !s.shutdown:
		return nil // its outcome is endErr, as that of the calls before it
	case s.sender.eof:
		return ErrDraining
	case s.sender.helloLost:
		return s.sender.err
	case s.phase != phaseOpen && !inHandler:
		return ErrDraining
	case s.goneAway != nil && !inHandler:
		return s.goneAway
	}
	return nil
}

// roomForCall says whether a request of size bytes may be made now, or whether there is no point in
// waiting.
func (s *state) roomForCall(size int64) bool {
	if s.sender.eof || s.recvEnded || s.ending {
		return true
	}
	return s.calls.n < s.maxCalls &&
		(s.callBytes == 0 || s.callBytes+size <= s.maxCallBytes) &&
		s.sender.pending.Len() < maxQueue
}

// roomForReply says whether an answer may be queued now, or whether there is no point in waiting.
func (s *state) roomForReply() bool {
	return s.sender.eof || s.sender.err != nil || s.sender.pending.Len() < maxQueue
}

func (s *state) addCall(c *call) {
	s.calls.put(c)
	s.callBytes += c.size
}

// removeCall takes a call out and reports whether it was in. The first caller in line may have its
// room.
func (s *state) removeCall(c *call) bool {
	if !s.calls.remove(c) {
		return false
	}
	if c.context.watched {
		c.context.leave()
	}
	s.callBytes -= c.size
	s.callers.wakeFirst()
	return true
}

// checkBounds says with which text a request of size bytes is to be refused, if at all, or that the
// peer has gone so far past the bounds that the connection ends: none of so many requests in a row could
// be accepted, and still it sends more.
func (s *state) checkBounds(size int64) (text string, err error) {
	switch {
	case s.incoming.n+s.sender.unwritten() >= maxOutstanding:
		text = fmt.Sprintf("too many requests: the limit is %d unanswered ones", maxOutstanding)
	case s.incoming.bytes > 0 && s.incoming.bytes+size > maxOutstandingBytes:
		text = fmt.Sprintf("requests too large: the limit is %d bytes of unanswered ones", maxOutstandingBytes)
	default:
		s.refused = 0
		return "", nil
	}
	s.refused++
	if sent := maxOutstanding + int(s.refused); sent > hardFactor*maxOutstanding {
		return "", &LimitError{What: "requests past the bound of unanswered ones", Value: int64(sent), Max: hardFactor * maxOutstanding}
	}
	return text, nil
}

// step moves the phase on where what it waited for has come about. It is called, with Conn.mu held,
// after every change that may matter to it.
func (c *Conn) step() {
	s := &c.st
	if s.phase == phaseDraining && (s.ending || s.calls.n == 0 && !s.streams.live()) && s.incoming.n <= int(s.closers) {
		c.queueEOF()
	}
}

// drain begins to drain. Conn.mu is held.
func (c *Conn) drain() {
	if c.st.phase == phaseOpen {
		c.st.phase = phaseDraining
	}
	c.step()
}

// queueEOF queues the EOF packet, the last one. Conn.mu is held.
func (c *Conn) queueEOF() {
	s := &c.st
	if s.phase == phaseEnded {
		return
	}
	s.phase = phaseEnded
	if s.sender.helloLost {
		c.lateInterrupt()
	}
	if s.sender.err == nil {
		eof := packet.Header{Request: true}
		b := s.sender.toFill()
		buf, _ := eof.Append(b.Begin())
		b.End(buf)
		s.sender.eof = true
		c.wakeSender()
	}
	s.callers.wakeFirst()
	s.repliers.wakeFirst()
	s.sender.larges.repliers.wakeFirst()
}
