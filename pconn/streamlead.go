package pconn

import (
	"time"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
)

// A stream whose data is all that comes leads: its Reads receive, straight into their memory, and no other goroutine
// has to be woken for any of it (leadread.go). So does one whose writer is all that waits for something: its Writes take the credit for
// themselves (leadwrite.go). The receiving goroutine ends meanwhile, and a new one takes its place as soon as there is
// anything else. Between two calls nobody receives: the watchdog of inline handlers (inline.go) looks after who makes them
// as after those. So one that does other things holds receiving up for less than two of its periods, and the next time only when
// the stream has had many more calls.

// alone is the stream about which is all that has come lately. It belongs to whoever receives.
type alone struct {
	stream *Stream
	bytes  int64 // of its data, or of credit for it, since anything else came
	all    int64 // of data of any streams, or of credit for any, since anything but that came
	credit bool  // it is credit that comes
	handed bool  // who waits for it was just handed all there is: its calls may receive what follows
}

// aloneFrom is how many bytes of one stream have to come with nothing in between for it to be taken for all that comes.
// Requests beside it, one at a time, come more often.
const aloneFrom = 1 << 20

// watchLead is the watchdog's period while a stream leads. A timer that rings more often costs more than it saves.
const watchLead = 500 * time.Microsecond

// lead is what is known of one direction of a stream that may lead. Guarded by Conn.mu.
type lead struct {
	run    uint64     // the inliner's state while it leads, from one call to the next
	known  inlineType // what is done between calls
	atWork bool       // a call receives
	waits  bool       // for input
	look   bool       // it has to look at its stream instead
}

// countAlone counts the data of a frame, or what one allows. Conn.mu is held, by the receiver.
func (c *Conn) countAlone(s *Stream, credit bool, n int64) {
	a := &c.alone
	if a.stream != s || a.credit != credit {
		a.stream, a.credit, a.bytes = s, credit, 0
	}
	a.bytes += n
	a.all += n
	c.st.onlyData = !credit && a.all >= aloneFrom
	c.countBulk(n)
}

// leaveAlone is called when anything has come that does not go on with what came before. Conn.mu is held, by the receiver.
func (c *Conn) leaveAlone() {
	c.alone = alone{}
	c.st.onlyData = false
}

// somethingElse is called when a packet has come that does not go on with the data before it.
func (c *Conn) somethingElse(h *packet.Header) {
	c.mu.Lock()
	c.deliver()
	c.leaveAlone()
	if h.Channel != reservedChannel {
		c.st.company = companyFor
	}
	c.mu.Unlock()
}

// goesOn says whether a packet may go on with what has come lately.
func (a *alone) goesOn(h *packet.Header) bool {
	kind := frame.KindData
	if a.credit {
		kind = frame.KindCredit
	}
	return isFrame(h, kind)
}

// onlyCredit says whether nothing but credit has come lately: those who wait for it are others, who have to have the processors.
// It belongs to whoever receives.
func (a *alone) onlyCredit() bool { return a.credit && a.all >= aloneFrom }

// mayLead says whether the calls of the stream that is alone may receive. Conn.mu is held, by the receiver.
func (c *Conn) mayLead() bool {
	a := &c.alone
	// Who waits for the answer to a call had better be woken at once. What was left to the receiver is the receiver's to write.
	if a.bytes < aloneFrom || c.st.calls.n > 0 || c.st.sender.pending.Len() > 0 || !c.in.NonBlocking() {
		return false
	}
	s := a.stream
	if a.credit {
		return s.state.out == outOpen && s.out.err == nil
	}
	return s.state.in == inOpen && s.in.err == nil && !s.in.unwanted && s.in.buf.bytes == 0 && c.opts.Streams.Spill == 0
}

// lendReceiving lets the stream lead that is alone, if that may be, and reports whether it does: then the receiving
// goroutine ends.
func (c *Conn) lendReceiving() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := &c.alone
	a.handed = false
	s := a.stream
	l, wake := &s.in.lead, s.in.wake
	if a.credit {
		l, wake = &s.out.lead, s.out.wake
	}
	lends := c.given.empty() && c.mayLead() && l.known.mayRun()
	if lends {
		c.lead(l)
	}
	poke(wake)
	return lends
}

// lead gives receiving to the next call. From here on nothing of the receiver's may be touched. Conn.mu is held.
func (c *Conn) lead(l *lead) {
	l.atWork = false
	c.st.sender.awake = false // nothing is left to the receiver: see mayLead
	c.st.leader = l
	l.known.runs++
	l.run = c.beginRun(&l.known)
	c.watchRun(watchLead)
}

// takeLead begins a call, and reports whether it receives, having led. Conn.mu is held.
func (c *Conn) takeLead(l *lead) bool {
	if l.run == 0 {
		return false
	}
	l.atWork, l.look = c.inline.over(l.run), false
	l.run = 0
	return l.atWork
}

// leaveLead ends the receiving of a call: a receiving goroutine goes on. Conn.mu is held.
func (c *Conn) leaveLead(l *lead) {
	l.atWork = false
	c.st.leader = nil
	c.startReceiving()
}

// follow takes receiving back from a stream that leads and is not in a call, and lets it go on elsewhere: somebody is about
// to wait for something else. Conn.mu is held.
func (c *Conn) follow() {
	l := c.st.leader
	if l == nil {
		return
	}
	c.st.leader = nil
	if l.run != 0 && c.inline.over(l.run) {
		c.startReceiving()
	}
}

// awaitInput waits for more input than is buffered, on behalf of a call that receives. It reports false if there is none,
// or if the call has to look at its stream. Conn.mu is held, but not while it waits.
func (c *Conn) awaitInput(l *lead) bool {
	if l.look {
		return false
	}
	l.waits = true
	c.mu.Unlock()
	_, err := c.in.Peek(c.in.Buffered() + 1)
	c.mu.Lock()
	l.waits = false
	if l.look {
		c.resumeInput()
	}
	return err == nil && !l.look
}

// wakeRead wakes the Read that waits, or the next that would. Conn.mu is held.
func (s *Stream) wakeRead() { s.conn.wake(s.in.wake, &s.in.lead) }

// wakeWrite wakes the Write that waits, or the next that would. Conn.mu is held.
func (s *Stream) wakeWrite() { s.conn.wake(s.out.wake, &s.out.lead) }

// wake is poke for a call that may wait for input. To interrupt that is no I/O, and calls nobody: see mayLead.
func (c *Conn) wake(wake chan struct{}, l *lead) {
	poke(wake)
	if l.atWork && !l.look {
		l.look = true
		if l.waits {
			c.in.Interrupt()
		}
	}
}

// resumeInput undoes what wake did, unless the end of the connection interrupts as well.
func (c *Conn) resumeInput() {
	c.interrupting.Lock()
	defer c.interrupting.Unlock()
	if !c.interrupted {
		c.in.Resume()
	}
}

// isNext says whether a packet is a frame of a kind for the stream.
func (s *Stream) isNext(h *packet.Header, kind frame.Kind) bool {
	return isFrame(h, kind) && h.Tag == s.id && h.Flags&frame.FlagReceivers != 0 == s.ours
}

// buffered parses the next header, if all of it is buffered. n is what it takes.
func (c *Conn) buffered() (h packet.Header, n int, err error) {
	b, _ := c.in.Peek(0)
	return packet.ParseHeader(b)
}

// took counts a frame whose header a call has received, of n bytes, and tells those who look on. Conn.mu is held, but not
// while it tells them.
func (c *Conn) took(h *packet.Header, n int) {
	_ = c.in.Skip(int64(n)) // it is buffered
	c.counters.PacketsIn.Add(1)
	c.counters.FramesIn.Add(1)
	c.counters.BytesIn.Add(uint64(int64(n) + h.Size))
	if c.watch != nil {
		c.mu.Unlock()
		c.watch.received(h, n+int(h.Size))
		c.mu.Lock()
	}
}
