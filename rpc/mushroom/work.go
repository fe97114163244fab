package mushroom

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// work is a notification or request on its way through the inbox and its handler.
type work struct {
	engine  *Engine
	request Request
	// Guarded by the engine's lock.
	active bool // counted in state.active
	over   bool // the handler has returned
}

func (w *work) size() int {
	return len(w.request.Data) + len(w.request.Method) + len(w.request.BadMethod)
}

type workKey struct{}

// release lets the messages behind a handler go on, if ctx is a handler's, while the handler waits for
// a peer. The result counts the handler as working again, at once and without a queue: it holds what
// others may wait for.
func release(ctx context.Context) (resume func()) {
	w, ok := ctx.Value(workKey{}).(*work)
	if !ok {
		return func() {}
	}
	e, gaveUp := w.engine, false
	e.update(func(s *state) {
		// Those that wait hold their messages, and so are bounded, too.
		if gaveUp = w.active && s.handlers-s.active < s.limits.MaxPending; gaveUp {
			s.yield(w)
		}
	})
	if !gaveUp {
		return func() {}
	}
	return func() {
		e.update(func(s *state) {
			if w.over {
				return // a goroutine of the handler's outlived it
			}
			w.active = true
			s.active++
		})
	}
}

// handle runs the handler of one message and sends the answer to a request.
func (e *Engine) handle(w *work) {
	defer e.tasks.Done()
	result, err := e.dispatch(w)
	if w.request.Kind == KindNotification {
		if err != nil {
			e.log.Info("mushroom: notification failed", "session", e.session.id, "method", w.request.Method, "error", err)
		}
		e.update(func(s *state) { s.leave(w) })
		return
	}
	reply := e.reply(&w.request, result, err)
	e.update(func(s *state) {
		// The answer is queued even if the session is over: a poll that is still there takes it along.
		if _, err = s.push(reply); errors.Is(err, ErrTooLarge) {
			reply.Kind, reply.Data, err = KindError, quoted(internalError), nil
			_, err = s.push(reply)
		}
		s.leave(w)
	})
	if err != nil {
		e.log.Info("mushroom: answer not sent", "session", e.session.id, "method", w.request.Method, "error", err)
	}
}

// dispatch calls the dispatcher. A panic is an error like any other, which the peer hears nothing of.
func (e *Engine) dispatch(w *work) (result any, err error) {
	defer func() {
		if r := recover(); r != nil {
			e.log.Error("mushroom: handler panicked", "method", w.request.Method, "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("mushroom: handler of %q panicked: %v", w.request.Method, r)
		}
	}()
	if w.request.BadMethod != nil {
		return nil, fmt.Errorf("mushroom: method name %s is no text", w.request.BadMethod)
	}
	return e.dispatcher.Dispatch(context.WithValue(e.ctx, workKey{}, w), &w.request)
}

// reply makes the answer to a request from what its handler returned.
func (e *Engine) reply(r *Request, result any, err error) Message {
	if m, ok := result.(Message); ok && err == nil && (m.Kind == KindResponse || m.Kind == KindError) {
		m.ID = ID{}
		if m.Data, err = encode(m.Data); err == nil {
			return m
		}
	}
	reply := Message{Kind: KindResponse, RequestID: r.ID}
	if err == nil {
		reply.Data, err = encode(result)
	}
	if err == nil {
		return reply
	}
	e.log.Info("mushroom: request failed", "session", e.session.id, "method", r.Method, "error", err)
	reply.Kind = KindError
	if reply.Data, err = encode(errorData(err)); err != nil {
		reply.Data = quoted(internalError)
	}
	return reply
}

func quoted(s string) []byte { return appendString(nil, s) }
