package pconn

import (
	"context"
	"sync"
	"time"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
)

// handlerContext is what one handler sees, and may keep: its request and its context. It is one of the two pieces of memory
// that a request takes. The context behind it takes more only when somebody waits on it or looks a value up in it: most
// handlers return before.
type handlerContext struct {
	req  Request
	conn *Conn
	in   *incoming // until the handler has returned; guarded by Conn.mu

	mu    sync.Mutex   // guards made, told and ended
	made  *madeContext // the context behind it, once somebody needs one
	told  *told        // what was said beside the request and the answer, or nil
	ended bool         // the handler is done
}

// set makes a context that is zero that of a request.
func (h *handlerContext) set(c *Conn, in *incoming, header *packet.Header, payload []byte) {
	h.conn, h.in = c, in
	r := &h.req
	r.Channel, r.Type, r.Flags, r.Payload, r.Conn = header.Channel, header.Type-1, header.Flags, payload, c
}

// madeContext is a context of package context's behind that of a handler.
type madeContext struct {
	context.Context
	cancel context.CancelCauseFunc
	stop   context.CancelFunc // of the deadline's timer, or nil
}

// handlerKey is the key by which a context says which handler it belongs to.
type handlerKey struct{}

// told is what a caller said beside its request, and a handler beside its answer.
type told struct {
	deadline time.Time // the caller's, or zero
	reply    *Metadata
	files    *bufio.Handles // of the answer, from the handler's return until it is queued
}

// Deadline is the caller's or that of Options.Context, whichever comes first.
func (h *handlerContext) Deadline() (time.Time, bool) {
	deadline, ok := h.conn.base.Deadline()
	if callers, told := h.callersDeadline(); told && (!ok || callers.Before(deadline)) {
		return callers, true
	}
	return deadline, ok
}

// callersDeadline returns the deadline that came with the request, if one did.
func (h *handlerContext) callersDeadline() (time.Time, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.told == nil {
		return time.Time{}, false
	}
	return h.told.deadline, !h.told.deadline.IsZero()
}

func (h *handlerContext) Done() <-chan struct{} { return h.context().Done() }

func (h *handlerContext) Err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.made != nil:
		return h.made.Err()
	case h.ended:
		return context.Canceled
	}
	err := h.conn.base.Err()
	if err == nil && h.told != nil && !h.told.deadline.IsZero() && time.Until(h.told.deadline) <= 0 {
		err = context.DeadlineExceeded
	}
	return err
}

func (h *handlerContext) Value(key any) any {
	if key == (handlerKey{}) {
		return h
	}
	return h.context().Value(key)
}

// context returns the context behind h, with which context.Cause and derived contexts work.
func (h *handlerContext) context() context.Context {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.make()
	return h.made.Context
}

// make makes the context behind h, if there is none. The lock is held.
func (h *handlerContext) make() {
	if h.made != nil {
		return
	}
	h.made = new(madeContext)
	parent := h.conn.base
	if h.told != nil && !h.told.deadline.IsZero() {
		parent, h.made.stop = context.WithDeadlineCause(parent, h.told.deadline, &CancelError{Deadline: true})
	}
	h.made.Context, h.made.cancel = context.WithCancelCause(parent)
	if h.ended {
		h.made.end(context.Canceled)
	}
}

// end ends the context, and the timer of its deadline after it.
func (m *madeContext) end(cause error) {
	m.cancel(cause)
	if m.stop != nil {
		m.stop()
	}
}

// end cancels the context. Only the first cause counts.
func (h *handlerContext) end(cause error) {
	h.mu.Lock()
	if cause != context.Canceled && !h.ended {
		h.make() // it remembers the cause
	}
	h.ended = true
	made := h.made
	h.mu.Unlock()
	if made != nil {
		made.end(cause)
	}
}

// setReply sets the metadata of the answer, unless the handler has returned.
func (h *handlerContext) setReply(md Metadata) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return false
	}
	if h.told == nil {
		h.told = new(told)
	}
	h.told.reply = &md
	return true
}

// reply returns the metadata that setReply has set. The handler has returned.
func (h *handlerContext) reply() *Metadata {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.told == nil {
		return nil
	}
	return h.told.reply
}

// handlerOf returns the context of the handler that ctx belongs to, or nil.
func handlerOf(ctx context.Context) *handlerContext {
	h, _ := ctx.Value(handlerKey{}).(*handlerContext)
	return h
}
