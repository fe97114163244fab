package grpclinks

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/packetstream/packetstream/rpc/links"
)

// clientStream is a call with any number of messages. As in grpc-go one goroutine may send while another receives.
type clientStream struct {
	call
	desc   *grpc.StreamDesc
	cancel context.CancelFunc

	sendMu   sync.Mutex // guards sentLast; held while a message is sent, which waits for the peer, so that CloseSend follows it
	sentLast bool

	// recvMu guards what follows and is held while the server is waited for: Header and RecvMsg take what it says in turn.
	recvMu   sync.Mutex
	waiting  []links.Advance // taken by Header, not by RecvMsg
	received bool
	over     error // what every further RecvMsg returns
}

var _ grpc.ClientStream = (*clientStream)(nil)

func (s *clientStream) begin() error {
	if err := s.operate(s.opening()); err != nil {
		return err
	}
	s.op.OnEnd(func(outcome links.Outcome) error {
		if outcome.Kind != links.Completed {
			// The stream may have no reader any more. Callbacks of the application must not hold up the link, so they run on a goroutine
			// that ends when they return.
			go s.end(outcomeError(outcome, linkErr(s.cc.link)))
		}
		return nil
	})
	return nil
}

// end is the end of the call for everybody but RecvMsg.
func (s *clientStream) end(err error) {
	s.finish(err)
	s.cancel()
}

// Context returns the context of the call, which ends with it.
func (s *clientStream) Context() context.Context { return s.ctx }

// Header waits for the headers or the end of the call.
func (s *clientStream) Header() (metadata.MD, error) {
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	for {
		s.mu.Lock()
		headed, header := s.headed, s.header
		s.mu.Unlock()
		if headed || s.over != nil {
			return header.Copy(), nil
		}
		a, err := s.step()
		if err != nil {
			_ = s.fail(err) // RecvMsg tells
			return nil, nil
		}
		s.waiting = append(s.waiting, a)
	}
}

// Trailer returns what the server said at the end, once RecvMsg has returned an error.
func (s *clientStream) Trailer() metadata.MD {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trailer.Copy()
}

// SendMsg sends a message, which is taken over when it returns. It waits for room and returns io.EOF when the call is over.
func (s *clientStream) SendMsg(m any) error {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	if s.sentLast {
		return s.refuse(status.Error(codes.Internal, "SendMsg called after CloseSend"))
	}
	s.sentLast = !s.desc.ClientStreams
	payload, sizes, err := s.format.encode(m, s.info.maxSend)
	if err != nil {
		return s.refuse(err)
	}
	a := links.Advance{Payload: payload}
	if s.sentLast {
		a.Completion = &nothingMore
	}
	switch err := s.op.AdvanceContext(context.Background(), a); {
	case err == nil:
		s.watch.outPayload(m, sizes)
		return nil
	case isEnd(err):
		return io.EOF
	default:
		return s.refuse(status.Error(codes.Internal, err.Error()))
	}
}

// refuse ends the call because of what this side wanted to send.
func (s *clientStream) refuse(err error) error {
	s.finish(err)
	s.op.Cancel()
	s.cancel()
	return err
}

// CloseSend says that nothing more is sent.
func (s *clientStream) CloseSend() error {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	if !s.sentLast {
		s.sentLast = true
		_ = s.op.Complete(nothingMore) // if the call is over, RecvMsg tells
	}
	return nil
}

// RecvMsg waits for the next message. It returns io.EOF at the end of a call with status OK and the status otherwise, again and again.
func (s *clientStream) RecvMsg(m any) error {
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	if s.over != nil {
		return s.over
	}
	if s.desc.ServerStreams {
		return s.recvNext(m)
	}
	return s.recvOnly(m)
}

func (s *clientStream) recvNext(m any) error {
	for {
		a, err := s.nextStep()
		if err != nil {
			return s.fail(err)
		}
		if a.Payload != nil {
			if err := s.read(a.Payload, m); err != nil {
				return s.fail(err)
			}
			if a.Completion != nil {
				a.Payload = nil
				a.Initial = nil
				s.waiting = append(s.waiting, a)
			}
			return nil
		}
		if a.Completion != nil {
			if err := closingError(a.Completion); err != nil {
				return s.fail(err)
			}
			return s.fail(io.EOF)
		}
	}
}

// recvOnly receives the one reply of a call that has one: generated code asks once, so this sees to the end as well.
func (s *clientStream) recvOnly(m any) error {
	for {
		a, err := s.nextStep()
		if err != nil {
			return s.fail(err)
		}
		if a.Payload != nil {
			if err := s.oneReply(a.Payload, m, &s.received); err != nil {
				return s.fail(err)
			}
		}
		if a.Completion != nil {
			err := s.oneReplyEnd(a.Completion, s.received)
			if err == nil {
				s.over = io.EOF
				s.end(nil)
				return nil
			}
			return s.fail(err)
		}
	}
}

func (s *clientStream) nextStep() (links.Advance, error) {
	if len(s.waiting) > 0 {
		a := s.waiting[0]
		s.waiting = s.waiting[1:]
		return a, nil
	}
	return s.step()
}

// fail remembers the end of the stream.
func (s *clientStream) fail(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.EOF
	}
	if s.over == nil {
		s.over = err
	}
	s.end(err)
	return err
}
