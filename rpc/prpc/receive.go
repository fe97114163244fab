package prpc

import (
	"errors"
	"io"

	"github.com/tinylib/msgp/msgp"
)

// receive is the receiver: it takes one message after the other and waits for
// nobody but the peer.
func (s *session) receive() {
	defer s.workers.Done()
	defer close(s.work)
	first := true
	for {
		b, err := s.carrier.Receive()
		if err == nil {
			if first {
				close(s.heard)
				first = false
			}
			err = s.handle(b)
		}
		if err != nil {
			s.end(received(err))
			return
		}
	}
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

// handle does what one message asks for. An error ends the connection.
func (s *session) handle(b []byte) error {
	m, err := parseMessage(b, s.limits)
	if err != nil {
		return err
	}
	return s.dispatch(&m)
}

func (s *session) dispatch(m *message) error {
	switch m.kind {
	case RequestCallStart:
		return s.accept(m)
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
		if call := s.call(m.id); call != nil {
			return s.feed(call.stream, m, call.overflowed)
		}
	case RequestStreamClose:
		if r := s.request(m.id); r != nil {
			return closedByPeer(r.stream)
		}
	case ResponseStreamClose:
		if call := s.call(m.id); call != nil {
			return closedByPeer(call.stream)
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
	if !stream.feed(m.data) {
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

// accept registers a call of the peer, so that what comes behind it finds it, and
// has its method run.
func (s *session) accept(m *message) error {
	r := newRequest(s, m)
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return nil
	}
	if _, taken := s.incoming[m.id]; taken {
		s.mu.Unlock()
		return violation(IDInUse, "%v", m.id.value())
	}
	if len(s.incoming) >= s.limits.Calls {
		s.mu.Unlock()
		answer := newBuffer()
		answer.b = appendFailure(answer.b, m.id, StatusServerError, wireFault{message: "too many calls"})
		s.putNow(answer)
		return nil
	}
	s.incoming[m.id] = r
	s.count()
	s.mu.Unlock()
	s.run(r)
	return nil
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
	call.complete(CallFinished, packed, failure)
	return nil
}

// unpack takes the packed result out of its binary.
func (s *session) unpack(result Raw) (Raw, error) {
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
