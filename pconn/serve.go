package pconn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/packetstream/packetstream/packet"
)

// verdict is what becomes of a request, as far as its header and the connection's state say.
type verdict uint8

const (
	verdictDrop   verdict = iota // nothing is answered
	verdictReject                // it is answered with a text
	verdictBusy                  // its handler is marked and may not run now: ask again for one that is not
	verdictQueue                 // it waits for a handler's place
	verdictApart                 // its handler begins, on a goroutine of its own
	verdictHere                  // its handler begins, and may do so on the receiving goroutine
)

// Texts of rejections that say that this end is about to go.
const (
	textShuttingDown = "rejecting request: connection is shutting down"
	textGoingAway    = "rejecting request: going away"
)

// judge says whether a request may be taken up, in the reference's order of reasons. It returns verdictHere, or
// verdictReject with a text, or verdictDrop, or the error that ends the connection. Conn.mu is held.
func (c *Conn) judge(h *packet.Header, more *extra, handler Handler, known bool) (v verdict, text string, err error) {
	s := &c.st
	switch {
	case s.sender.eof || s.sender.err != nil && !s.sender.helloLost:
		// No answer can follow our EOF.
		c.counters.DroppedRequests.Add(1)
		return verdictDrop, "", nil
	case handler == nil && (known || c.opts.Handler == nil):
		return verdictReject, "no request handler", nil
	case s.noMoreRequests:
		return verdictReject, "requests no longer allowed", nil
	case s.phase != phaseOpen && s.calls.n == 0:
		// While calls of ours are outstanding, requests may belong to them: they are served.
		return verdictReject, textShuttingDown, nil
	case s.goingAway && s.calls.n == 0:
		return verdictReject, textGoingAway, nil
	case c.opts.VerifyCookie != nil && !c.ext.on.Load():
		return verdictReject, "rejecting request: no HELLO before it", nil
	case !known:
		return verdictReject, unknownChannelText(h.Channel), nil
	case h.Size > c.opts.MaxPayload:
		c.counters.TooLarge.Add(1)
		return verdictReject, tooLarge("request", h.Size, c.opts.MaxPayload).Error(), nil
	}
	if err := more.err("request"); err != nil {
		return verdictReject, err.Error(), nil
	}
	if in := s.incoming.find(h.Channel, h.Tag); in != nil {
		return verdictDrop, "", c.repeatedTag(h, in)
	}
	if text, err = s.checkBounds(h.Size + more.bytes()); text != "" || err != nil {
		return verdictReject, text, err
	}
	return verdictHere, "", nil
}

// repeatedTag counts a request that repeats the tag of one at work. To reject it would destroy the
// first one's answer at a reference peer; a second repetition ends the connection. Conn.mu is held.
func (c *Conn) repeatedTag(h *packet.Header, in *incoming) error {
	if in.repeated {
		return &ProtocolError{Reason: fmt.Sprintf("tag %d on channel %d repeated twice while its request is at work", h.Tag, h.Channel),
			Quote: quoteHeader(h, nil)}
	}
	in.repeated = true
	c.counters.RepeatedTags.Add(1)
	return nil
}

// accept takes up a request whose payload is there, and runs its handler as soon as there is a place:
// inline, if that may be. It reports whether this goroutine still receives.
func (c *Conn) accept(h *packet.Header, more *extra, handler Handler, payload []byte, judged bool) (goOn bool, err error) {
	in := c.newIncoming()
	ctx := new(handlerContext)
	ctx.set(c, in, h, payload)
	in.set(c, h, handler, ctx)
	if more != nil {
		in.hear(more)
	}
	v, text, err := c.admit(h, more, in, judged)
	if more != nil && (err != nil || v < verdictBusy) {
		c.dropFiles(in.ctx.req.Files)
	}
	switch {
	case err != nil:
		return false, err
	case v == verdictReject:
		return true, c.reject(h, text)
	case v == verdictHere && c.inline.typeOf(in.typ).mayRun():
		return c.runInline(in), nil
	case v >= verdictApart:
		c.startHandler(in)
	}
	return true, nil
}

// admit takes a request up, unless it is refused, under the one hold of the lock that a request whose
// payload was buffered costs before its handler runs. judged says that its header was accepted before its
// payload was read. A request to a marked handler neither queues nor waits: it begins here or is busy.
func (c *Conn) admit(h *packet.Header, more *extra, in *incoming, judged bool) (v verdict, text string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.st
	if !judged {
		if v, text, err = c.judge(h, more, in.handler, true); v != verdictHere || err != nil {
			return v, text, err
		}
		if in.marked && !c.roomForMarked() {
			return verdictBusy, "", nil
		}
	} else if s.sender.eof {
		c.counters.DroppedRequests.Add(1)
		return verdictDrop, "", nil
	}
	n := c.counters.RequestsIn.Add(1)
	s.incoming.put(in)
	if n == c.opts.MaxRequests {
		s.shutdown = true
		c.drain()
	}
	if s.running >= c.opts.MaxHandlers && !in.marked {
		s.queue.push(in)
		return verdictQueue, "", nil
	}
	c.takePlace(in)
	if !s.mayRunInline() {
		return verdictApart, "", nil
	}
	s.sender.awake = s.sender.awake && in.marked // else its handler may take time
	return verdictHere, "", nil
}

// takePlace counts the handler of in as at work. Conn.mu is held.
func (c *Conn) takePlace(in *incoming) {
	c.st.running++
	c.st.workers++
	in.state = incomingAtWork
}

// startHandler runs the handler on a goroutine of its own that windDown waits for, as long as Close allows. It
// ends when the handler returns.
func (c *Conn) startHandler(in *incoming) { go c.work(in) }

// work runs a handler, and after it, in the same place, those that wait for one.
func (c *Conn) work(in *incoming) {
	for in != nil {
		reply, err := c.invoke(in.ctx, in, c.mark())
		in = c.finish(in, reply, err)
	}
}

// finishHandler takes a request out whose answer is queued, and returns the one whose handler is to
// run next in its place. Conn.mu is held.
func (c *Conn) finishHandler(in *incoming) *incoming {
	s := &c.st
	in.state, in.left = incomingDone, in.waits > 0
	in.ctx.of.Store(&c.nobody)
	s.incoming.remove(in)
	s.workers--
	if in.waits == 0 {
		// Otherwise goroutines that the handler left behind still call, and its place was given away.
		s.running--
	}
	next := c.nextQueued()
	c.noteWorkersGone()
	c.step()
	return next
}

// noteWorkersGone tells windDown when no handlers are left but those that wait for it. Conn.mu is held.
func (c *Conn) noteWorkersGone() {
	s := &c.st
	if s.workersGone != nil && s.workers <= int(s.closers) {
		close(s.workersGone)
		s.workersGone = nil
	}
}

// dropQueued drops the requests whose handlers have not begun, and never will.
func (c *Conn) dropQueued() {
	var unused []*os.File
	c.mu.Lock()
	for in := c.st.queue.pop(); in != nil; in = c.st.queue.pop() {
		in.state = incomingDone
		c.st.incoming.remove(in)
		c.counters.DroppedRequests.Add(1)
		unused = append(unused, in.ctx.req.TakeFiles()...)
	}
	c.step()
	c.mu.Unlock()
	c.dropFiles(unused)
}

// nextQueued takes the next waiting request into a place, if there is one. Conn.mu is held.
func (c *Conn) nextQueued() *incoming {
	s := &c.st
	if s.running >= c.opts.MaxHandlers {
		return nil
	}
	in := s.queue.pop()
	if in != nil {
		c.takePlace(in)
	}
	return in
}

// leavePlace gives the place of the handler that ctx belongs to away while it waits in a call. It
// returns nil where ctx belongs to no handler at work on this connection.
func (c *Conn) leavePlace(ctx context.Context) (*incoming, error) {
	if c.counters.RequestsIn.Load() == 0 {
		return nil, nil // there was none
	}
	h := handlerOf(ctx)
	if h == nil || h.conn() != c {
		return nil, nil
	}
	c.mu.Lock()
	in := h.of.Load().in
	switch {
	case in == nil:
		c.mu.Unlock()
		return nil, nil // the handler has returned
	case in.marked:
		c.mu.Unlock()
		return nil, ErrNonBlocking
	}
	var next *incoming
	in.waits++
	if in.waits == 1 {
		c.st.running--
		next = c.nextQueued()
	}
	c.mu.Unlock()
	if next != nil {
		c.startHandler(next)
	}
	c.takeReceiving(in.run)
	return in, nil
}

// rejoinPlace takes a place for a handler that has waited, without queueing: it may exceed the limit
// for as long as it takes the others to finish.
func (c *Conn) rejoinPlace(in *incoming) {
	c.mu.Lock()
	in.waits--
	if in.waits == 0 && in.state == incomingAtWork {
		c.st.running++
	}
	c.mu.Unlock()
}

// invoke calls the handler and turns a panic into an error. It is not inlined, since Close finds out
// by its name on the stack that it is called from a handler.
//
//go:noinline
func (c *Conn) invoke(ctx context.Context, in *incoming, _ mark) (reply Reply, err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
			return
		}
		// runtime.Goexit ends this goroutine for good: another one goes on in its place.
		if in.marked {
			c.leaveScratch(in)
			c.startReceiving()
		}
		c.takeReceiving(in.run)
		go func() { c.work(c.finish(in, Reply{}, errGoexit)) }()
	}()
	reply, err = in.handler.ServePacket(ctx, &in.ctx.req)
	returned = true
	return reply, err
}

var errGoexit = errors.New("pconn: handler ended its goroutine")

// finish sends what the handler returned, and returns the request whose handler is to run next in its
// place.
func (c *Conn) finish(in *incoming, reply Reply, err error) *incoming {
	if err == nil {
		err = c.checkReply(&reply)
	}
	in.ctx.end(context.Canceled)
	var headers []byte
	if err == nil {
		headers, err = c.replyHeaders(in, &reply)
	}
	if reply.more != nil || len(in.ctx.req.Files) > 0 {
		err = c.finishFiles(in, &reply, err)
	}
	if err == nil {
		handler := in.ctx
		next := c.respond(in, true, reply.flags(), reply.payload, headers)
		if reply.more != nil {
			handler.closeUnsent()
		}
		return next
	}
	c.counters.HandlerErrors.Add(1)
	c.reportHandlerError(in, err)
	return c.respond(in, false, 0, []byte(errorText(err)), c.errorHeaders(in, err))
}

// checkReply finds a reply that cannot be sent.
func (c *Conn) checkReply(r *Reply) error {
	if flags := r.flags(); flags > maxReplyFlags {
		return Errorf("reply flags %#x do not fit in 61 bits", flags)
	}
	most := c.opts.MaxPayload
	if c.ext.on.Load() {
		most = int64(min(uint64(most), c.ext.peer.MaxPayload))
	}
	if int64(len(r.payload)) > most {
		return Errorf("%w", tooLarge("reply", int64(len(r.payload)), most))
	}
	return nil
}

const maxReplyFlags = packet.MaxFlags >> 1
