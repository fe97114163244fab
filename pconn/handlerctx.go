package pconn

import (
	"context"
	"sync"
	"time"
)

// handlerContext is the context of one handler. It is a part of the request it belongs to and takes no
// memory until somebody waits on it or looks a value up in it: most handlers return before.
type handlerContext struct {
	parent context.Context
	in     *incoming

	mu     sync.Mutex // guards the rest
	real   context.Context
	cancel context.CancelCauseFunc
	cause  error // set by end before real was made
	ended  bool
}

// incomingKey is the key by which a context says which handler it belongs to.
type incomingKey struct{}

// Deadline is the parent's.
func (h *handlerContext) Deadline() (time.Time, bool) { return h.parent.Deadline() }

func (h *handlerContext) Done() <-chan struct{} { return h.context().Done() }

func (h *handlerContext) Err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.real != nil:
		return h.real.Err()
	case h.ended:
		return context.Canceled
	}
	return h.parent.Err()
}

func (h *handlerContext) Value(key any) any {
	if key == (incomingKey{}) {
		return h.in
	}
	return h.context().Value(key)
}

// context returns the real context behind h, with which context.Cause and derived contexts work.
func (h *handlerContext) context() context.Context {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.real == nil {
		h.real, h.cancel = context.WithCancelCause(h.parent)
		if h.ended {
			h.cancel(h.cause)
		}
	}
	return h.real
}

// end cancels the context. Only the first cause counts.
func (h *handlerContext) end(cause error) {
	h.mu.Lock()
	if h.ended {
		h.mu.Unlock()
		return
	}
	h.ended, h.cause = true, cause
	cancel := h.cancel
	h.mu.Unlock()
	if cancel != nil {
		cancel(cause)
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
