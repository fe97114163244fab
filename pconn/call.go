package pconn

import (
	"context"
	"math"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
)

// call is one request of ours, from its tag to its outcome. The caller makes it; while it is in the
// call table it is guarded by Conn.mu; whoever takes it out of the table owns it, sets its outcome
// and calls complete, once.
//
// Among many callers no call is in a cache when its turn comes: so what every call needs comes first, and free leaves alone what only
// few use.
type call struct {
	tag     uint64
	channel uint64

	// done takes one value when the outcome is set, and one before if the context has ended that is looked after. Calls
	// of Do keep it, and what they know of their context, for their next use.
	done     chan struct{}
	size     int64 // payload bytes of the request, as counted against maxOutstandingBytes
	kind     callKind
	unsent   bool // it failed, and nothing of its request was given to a write or will be
	lent     bool // a read into buf is under way
	receives bool // its caller receives: see lonecall.go
	lends    bool // its caller has receiving with the outcome, for the next call
	alone    bool // it was the only one in the table when it was put in
	context  contextUse
	resp     Response
	err      error
	buf      []byte  // where a DoInto wants its payload
	result   *Result // of a Submit
	conn     *Conn   // takes the call when it is free; nil for that of a Submit
	begun    instant
	typ      uint64

	large *large         // the request, if it goes in pieces
	files *bufio.Handles // go with the request, until it is queued
	ref   sendRef        // where the caller's own payload waits to be sent, if it was not copied
}

type callKind uint8

const (
	callWaits   callKind = iota // somebody waits for the outcome
	callDropped                 // of a Notify: the response is dropped
)

// newCall returns a call for use until free. Calls are kept by connection: their channels must not leave
// a testing/synctest bubble that a connection is in.
func (c *Conn) newCall(req *Request) *call {
	free := c.st.freeCall.Load()
	if free == nil || !c.st.freeCall.CompareAndSwap(free, nil) {
		free, _ = c.freeCalls.Get().(*call)
	}
	if free == nil {
		free = &call{done: make(chan struct{}, 2), conn: c}
	}
	free.channel, free.typ, free.size = req.Channel, req.Type, req.size()
	return free
}

// free gives a call back whose outcome was taken.
func (c *call) free() {
	c.tag, c.channel, c.size, c.begun, c.typ = 0, 0, 0, 0, 0
	alone := c.alone
	c.kind, c.unsent, c.lent, c.receives, c.lends, c.alone = callWaits, false, false, false, false, false
	c.context.watched, c.context.ended = false, false
	c.resp, c.err, c.buf, c.result = Response{}, nil, nil, nil
	if c.large != nil || c.files != nil || c.ref.batch != nil {
		c.large, c.files, c.ref = nil, nil, sendRef{}
	}
	// Many have the pool, where no two processors want the same memory.
	if !alone || !c.conn.st.freeCall.CompareAndSwap(nil, c) {
		c.conn.freeCalls.Put(c)
	}
}

// complete makes the outcome known. Not to be called under a lock.
func (c *call) complete() {
	switch {
	case c.kind == callDropped:
		c.free()
	case c.result != nil:
		close(c.result.done)
	default:
		c.done <- struct{}{}
	}
}

// Do sends a request and waits for its response. It may be called concurrently.
//
// The error is nil only for an ok response. A rejection is a *RemoteError, and is also in the Response
// (OK false). When ctx ends first the error is exactly ctx.Err(), the call no longer counts, and its
// late response is dropped. When the connection ends first the error is that of Conn.Err. A request
// that cannot be made is a *LimitError, ErrFlags, ErrType, ErrReservedChannel, ErrDraining or
// ErrNonBlocking, and was not sent.
//
// While the bound of outstanding requests is reached Do waits, in order. req.Payload is not copied if
// it is large; it is the caller's again when Do returns, whatever it returns.
func (c *Conn) Do(ctx context.Context, req Request) (resp Response, err error) {
	_, err = c.do(ctx, &req, nil, &resp)
	return resp, err
}

// Attempt is Do for who may ask somebody else when the connection ends: sent is false if surely no part of the
// request has left or will, so that the peer cannot begin with it. It is true where that is not sure.
func (c *Conn) Attempt(ctx context.Context, req Request) (resp Response, sent bool, err error) {
	sent, err = c.do(ctx, &req, nil, &resp)
	return resp, sent, err
}

// DoInto is Do with a response whose payload is in buf's memory if it fits in its capacity, and in
// memory of its own otherwise, as that of a *RemoteError always is. Until DoInto returns, buf must not be used.
func (c *Conn) DoInto(ctx context.Context, buf []byte, req Request) (resp Response, err error) {
	_, err = c.do(ctx, &req, buf[:0], &resp)
	return resp, err
}

// do makes a call, whose response it puts into resp. Among many callers none of their stacks is in a cache: so what they hold while
// they wait is little.
func (c *Conn) do(ctx context.Context, req *Request, buf []byte, resp *Response) (sent bool, err error) {
	if err := c.checkRequest(ctx, req); err != nil {
		return false, err
	}
	in, err := c.leavePlace(ctx)
	if err != nil {
		return false, err
	}
	if in != nil {
		defer c.rejoinPlace(in)
	}
	if err := c.needExtensions(ctx, req); err != nil {
		return false, err
	}
	call := c.newCall(req)
	call.buf = buf
	call.context.use(ctx.Done())
	if err := c.send(ctx, call, req, in != nil); err != nil {
		call.free()
		return false, err
	}
	if call.context.worthWatch() {
		c.watchContext(ctx)
	}
	if !(call.receives && c.receiveAnswer(call)) && !c.await(ctx, call) {
		call.free()
		return true, ctx.Err()
	}
	if call.lends {
		c.lend()
	}
	*resp = call.resp
	sent, err = !call.unsent, call.err
	call.free()
	return sent, err
}

// await waits for the call's outcome, and reports false if ctx ended first and the call was taken
// back. Either way nothing of the caller's memory is in use when it returns.
func (c *Conn) await(ctx context.Context, call *call) bool {
	if c.contextEndsFirst(call) {
		if c.takeBack(call, context.Cause(ctx)) {
			c.logText()
			return false
		}
		<-call.done // the outcome is being set just now
	}
	if call.ref.batch != nil || call.large != nil {
		c.releasePayload(call)
	}
	return true
}

// contextEndsFirst waits for the call's outcome or for the end of its context.
func (c *Conn) contextEndsFirst(call *call) bool {
	if u := &call.context; u.gone == nil || u.watched {
		<-call.done // for which there is no need of a select, which costs more
		return u.ended
	}
	select {
	case <-call.done:
		return false
	case <-call.context.gone:
		return true
	}
}

// takeBack takes a call out of the table whose caller has gone away, and tells the peer why, if the peer
// can be told and may know of the request.
func (c *Conn) takeBack(call *call, cause error) bool {
	c.mu.Lock()
	if !c.st.removeCall(call) {
		c.mu.Unlock()
		return false
	}
	c.counters.Cancelled.Add(1)
	part := c.ext.partials.take(partialKey{call.tag, true})
	done := c.releaseRef(call, cause) || call.unsent
	for call.lent {
		c.waitReturned()
	}
	var h packet.Header
	var q queued
	if c.ext.on.Load() && !done {
		h, q = c.appendCancel(call, cause)
	}
	q.flush = q.flush || c.beginFlush()
	c.step()
	c.mu.Unlock()
	c.leavePartial(part)
	c.flush(&h, q)
	return true
}

// Submit sends a request and returns at once, with the Result that its response will arrive in. The
// payload is copied. ctx bounds only the wait for a place among the outstanding requests. The errors
// are those of Do.
func (c *Conn) Submit(ctx context.Context, req Request) (*Result, error) {
	if err := c.checkRequest(ctx, &req); err != nil {
		return nil, err
	}
	in, err := c.leavePlace(ctx)
	if err != nil {
		return nil, err
	}
	if in != nil {
		defer c.rejoinPlace(in)
	}
	if err := c.needExtensions(ctx, &req); err != nil {
		return nil, err
	}
	r := &Result{conn: c, decode: req.Decode, done: make(chan struct{})}
	r.call = call{channel: req.Channel, typ: req.Type, size: req.size(), result: r}
	if err := c.send(ctx, &r.call, &req, in != nil); err != nil {
		return nil, err
	}
	return r, nil
}

// Notify sends a request whose response is dropped. It counts as outstanding until the response has
// come, so that a peer that does not keep up holds back its callers. ctx bounds the wait for a place
// among the outstanding requests; the payload is copied. A nil error says that the request was
// queued: it leaves before EOF even if the connection ends meanwhile, unless writing fails, or it is one of more than 128 KiB
// that goes in pieces, which hold up no end.
func (c *Conn) Notify(ctx context.Context, req Request) error {
	if err := c.checkRequest(ctx, &req); err != nil {
		return err
	}
	in, err := c.leavePlace(ctx)
	if err != nil {
		return err
	}
	if in != nil {
		defer c.rejoinPlace(in)
	}
	if err := c.needExtensions(ctx, &req); err != nil {
		return err
	}
	call := c.newCall(&req)
	call.kind = callDropped
	if err := c.send(ctx, call, &req, in != nil); err != nil {
		call.free()
		return err
	}
	return nil
}

// checkRequest finds what makes a request impossible before anything is done for it.
func (c *Conn) checkRequest(ctx context.Context, req *Request) error {
	switch {
	case req.Flags > packet.MaxFlags:
		return ErrFlags
	case req.Type == math.MaxUint64:
		return ErrType
	case req.Channel == reservedChannel:
		return ErrReservedChannel
	case c.ext.on.Load() && uint64(len(req.Payload)) > c.ext.peer.MaxPayload:
		return tooLarge("request", int64(len(req.Payload)), int64(c.ext.peer.MaxPayload))
	case int64(len(req.Payload)) > c.opts.MaxPayload:
		return tooLarge("request", int64(len(req.Payload)), c.opts.MaxPayload)
	}
	return ctx.Err()
}
