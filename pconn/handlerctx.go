package pconn

import (
	"context"
	"time"
)

// handlerContext is the context of one handler: the request that it answers, seen as a context. It takes no
// memory until somebody waits on it or looks a value up in it: most handlers return before.
type handlerContext incoming

// madeContext is a context of package context's behind that of a handler.
type madeContext struct {
	context.Context
	cancel context.CancelCauseFunc
}

// incomingKey is the key by which a context says which handler it belongs to.
type incomingKey struct{}

// Deadline is the parent's.
func (h *handlerContext) Deadline() (time.Time, bool) { return h.conn.base.Deadline() }

func (h *handlerContext) Done() <-chan struct{} { return h.context().Done() }

func (h *handlerContext) Err() error {
	h.ctxMu.Lock()
	defer h.ctxMu.Unlock()
	switch {
	case h.made != nil:
		return h.made.Err()
	case h.ended:
		return context.Canceled
	}
	return h.conn.base.Err()
}

func (h *handlerContext) Value(key any) any {
	if key == (incomingKey{}) {
		return (*incoming)(h)
	}
	return h.context().Value(key)
}

// context returns the context behind h, with which context.Cause and derived contexts work.
func (h *handlerContext) context() context.Context {
	h.ctxMu.Lock()
	defer h.ctxMu.Unlock()
	h.make()
	return h.made.Context
}

// make makes the context behind h, if there is none. The lock is held.
func (h *handlerContext) make() {
	if h.made != nil {
		return
	}
	ctx, cancel := context.WithCancelCause(h.conn.base)
	h.made = &madeContext{ctx, cancel}
	if h.ended {
		cancel(context.Canceled)
	}
}

// end cancels the context. Only the first cause counts.
func (h *handlerContext) end(cause error) {
	h.ctxMu.Lock()
	if cause != context.Canceled && !h.ended {
		h.make() // it remembers the cause
	}
	h.ended = true
	made := h.made
	h.ctxMu.Unlock()
	if made != nil {
		made.cancel(cause)
	}
}

// handlerOf returns the request of this connection whose handler ctx belongs to, or nil.
func (c *Conn) handlerOf(ctx context.Context) *incoming {
	in, _ := ctx.Value(incomingKey{}).(*incoming)
	if in == nil || in.conn != c {
		return nil
	}
	return in
}
