package pconn

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
)

// handlerContext is what one handler sees, and may keep: its request and its context. It is one of the two pieces of memory
// that a request takes. The context behind it takes more only when somebody waits on it or looks a value up in it, or something was said
// beside the request or the answer: most handlers return before.
type handlerContext struct {
	req  Request
	of   atomic.Pointer[handling]
	rest atomic.Pointer[handlerRest] // or nil; &nothingLeft when it has ended without
}

// handling is what a context belongs to: a request at work, or when that is finished its connection's nobody. It never changes.
type handling struct {
	conn *Conn
	in   *incoming // nil in nobody
}

// handlerRest is what only few handlers need.
type handlerRest struct {
	mu    sync.Mutex   // guards made, ended and reply
	made  *madeContext // the context behind the handler's, once somebody needs one
	ended bool         // the handler is done
	reply *Metadata    // what the handler said beside its answer

	deadline time.Time      // the caller's, or zero; it never changes once the handler runs
	files    *bufio.Handles // of the answer, from the handler's return until it is queued; of who answers
}

// nothingLeft is the rest of all contexts that ended before they needed one. Nothing changes it.
var nothingLeft = handlerRest{ended: true}

// set makes a context that is zero that of a request.
func (h *handlerContext) set(c *Conn, in *incoming, header *packet.Header, payload []byte) {
	h.of.Store(&in.self)
	r := &h.req
	r.Channel, r.Type, r.Flags, r.Payload, r.Conn = header.Channel, header.Type-1, header.Flags, payload, c
}

// more returns the context's rest, or nil if it has none.
func (h *handlerContext) more() *handlerRest {
	rest := h.rest.Load()
	if rest == &nothingLeft {
		return nil
	}
	return rest
}

// needMore returns the context's rest, which it makes if there is none.
func (h *handlerContext) needMore() *handlerRest {
	for {
		old := h.rest.Load()
		if old != nil && old != &nothingLeft {
			return old
		}
		h.rest.CompareAndSwap(old, &handlerRest{ended: old != nil})
	}
}

// madeContext is a context of package context's behind that of a handler.
type madeContext struct {
	context.Context
	cancel context.CancelCauseFunc
	stop   context.CancelFunc // of the deadline's timer, or nil
}

// handlerKey is the key by which a context says which handler it belongs to.
type handlerKey struct{}

// conn returns the connection that the request came by, which Request.Conn need not say any more.
func (h *handlerContext) conn() *Conn { return h.of.Load().conn }

// Deadline is the caller's or that of Options.Context, whichever comes first.
func (h *handlerContext) Deadline() (time.Time, bool) {
	deadline, ok := h.conn().base.Deadline()
	if callers, told := h.callersDeadline(); told && (!ok || callers.Before(deadline)) {
		return callers, true
	}
	return deadline, ok
}

// callersDeadline returns the deadline that came with the request, if one did.
func (h *handlerContext) callersDeadline() (time.Time, bool) {
	rest := h.more()
	if rest == nil {
		return time.Time{}, false
	}
	return rest.deadline, !rest.deadline.IsZero()
}

func (h *handlerContext) Done() <-chan struct{} { return h.context().Done() }

func (h *handlerContext) Err() error {
	base := h.conn().base
	rest := h.rest.Load()
	if rest == nil {
		if base.Err() == nil {
			return nil
		}
		rest = h.needMore()
	}
	rest.mu.Lock()
	defer rest.mu.Unlock()
	switch {
	case rest.made != nil:
	case rest.ended:
		return context.Canceled
	case base.Err() == nil && (rest.deadline.IsZero() || time.Until(rest.deadline) > 0):
		return nil
	default:
		rest.make(base) // it remembers the error, which must not change when the handler returns
	}
	return rest.made.Err()
}

func (h *handlerContext) Value(key any) any {
	if key == (handlerKey{}) {
		return h
	}
	return h.context().Value(key)
}

// context returns the context behind h, with which context.Cause and derived contexts work.
func (h *handlerContext) context() context.Context {
	rest := h.needMore()
	rest.mu.Lock()
	defer rest.mu.Unlock()
	rest.make(h.conn().base)
	return rest.made.Context
}

// make makes the context behind the handler's, if there is none. The lock is held.
func (r *handlerRest) make(parent context.Context) {
	if r.made != nil {
		return
	}
	r.made = new(madeContext)
	if r.ended {
		parent = context.WithoutCancel(parent) // whose end, like the deadline, changes nothing any more
	} else if !r.deadline.IsZero() {
		parent, r.made.stop = context.WithDeadlineCause(parent, r.deadline, &CancelError{Deadline: true})
	}
	r.made.Context, r.made.cancel = context.WithCancelCause(parent)
	if r.ended {
		r.made.end(context.Canceled)
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
	if cause == context.Canceled && h.rest.CompareAndSwap(nil, &nothingLeft) || h.rest.Load() == &nothingLeft {
		return
	}
	rest := h.needMore()
	rest.mu.Lock()
	if cause != context.Canceled && !rest.ended {
		rest.make(h.conn().base) // it remembers the cause
	}
	rest.ended = true
	made := rest.made
	rest.mu.Unlock()
	if made != nil {
		made.end(cause)
	}
}

// setReply sets the metadata of the answer, unless the handler has returned.
func (h *handlerContext) setReply(md Metadata) bool {
	rest := h.needMore()
	rest.mu.Lock()
	defer rest.mu.Unlock()
	if rest.ended {
		return false
	}
	rest.reply = &md
	return true
}

// reply returns the metadata that setReply has set. The handler has returned.
func (h *handlerContext) reply() *Metadata {
	rest := h.more()
	if rest == nil {
		return nil
	}
	rest.mu.Lock()
	defer rest.mu.Unlock()
	return rest.reply
}

// handlerOf returns the context of the handler that ctx belongs to, or nil.
func handlerOf(ctx context.Context) *handlerContext {
	h, _ := ctx.Value(handlerKey{}).(*handlerContext)
	return h
}
