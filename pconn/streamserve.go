package pconn

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"

	"github.com/packetstream/packetstream/packet/frame"
)

// StreamHandler takes the streams that the peer opens. ServeStream may be called concurrently, each time on a
// goroutine of its own. When it returns, the stream is closed, or if it returns an error, reset: the peer is told
// the text of an error made by Errorf, and of any other that the handler failed. A handler that wants to
// refuse a stream returns Refuse's error before it has used it.
//
// ctx ends when the stream is reset by either end, with the *StreamError as its cause, and with the
// connection.
type StreamHandler interface {
	ServeStream(ctx context.Context, s *Stream) error
}

// StreamHandlerFunc is a func as a StreamHandler.
type StreamHandlerFunc func(ctx context.Context, s *Stream) error

// ServeStream calls f.
func (f StreamHandlerFunc) ServeStream(ctx context.Context, s *Stream) error { return f(ctx, s) }

// refusal is the error of a handler that does not take a stream.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// Refuse makes an error by which a StreamHandler refuses a stream: the peer gets a *StreamError that matches
// ErrStreamRefused, with the text.
func Refuse(format string, args ...any) error { return refusal{Errorf(format, args...)} }

// StreamMux is a StreamHandler that hands each stream to the handler of its name. A stream whose name has
// none is refused. Handlers may be added while it serves; all methods may be called concurrently.
type StreamMux struct {
	mu       sync.RWMutex // guards handlers
	handlers map[string]StreamHandler
}

// NewStreamMux returns a StreamMux without handlers.
func NewStreamMux() *StreamMux { return &StreamMux{handlers: make(map[string]StreamHandler)} }

// Handle sets the handler of a name, in place of an earlier one. The handler of "" takes every name that has
// none.
func (m *StreamMux) Handle(name string, h StreamHandler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.handlers[name] = h
}

// HandleFunc sets a func as the handler of a name.
func (m *StreamMux) HandleFunc(name string, f func(ctx context.Context, s *Stream) error) {
	m.Handle(name, StreamHandlerFunc(f))
}

// ServeStream hands the stream to its name's handler.
func (m *StreamMux) ServeStream(ctx context.Context, s *Stream) error {
	m.mu.RLock()
	h := m.handlers[s.name]
	if h == nil {
		h = m.handlers[""]
	}
	m.mu.RUnlock()
	if h == nil {
		return Refuse("no handler for streams named %q", s.name)
	}
	return h.ServeStream(ctx, s)
}

// streamQueue is streams that wait to be accepted, in order. Guarded by Conn.mu.
type streamQueue struct {
	first, last *Stream
	n           int
}

func (q *streamQueue) push(s *Stream) {
	s.acceptedBy, s.older, s.newer = q, q.last, nil
	if q.last == nil {
		q.first = s
	} else {
		q.last.newer = s
	}
	q.last = s
	q.n++
	s.conn.st.streams.waiting++
}

func (q *streamQueue) remove(s *Stream) {
	if s.older == nil {
		q.first = s.newer
	} else {
		s.older.newer = s.newer
	}
	if s.newer == nil {
		q.last = s.older
	} else {
		s.newer.older = s.older
	}
	s.acceptedBy, s.older, s.newer = nil, nil, nil
	q.n--
	s.conn.st.streams.waiting--
}

func (q *streamQueue) pop() *Stream {
	s := q.first
	if s != nil {
		q.remove(s)
	}
	return s
}

// acceptance finds who takes a stream that the peer has opened: it begins a handler now, or waits for one or for a
// Listener's Accept, or is refused. Conn.mu is held.
func (c *Conn) acceptance(s *Stream) (begin bool, refused *frame.Reset) {
	t := &c.st.streams
	l := t.listeners[s.name]
	if l == nil && t.handler == nil {
		l = t.listeners[""]
	}
	switch {
	case c.st.phase != phaseOpen:
		return false, &frame.Reset{Reason: frame.ReasonGoingAway, Text: "connection is shutting down"}
	case c.st.goingAway:
		return false, &frame.Reset{Reason: frame.ReasonGoingAway, Text: "going away"}
	case l == nil && t.handler == nil:
		return false, &frame.Reset{Reason: frame.ReasonRefused, Text: "nobody takes streams of this name"}
	case l == nil && len(t.serving) < c.opts.Streams.MaxOpen:
		c.beginStreamHandler(s)
		return true, nil
	case t.waiting >= c.opts.Streams.MaxBacklog:
		return false, &frame.Reset{Reason: frame.ReasonRefused, Text: "too many streams wait to be accepted"}
	case l == nil:
		t.backlog.push(s)
		return false, nil
	}
	l.queue.push(s)
	l.poke()
	return false, nil
}

// beginStreamHandler counts a handler of a stream as at work. Conn.mu is held.
func (c *Conn) beginStreamHandler(s *Stream) {
	if c.st.streams.serving == nil {
		c.st.streams.serving = make(map[*Stream]struct{})
	}
	c.st.streams.serving[s] = struct{}{}
	c.st.workers++
	s.ctx, s.cancel = context.WithCancelCause(c.base)
}

// startStreamHandler runs a stream's handler on a goroutine of its own, and after it, in the same place, those
// that wait for one. windDown waits for it, as long as Close allows.
func (c *Conn) startStreamHandler(s *Stream) {
	go func() {
		for s != nil {
			err := c.invokeStream(s, c.mark())
			s = c.finishStream(s, err)
		}
	}()
}

// invokeStream calls the handler and turns a panic into an error. It is not inlined, since Close finds out
// by its name on the stack that it is called from a handler.
//
//go:noinline
func (c *Conn) invokeStream(s *Stream, _ mark) (err error) {
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
		if next := c.finishStream(s, errGoexit); next != nil {
			c.startStreamHandler(next)
		}
	}()
	err = c.st.streams.handler.ServeStream(s.ctx, s)
	returned = true
	return err
}

// finishStream ends a stream whose handler has returned, and returns the one whose handler is to run next in its
// place.
func (c *Conn) finishStream(s *Stream, err error) *Stream {
	if err == nil {
		_ = s.Close()
	} else {
		s.reset(c.failedReset(s, err))
	}
	s.cancel(context.Canceled)
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.st.streams
	delete(t.serving, s)
	c.st.workers--
	var next *Stream
	if !c.st.recvEnded {
		next = t.backlog.pop()
	}
	if next != nil {
		c.beginStreamHandler(next)
	}
	c.noteWorkersGone()
	c.step()
	return next
}

// failedReset is what the peer is told of a handler's error.
func (c *Conn) failedReset(s *Stream, err error) frame.Reset {
	f := frame.Reset{Text: errorText(err)}
	var refused refusal
	if errors.As(err, &refused) {
		f.Reason = frame.ReasonRefused
		return f
	}
	c.counters.HandlerErrors.Add(1)
	if p, ok := asHandlers[*PanicError](err); ok {
		c.logf(levelError, "panic in stream handler", "stream", s.id, "name", s.name, "panic", p.Value, "stack", string(p.Stack))
	} else {
		c.logf(levelWarn, "stream handler failed", "stream", s.id, "name", s.name, "error", err)
	}
	return f
}
