package prpc

import (
	"bytes"
	"errors"
	"io"

	"github.com/tinylib/msgp/msgp"

	"github.com/packetstream/packetstream/internal/inline"
)

// receive is the receiver: it takes one message after the other and waits for
// nobody but the peer. It goes on on another goroutine where a method that it runs takes its time.
func (s *session) receive() {
	for {
		s.beforeReceive()
		r, err := s.receiveOne()
		if err != nil {
			s.end(received(err))
			close(s.work)
			s.workers.Done()
			return
		}
		if r != nil && !s.run(r) {
			return
		}
	}
}

// beforeReceive writes what was answered, if receiving may be about to wait. A carrier that tells when it is writes then, so that what has
// come meanwhile is answered by the same write. It may never wait, if the peer does not pause: then answers leave after some reads.
func (s *session) beforeReceive() {
	switch {
	case s.more != nil && s.more.more():
	case s.lender != nil:
		s.queue.flushOverdue()
	default:
		s.queue.flush()
	}
}

// receiveOne takes one message, and returns the call that it begins.
func (s *session) receiveOne() (*Request, error) {
	var b []byte
	var lent bool
	var err error
	if s.lender != nil {
		b, lent, err = s.lender.borrow()
	} else {
		b, err = s.carrier.Receive()
	}
	if err != nil {
		return nil, err
	}
	if !s.spoken {
		s.spoken = true
		close(s.heard)
	}
	r, err := s.handle(b, lent)
	if lent {
		s.lender.giveBack()
	}
	return r, err
}

// received turns what a carrier reports into the violation it is.
func received(err error) error {
	switch {
	case errors.Is(err, ErrTooLarge):
		return violation(TooLarge, "%v", err)
	case errors.Is(err, ErrTextMessage):
		return violation(TextMessage, "")
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF // it is no end of a stream
	default:
		return err
	}
}

// handle does what one message asks for, or returns the call whose method is to run. An error ends the connection.
func (s *session) handle(b []byte, lent bool) (*Request, error) {
	m, err := parseMessage(b, s.limits)
	if err != nil {
		return nil, err
	}
	m.lent = lent
	if m.kind == RequestCallStart {
		return s.accept(&m)
	}
	return nil, s.dispatch(&m)
}

func (s *session) dispatch(m *message) error {
	switch m.kind {
	case RequestCallCancel:
		if r := s.request(m.id); r != nil {
			s.release(r)
			r.cancelled(ErrCancelled)
		}
	case RequestStreamMessage:
		if r := s.request(m.id); r != nil {
			return s.feed(r.stream, m, r.overflowed)
		}
	case ResponseStreamMessage:
		if call, stream := s.call(m.id); call != nil {
			return s.feed(stream, m, call.overflowed)
		}
	case RequestStreamClose:
		if r := s.request(m.id); r != nil {
			return closedByPeer(r.stream)
		}
	case ResponseStreamClose:
		if call, stream := s.call(m.id); call != nil {
			return closedByPeer(stream)
		}
	case ResponseResult:
		return s.finish(m)
	default:
		// A second handshake means nothing.
	}
	return nil
}

// feed gives a stream a message.
func (s *session) feed(stream *Stream, m *message, overflowed func()) error {
	switch {
	case stream == nil:
		return violation(NoSuchPath, "%v for a unary call", m.kind)
	case stream.State() != StreamOpen:
		return nil
	case stream.mode&StreamRead == 0:
		return violation(NoSuchPath, "%v for a stream that is only written", m.kind)
	}
	data := m.data
	if m.lent {
		data = bytes.Clone(data)
	}
	if !stream.feed(data) {
		overflowed()
	}
	return nil
}

func closedByPeer(stream *Stream) error {
	if stream == nil {
		return violation(NoSuchPath, "close for a unary call")
	}
	stream.end(nil)
	return nil
}

// accept registers a call of the peer, so that what comes behind it finds it. A call that is not to run is nil.
func (s *session) accept(m *message) (*Request, error) {
	r := newRequest(s, m)
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return nil, nil
	}
	if s.incoming.get(m.id) != nil {
		s.mu.Unlock()
		return nil, violation(IDInUse, "%v", m.id.value())
	}
	if s.incoming.count() >= s.limits.Calls {
		s.mu.Unlock()
		answer := newBuffer()
		answer.b = appendFailure(answer.b, m.id, StatusServerError, wireFault{message: "too many calls"})
		s.putNow(answer)
		return nil, nil
	}
	s.incoming.put(r)
	s.count()
	s.mu.Unlock()
	return r, nil
}

// lastMethod is what is known of the method that was called last, which is likely to be called again. It belongs to the receiver.
type lastMethod struct {
	raw    string // the name as it travels
	name   string // its text, or what it is instead of a text
	text   bool
	kind   *inline.Kind
	method Method // nil if it takes a locator to find it
}

// methodNamed returns what is known of the method with a name.
func (s *session) methodNamed(raw Raw) *lastMethod {
	l := &s.last
	if l.kind != nil && string(raw) == l.raw {
		return l
	}
	*l = lastMethod{raw: string(raw), kind: s.kinds.Of(raw)}
	l.name, l.text = methodText(raw)
	if tree, ours := s.conn.options.Methods.(*methodTree); ours && l.text {
		l.method = tree.methods[l.name]
	}
	return l
}

// methodText returns the text of a method's name, or what it is instead of a text.
func methodText(raw Raw) (name string, text bool) {
	if msgp.NextType(raw) != msgp.StrType {
		return kindName(raw), false
	}
	name, _, err := msgp.ReadStringBytes(raw)
	return name, err == nil
}

// finish gives a call its answer.
func (s *session) finish(m *message) error {
	var packed Raw
	var failure, bad error
	if m.status == StatusSuccess {
		packed, bad = s.unpack(m.result)
	}
	call, err := s.answered(m.id, bad)
	if call == nil {
		return err
	}
	if m.status != StatusSuccess {
		failure = remoteError(call.method, m)
	}
	call.completeWith(CallFinished, packed, m.lent, failure)
	return nil
}

// unpack takes the packed result out of its binary.
func (s *session) unpack(result Raw) (Raw, error) {
	if f, n := shortForm(result); f == formBinary && n == len(result) {
		packed := result[2:]
		return packed, scan(packed, s.limits)
	}
	if msgp.NextType(result) != msgp.BinType {
		return nil, violation(BadResult, "%s", kindName(result))
	}
	packed, _, err := msgp.ReadBytesZC(result)
	if err != nil {
		return nil, malformed(err)
	}
	return packed, scan(packed, s.limits)
}

func remoteError(method string, m *message) error {
	e := &RemoteError{Method: method, Status: m.status, Message: noMessage}
	switch m.status {
	case StatusMethodError, StatusMethodNotFound, StatusServerError:
	default:
		e.Status = StatusUnknown
	}
	if f := m.fault; f != nil {
		if f.message != "" {
			e.Message = f.message
		}
		e.CauseType, e.CauseText, e.Trace = f.causeType, f.causeText, f.trace
	}
	return e
}
