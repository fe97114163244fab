package mushroom

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Engine is the part of a session that knows no transport: it numbers what is sent and keeps it until
// it is acknowledged, matches answers to requests, drops duplicates and runs handlers. All its methods
// may be called concurrently.
type Engine struct {
	*settings
	session *Session

	// ctx is the context of handlers; it ends with the session.
	ctx    context.Context
	cancel context.CancelCauseFunc

	// tasks are the running handlers and the pump. Nothing is added once the session is over, its inbox is
	// empty and its carrier closed.
	tasks sync.WaitGroup

	// mu guards state. Only update and look take it; nothing is called, written or logged under it.
	mu    sync.Mutex
	state state
}

// settings are what all sessions of one server or client share.
type settings struct {
	dispatcher     Dispatcher
	log            *slog.Logger
	requestTimeout time.Duration
	limits         Limits
	times          times
}

func newSettings(d Dispatcher, log *slog.Logger, requestTimeout time.Duration, limits Limits) (*settings, error) {
	limits, err := limits.withDefaults()
	if err != nil {
		return nil, err
	}
	if d == nil {
		d = NoMethods{}
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if requestTimeout < 0 {
		return nil, fmt.Errorf("mushroom: request timeout %v is negative", requestTimeout)
	}
	return &settings{dispatcher: d, log: log, requestTimeout: requestTimeout, limits: limits, times: normalTimes}, nil
}

func (e *Engine) init(s *settings, session *Session) {
	e.settings, e.session = s, session
	e.ctx, e.cancel = context.WithCancelCause(context.Background())
	e.state = state{limits: &s.limits, lastSent: noID, handed: noID}
}

// update is the one place where state changes. Afterwards it starts what the new state allows.
func (e *Engine) update(change func(*state)) {
	e.mu.Lock()
	s := &e.state
	change(s)
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
	handlers := s.ready()
	var pump, finish func()
	if s.pumpDue() {
		pump, s.pumping = s.pump, true
	}
	if s.ended != nil && s.pump == nil && s.finish != nil {
		finish, s.finish = s.finish, nil
	}
	orphans, reason := s.orphans, cmp.Or(s.ended, s.deaf)
	s.orphans = nil
	e.addTasks(len(handlers), pump != nil)
	e.mu.Unlock()

	for _, waiter := range orphans {
		waiter <- outcome{err: reason} // has room for the one answer it gets
	}
	for _, w := range handlers {
		go e.handle(w)
	}
	if pump != nil {
		go e.runPump(pump)
	}
	if finish != nil {
		go finish() // the server waits for it
	}
}

// addTasks is called under the lock, so that finish, which comes after the end, waits for all of them.
func (e *Engine) addTasks(handlers int, pump bool) {
	if pump {
		handlers++
	}
	e.tasks.Add(handlers)
}

func (e *Engine) runPump(pump func()) {
	defer e.tasks.Done()
	pump()
}

// look reads state. If read reports false, the channel is closed by the next change.
func (e *Engine) look(read func(*state) bool) (changed <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if read(&e.state) {
		return nil
	}
	if e.state.changed == nil {
		e.state.changed = make(chan struct{})
	}
	return e.state.changed
}

// wait returns nil as soon as the state is as asked for, or the context's error.
func (e *Engine) wait(ctx context.Context, ok func(*state) bool) error {
	for {
		changed := e.look(ok)
		if changed == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Notify sends a notification, which is never answered. It does not wait: it returns once the message
// is queued. The error is ErrSessionEnded, ErrTooLarge, or about data that cannot be written as JSON.
// Whoever sends much at a time calls Flush now and then, or the list of what is not acknowledged
// passes its bound, which ends the session.
func (e *Engine) Notify(method string, data any) error {
	text, err := encode(data)
	if err != nil {
		return fmt.Errorf("mushroom: notify %q: %w", method, err)
	}
	return e.Send(Message{Kind: KindNotification, Method: method, Data: text})
}

// Request calls a method of the peer and waits for its answer. The error is the context's own if that
// ended first, ErrRequestTimeout, ErrSessionEnded, ErrTooManyRequests, ErrTooLarge, a *RequestError if
// the peer answered with one, or about data that cannot be written as JSON. A late answer is dropped.
func (e *Engine) Request(ctx context.Context, method string, data any) (json.RawMessage, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	text, err := encode(data)
	if err != nil {
		return nil, fmt.Errorf("mushroom: request %q: %w", method, err)
	}
	waiter := make(chan outcome, 1)
	id, err := e.post(Message{Kind: KindRequest, Method: method, Data: text}, waiter)
	if err != nil {
		return nil, err
	}
	defer release(ctx)()
	result, err := e.await(ctx, waiter)
	if err != nil {
		e.update(func(s *state) { delete(s.pending, id) })
		return nil, err
	}
	if result.err != nil {
		return nil, result.err
	}
	if result.message.Kind == KindError {
		return nil, &RequestError{Method: method, Data: orNull(result.message.Data)}
	}
	return orNull(result.message.Data), nil
}

func orNull(data json.RawMessage) json.RawMessage {
	if data == nil {
		return json.RawMessage("null")
	}
	return data
}

func (e *Engine) await(ctx context.Context, waiter <-chan outcome) (outcome, error) {
	var timeout <-chan time.Time
	if e.requestTimeout > 0 {
		timer := time.NewTimer(e.requestTimeout)
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case result := <-waiter:
		return result, nil
	case <-ctx.Done():
		return outcome{}, ctx.Err()
	case <-timeout:
		return outcome{}, ErrRequestTimeout
	}
}

// Send queues a notification, request, response or error as it is, under m.ID, which must be above all
// ids sent before, or under the next id if that is null. It does not wait, and keeps no reference to m.Data. An
// answer to a request sent by it is dropped; Request and Notify are what is normally wanted. Errors are as for
// Notify, or about the id.
func (e *Engine) Send(m Message) error {
	if !m.Kind.numbered() {
		return fmt.Errorf("mushroom: a %v is sent by the session itself", m.Kind)
	}
	var err error
	if m.Data, err = encode(m.Data); err == nil {
		m.BadMethod, err = encode(m.BadMethod)
	}
	if err != nil {
		return fmt.Errorf("mushroom: send: %w", err)
	}
	_, err = e.post(m, nil)
	return err
}

func (e *Engine) post(m Message, waiter chan<- outcome) (id int64, err error) {
	e.update(func(s *state) {
		switch {
		case s.ended != nil:
			err = s.ended
		case waiter != nil && s.deaf != nil:
			err = s.deaf
		case waiter != nil && len(s.pending) >= e.limits.MaxPending:
			err = ErrTooManyRequests
		default:
			id, err = s.push(m)
		}
		if err == nil && waiter != nil {
			if s.pending == nil {
				s.pending = make(map[int64]chan<- outcome)
			}
			s.pending[id] = waiter
		}
	})
	return id, err
}

// NextMessageID reserves the id that the next message would get, for Send.
func (e *Engine) NextMessageID() (id int64) {
	e.update(func(s *state) {
		id = s.nextID
		s.nextID++
	})
	return id
}

// Unacknowledged are the ids of the messages sent that the peer has not acknowledged, in order.
func (e *Engine) Unacknowledged() []int64 {
	ids := []int64{}
	e.look(func(s *state) bool {
		for _, o := range s.queue {
			if o.id != noID {
				ids = append(ids, o.id)
			}
		}
		return true
	})
	return ids
}

// Flush waits until the peer has acknowledged everything sent so far. The error is the context's, or
// ErrSessionEnded. A handler gives the context that it was given, so that the messages behind it go on: the
// acknowledgement may be behind them.
func (e *Engine) Flush(ctx context.Context) error {
	defer release(ctx)()
	var last int64
	e.look(func(s *state) bool {
		last = s.lastSent
		return true
	})
	var ended error
	err := e.wait(ctx, func(s *state) bool {
		if len(s.queue) == 0 || s.queue[0].id > last {
			return true
		}
		ended = s.ended
		return ended != nil
	})
	if err != nil {
		return err
	}
	return ended
}

// parse reads a message within the limits. It shares memory with data, which is part of a piece of memory
// of size held, unless that is much larger than what the message has of it: messages that wait are counted
// by their own size.
func (e *Engine) parse(data []byte, held int) (Message, error) {
	if size := len(data); size > e.limits.MaxMessage {
		return Message{}, tooLarge("%d bytes, at most %d are allowed", size, e.limits.MaxMessage)
	}
	m, err := parseMessage(data, e.limits.MaxDepth)
	if held > 2*(len(m.Data)+len(m.BadMethod))+maxAround {
		m.Data, m.BadMethod = bytes.Clone(m.Data), bytes.Clone(m.BadMethod)
	}
	return m, err
}

// HandleMessage takes one message from the peer, and its data with it. It does not wait for handlers. After an
// error, which is ErrBadMessage or ErrSessionEnded, the transport ends the session or refuses what the message
// came in.
func (e *Engine) HandleMessage(m Message) error {
	switch m.Kind {
	case KindHeartbeat:
		var err error
		e.update(func(s *state) { err = s.acknowledge(m.ID) })
		return err
	case KindDisconnect:
		var err error
		e.update(func(s *state) {
			err = s.ended
			s.end(ErrDisconnected, false)
		})
		return err
	}
	if !m.Kind.numbered() || m.ID.IsNull() {
		return badMessage("%v with id %v", m.Kind, m.ID)
	}
	w := &work{engine: e, request: Request{Message: m, Session: e.session}}
	var waiter chan<- outcome
	var fresh bool
	var err error
	e.update(func(s *state) {
		if err = s.ended; err == nil {
			waiter, fresh, err = s.take(m, w)
		}
	})
	switch {
	case err != nil:
		return err
	case waiter != nil:
		waiter <- outcome{message: m}
	case fresh && (m.Kind == KindResponse || m.Kind == KindError):
		e.log.Debug("mushroom: an answer that nobody waits for", "session", e.session.id, "request", m.RequestID.String())
	}
	return nil
}

func (e *Engine) end(reason error, flush bool) {
	e.update(func(s *state) { s.end(reason, flush) })
}
