package prpc

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/tinylib/msgp/msgp"

	"github.com/packetstream/packetstream/internal/inline"
)

// Request is a call made by the peer, as its method sees it: the call context.
// Its methods may be called concurrently.
type Request struct {
	session  *session
	id       callID
	kind     CallType
	method   string       // name as a text to look up or to show
	named    bool         // it is a text
	habit    *inline.Kind // what is known of how long the method takes; the receiver's
	known    Method       // the method, if it was found with the name
	args     Raw
	keywords Raw
	stream   *Stream
	turn     inline.Turn   // of the goroutine that runs the method
	own      methodContext // the method's context, if it has one
	portion  int           // session.portion when it came
	memory   []byte        // of args and keywords, if they had to be copied
	exposed  bool          // others than this package have seen it
	spent    bool          // nobody has seen it, and nobody will: it can be used again

	// mu guards what follows.
	mu     sync.Mutex
	state  machine[CallState]
	reason error // why the call was cancelled
	// cancel ends the method's context, if there is one.
	cancel context.CancelCauseFunc
}

// newRequest makes a call of its message. It is the receiver's to call.
func newRequest(s *session, m *message) *Request {
	r := s.spare
	s.spare = nil
	if r == nil {
		r = new(Request)
	}
	*r = Request{
		session: s, id: m.id, kind: m.callType, args: m.args, keywords: m.keywords, memory: r.memory, portion: s.portion(),
	}
	if m.lent {
		r.copyFields()
	}
	l := s.methodNamed(m.method)
	r.method, r.named, r.habit, r.known = l.name, l.text, l.kind, l.method
	r.state.to(CallAccepting)
	if mode := m.callType.mode(false); mode != 0 {
		r.stream = newStream(s, mode, r.overflowed)
		r.stream.open(m.id, ResponseStreamMessage, ResponseStreamClose)
	}
	return r
}

// copyFields copies what was received to memory of the call's own.
func (r *Request) copyFields() {
	args := len(r.args)
	r.memory = append(append(r.memory[:0], r.args...), r.keywords...)
	r.args, r.keywords = r.memory[:args], r.memory[args:]
}

// Conn returns the connection the call came over, to call back or to look at the peer's
// handshake data.
func (r *Request) Conn() *Conn { return r.session.conn }

// Stream returns the call's stream, or nil for a unary call. The methods of a nil
// Stream return ErrNoStream.
func (r *Request) Stream() *Stream { return r.stream }

// Type returns the type of the call, which no method is bound to.
func (r *Request) Type() CallType { return r.kind }

// Method returns the name that was called.
func (r *Request) Method() string { return r.method }

// Args returns the positional arguments, spread as Python spreads what it gets: the
// items of a list, the keys of a map, the characters of a text.
func (r *Request) Args() ([]any, error) {
	raws, err := r.rawArgs()
	if err != nil {
		return nil, err
	}
	args := make([]any, len(raws))
	for i, raw := range raws {
		if args[i], _, err = decodeAny(raw); err != nil {
			return nil, err
		}
	}
	return args, nil
}

// Keywords returns the keyword arguments.
func (r *Request) Keywords() (Keywords, error) {
	raws, err := r.rawKeywords()
	if err != nil {
		return nil, err
	}
	keywords := make(Keywords, len(raws))
	for name, raw := range raws {
		if keywords[name], _, err = decodeAny(raw); err != nil {
			return nil, err
		}
	}
	return keywords, nil
}

func (r *Request) rawArgs() ([]Raw, error) {
	step := 1
	var n uint32
	var rest []byte
	switch msgp.NextType(r.args) {
	case msgp.NilType:
		return nil, nil
	case msgp.ArrayType:
		n, rest, _ = msgp.ReadArrayHeaderBytes(r.args)
	case msgp.MapType:
		n, rest, _ = msgp.ReadMapHeaderBytes(r.args)
		step = 2
	case msgp.StrType:
		text, _, _ := msgp.ReadStringZC(r.args)
		var raws []Raw
		for _, c := range string(text) {
			raws = append(raws, msgp.AppendString(nil, string(c)))
		}
		return raws, nil
	default:
		return nil, &ArgumentError{Method: r.Method(), Reason: "arguments must be a list, not " + kindName(r.args)}
	}
	raws := make([]Raw, 0, n)
	for i := range int(n) * step {
		var raw []byte
		raw, rest = cut(rest)
		if i%step == 0 {
			raws = append(raws, raw)
		}
	}
	return raws, nil
}

func (r *Request) rawKeywords() (map[string]Raw, error) {
	if msgp.IsNil(r.keywords) {
		return nil, nil
	}
	if msgp.NextType(r.keywords) != msgp.MapType {
		return nil, &ArgumentError{Method: r.Method(), Reason: "keyword arguments must be a map, not " + kindName(r.keywords)}
	}
	n, rest, _ := msgp.ReadMapHeaderBytes(r.keywords)
	if n == 0 {
		return nil, nil
	}
	raws := make(map[string]Raw, n)
	for range n {
		var key, value []byte
		key, rest = cut(rest)
		value, rest = cut(rest)
		if msgp.NextType(key) != msgp.StrType {
			return nil, &ArgumentError{Method: r.Method(), Reason: "keywords must be text, not " + kindName(key)}
		}
		name, _, _ := msgp.ReadStringBytes(key)
		raws[name] = value
	}
	return raws, nil
}

// to changes the state, and reports whether the call was not over.
func (r *Request) to(s CallState) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.to(s)
}

// State returns the state of the call at this end.
func (r *Request) State() CallState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.now
}

// context makes the method's context, which ends with the call. Methods that do not look at it
// go without.
func (r *Request) context() context.Context {
	ctx, cancel := context.WithCancelCause(r.session.ctx)
	r.own = methodContext{ctx, r}
	r.mu.Lock()
	r.cancel = cancel
	reason := r.reason
	r.mu.Unlock()
	if reason != nil {
		cancel(reason)
	}
	return &r.own
}

// serve runs the method and answers the call, even if the method ends its goroutine.
func (r *Request) serve() {
	var result any
	err := errEndedGoroutine
	defer func() {
		r.finish(result, err)
		r.stream.settle(true)
		if r.cancel != nil { // this goroutine set it
			r.cancel(nil)
		}
	}()
	result, err = r.invoke()
}

var errEndedGoroutine = errors.New("method ended its goroutine")

// invoke finds and runs the method. A panic is the method's failure.
func (r *Request) invoke() (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{value: p, stack: debug.Stack()}
		}
	}()
	method, err := r.locate()
	if err == nil && r.to(CallAccepted) {
		result, err = r.call(method)
	}
	return result, err
}

// call runs the method, without showing it the call if it does not ask for that.
func (r *Request) call(method Method) (any, error) {
	f, plain := method.(*function)
	if plain {
		if args, ok := f.directArgs(r); ok {
			return f.direct.call(args)
		}
	}
	r.exposed = true
	ctx := r.session.ctx
	if !plain || f.context {
		ctx = r.context()
	}
	return method.Invoke(ctx, r)
}

// finish ends the call with its answer, unless it was cancelled: then its caller has
// forgotten it.
func (r *Request) finish(result any, err error) {
	if !r.to(CallFinished) {
		return
	}
	released := r.session.release(r)
	r.stream.end(nil)
	r.answer(result, err)
	r.spent = released && !r.exposed && r.stream == nil
}

// locate finds the method.
func (r *Request) locate() (Method, error) {
	locator := r.session.conn.options.Methods
	if locator == nil {
		return nil, &answerError{status: StatusMethodNotFound, message: "connection has no available methods"}
	}
	name := r.method
	err := ErrMethodNotFound
	var method Method
	if r.named {
		method, err = r.find(locator)
	}
	switch {
	case err == nil && method != nil:
		return method, nil
	case err == nil, errors.Is(err, ErrNotCallable):
		return nil, &answerError{status: StatusServerError, message: fmt.Sprintf("method '%s' is not callable", name)}
	case errors.Is(err, ErrMethodNotFound):
		err = &Fault{Type: "KeyError", Text: "'" + name + "'"}
	}
	return nil, &answerError{
		status: StatusMethodNotFound, message: fmt.Sprintf("method '%s' is not found", name), cause: err,
	}
}

// find asks the locator, which does not see the call if the method is known.
func (r *Request) find(locator Locator) (Method, error) {
	if r.known != nil {
		return r.known, nil
	}
	r.exposed = true
	return locator.Locate(r.method, r)
}

// answer queues the answer.
func (r *Request) answer(result any, err error) {
	m := newBuffer()
	if err == nil {
		if m.b, err = appendResult(m.b, r.id, result); err == nil && len(m.b) > r.session.limits.MessageBytes {
			err = ErrTooLarge
		}
		if err == nil {
			r.reply(m)
			return
		}
		m.b = m.b[:0]
		err = &answerError{status: StatusMethodError, message: "method return value cannot be serialized", cause: err}
	}
	var a *answerError
	if !errors.As(err, &a) {
		text := fmt.Sprintf("call %v ('%s') failed: %s", r.id.value(), r.Method(), err)
		a = &answerError{status: StatusMethodError, message: text, cause: err}
	}
	m.b = appendFailure(m.b, r.id, a.status, a.wire(r.session.conn.options.ServeTrace))
	r.reply(m)
}

// cancelled ends the call without an answer. Its method sees the reason in context.Cause.
func (r *Request) cancelled(reason error) bool {
	r.mu.Lock()
	ok := r.state.to(CallCancelled)
	if ok {
		r.reason = reason
	}
	cancel := r.cancel
	r.mu.Unlock()
	if !ok {
		return false
	}
	if cancel != nil {
		cancel(reason)
	}
	r.stream.end(reason)
	return true
}

// overflowed ends a call whose method does not read its stream, with an answer.
func (r *Request) overflowed() {
	if !r.cancelled(ErrStreamOverflow) {
		return
	}
	r.session.release(r)
	m := newBuffer()
	m.b = appendFailure(m.b, r.id, StatusServerError, wireFault{message: "callee stream buffer is full"})
	r.session.putNow(m)
}
