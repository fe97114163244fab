package pconn

import (
	"bytes"
	"context"
	"errors"

	"github.com/packetstream/packetstream/packet"
)

// NonBlocking marks a handler that never waits: for no lock that is held long, no I/O, no call. Its
// requests take no memory: it always runs on the receiving goroutine, and the request, its payload and
// the context are valid only until it returns. It may answer with the payload, or with a part of it.
//
// A handler so marked that does wait holds up everything that the peer sends, and the end of the connection
// with it; a call made with its context is refused with ErrNonBlocking. Handlers that are not marked run on
// the receiving goroutine too, until one is seen to wait. The mark saves the two allocations that make
// that safe.
//
// Requests with more than a payload (metadata, a deadline, open files), and those that come in pieces, are served as
// if their handler were not marked.
func NonBlocking(h Handler) Handler { return nonBlocking{h} }

// nonBlocking is a marked handler.
type nonBlocking struct{ Handler }

func (nonBlocking) marked(uint64) bool { return true }

// marker knows which types' handlers are marked: a marked handler itself, or a Mux.
type marker interface{ marked(typ uint64) bool }

// isMarked says whether a request is for a marked handler.
func isMarked(h Handler, typ uint64) bool {
	m, ok := h.(marker)
	return ok && m.marked(typ)
}

// markedContext is the context of a connection's marked handlers.
type markedContext struct {
	context.Context
	handler *handlerContext
}

func (m *markedContext) Value(key any) any {
	if key == (handlerKey{}) {
		return m.handler
	}
	return m.Context.Value(key)
}

// ErrNonBlocking says that a handler marked NonBlocking has tried to make a call.
var ErrNonBlocking = errors.New("pconn: a handler marked NonBlocking may not call")

// scratch is what the receiver uses again for each request to a marked handler.
type scratch struct {
	in   incoming
	seen handlerContext
	ctx  markedContext
	buf  []byte // of the payload, if that is not in the input's buffer
	lent bool   // buf belongs to a batch
}

func newScratch(c *Conn) *scratch {
	s := new(scratch)
	s.ctx = markedContext{c.base, &s.seen}
	s.in.self = handling{c, &s.in}
	return s
}

// runMarked serves a request to a marked handler on the receiving goroutine, or refuses it. It reports false, and
// has done nothing, if the handler may not run now, which can be only if the request was not judged before.
//
//go:noinline
func (c *Conn) runMarked(h *packet.Header, handler Handler, judged bool) (done bool, err error) {
	if c.scratch == nil {
		c.scratch = newScratch(c)
	}
	s := c.scratch
	payload, err := c.markedPayload(h, s)
	if err != nil {
		return true, err
	}
	s.seen = handlerContext{}
	s.seen.set(c, &s.in, h, payload)
	s.in.clear()
	s.in.set(c, h, handler, &s.seen)
	s.in.marked = true
	v, text, err := c.admit(h, nil, &s.in, judged)
	switch {
	case err != nil:
		return true, err
	case v == verdictBusy:
		return false, nil
	case v == verdictReject:
		err = c.reject(h, text)
	case v >= verdictApart:
		reply, err := c.invoke(&s.ctx, &s.in, c.mark())
		if next := c.finish(&s.in, reply, err); next != nil {
			c.startHandler(next)
		}
	}
	if s.buf != nil {
		c.keepScratch(s)
		return true, err
	}
	return true, errors.Join(err, c.in.Skip(h.Size))
}

// markedPayload returns the payload of a request to a marked handler. A small one stays in the
// input's buffer, to be skipped when the handler is done; others are read into a buffer that is used
// again.
func (c *Conn) markedPayload(h *packet.Header, s *scratch) (payload []byte, err error) {
	if h.Size < gatherFrom && h.Size <= int64(c.in.Buffered()) {
		b, err := c.in.Peek(0)
		return b[:h.Size:h.Size], err
	}
	if h.Size > keepBuffers {
		s.buf, err = c.readPayload(h)
		return s.buf, err
	}
	c.mu.Lock()
	s.buf = c.st.buffers.get(int(h.Size))
	c.mu.Unlock()
	if s.buf == nil {
		s.buf = make([]byte, h.Size)
	}
	if err := c.in.ReadFull(s.buf); err != nil {
		return nil, c.payloadError(h, err)
	}
	return s.buf, nil
}

// lendScratch leaves the payload's buffer to a batch, since the answer just queued may be
// part of it. Conn.mu is held.
func (c *Conn) lendScratch(b *batch) {
	if s := c.scratch; s.buf != nil {
		b.buffers = append(b.buffers, s.buf)
		s.lent = true
	}
}

// keepScratch keeps the payload's buffer for the next use, unless an answer may be part of it.
func (c *Conn) keepScratch(s *scratch) {
	if !s.lent {
		c.mu.Lock()
		c.st.buffers.put(s.buf)
		c.mu.Unlock()
	}
	s.buf, s.lent = nil, false
}

// leaveScratch is the end of the receiving goroutine by its marked handler: the next one has a
// scratch of its own, and finds the input behind the request.
func (c *Conn) leaveScratch(in *incoming) {
	if c.scratch.buf == nil {
		in.ctx.req.Payload = bytes.Clone(in.ctx.req.Payload) // Options.OnHandlerError is still to see it
		_ = c.in.Skip(in.size)                               // it is buffered
	}
	c.scratch = nil
	in.marked = false // it is answered from a goroutine that does not receive
}

// roomForMarked says whether a marked handler may run now; it neither queues nor waits. Conn.mu is held.
func (c *Conn) roomForMarked() bool {
	return c.st.running < c.opts.MaxHandlers && c.st.mayRunInline()
}
