package grpclinks

import (
	"context"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/packetstream/packetstream/rpc/links"
)

// serverCall is one call at the server.
type serverCall struct {
	server *Server
	method *method
	op     *links.Operation
	ctx    context.Context
	format format
	watch  watch

	// What follows is the receiving goroutine's, of which there is one at a time.
	waiting    links.Advance
	hasWaiting bool
	closedByUs bool

	mu      sync.Mutex // guards what follows; never held while something is sent
	header  metadata.MD
	trailer metadata.MD
	headed  bool // headers went out, or cannot any more
	closed  bool
}

// transportStream is the call as grpc.SetHeader and its like find it in the context.
type transportStream struct {
	// It is embedded because upstream may add methods.
	grpc.ServerTransportStream
	*serverCall
}

func (s transportStream) Method() string                  { return s.serverCall.method.full }
func (s transportStream) SetHeader(md metadata.MD) error  { return s.setHeader(md) }
func (s transportStream) SendHeader(md metadata.MD) error { return s.sendHeader(md) }
func (s transportStream) SetTrailer(md metadata.MD) error { return s.setTrailer(md) }

// serverStream is the call as a stream's handler has it.
type serverStream struct{ *serverCall }

var _ grpc.ServerStream = (*serverStream)(nil)

func (s *serverStream) Context() context.Context        { return s.ctx }
func (s *serverStream) SetHeader(md metadata.MD) error  { return s.setHeader(md) }
func (s *serverStream) SendHeader(md metadata.MD) error { return s.sendHeader(md) }
func (s *serverStream) SetTrailer(md metadata.MD)       { _ = s.setTrailer(md) }

var errHeadersSent = status.Error(codes.Internal, "transport: the stream is done or WriteHeader was already called")

func (c *serverCall) setHeader(md metadata.MD) error {
	if md.Len() == 0 {
		return nil
	}
	if err := validate(md); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.headed {
		return errHeadersSent
	}
	c.header = metadata.Join(c.header, md)
	return nil
}

func (c *serverCall) sendHeader(md metadata.MD) error {
	if err := validate(md); err != nil {
		return err
	}
	c.mu.Lock()
	if c.headed {
		c.mu.Unlock()
		return errHeadersSent
	}
	c.headed = true
	c.header = metadata.Join(c.header, md)
	header := c.header
	c.mu.Unlock()
	c.watch.outHeader("", c.format.name, header)
	if err := c.op.SendInitial(appendPairs(links.Metadata{}, header)); err != nil {
		return c.recvError(err)
	}
	return nil
}

func (c *serverCall) setTrailer(md metadata.MD) error {
	if md.Len() == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trailer = metadata.Join(c.trailer, md)
	return nil
}

// SendMsg sends a message, which is taken over when it returns. It waits for room.
func (s *serverStream) SendMsg(m any) error {
	payload, sizes, err := s.format.encode(m, s.server.opts.MaxSend)
	if err != nil {
		return s.broken(err)
	}
	a := links.Advance{Payload: payload}
	s.mu.Lock()
	first := !s.headed
	s.headed = true
	header := s.header
	s.mu.Unlock()
	if first {
		s.watch.outHeader("", s.format.name, header)
		if len(header) > 0 {
			a.Initial = appendPairs(nil, header)
		}
	}
	if err := s.op.AdvanceContext(context.Background(), a); err != nil {
		if err = s.recvError(err); err == io.EOF {
			err = status.FromContextError(context.Canceled).Err()
		}
		return s.broken(err)
	}
	s.watch.outPayload(m, sizes)
	return nil
}

// RecvMsg waits for the next message. After the half-close it returns io.EOF, again and again.
func (s *serverStream) RecvMsg(m any) error {
	if !s.method.stream.ClientStreams {
		return s.recvOnly(m)
	}
	for {
		a, err := s.next()
		if err != nil {
			return s.broken(s.recvError(err))
		}
		if a.Payload != nil {
			err := s.read(a.Payload, m)
			if a.Completion != nil {
				s.waiting, s.hasWaiting = links.Advance{Completion: a.Completion}, true
			}
			return err
		}
		if a.Completion != nil {
			return io.EOF
		}
	}
}

// recvOnly receives the one request of a method that takes one.
func (s *serverStream) recvOnly(m any) error {
	if s.closedByUs {
		return io.EOF
	}
	request, err := s.onlyPayload()
	if err != nil {
		return s.broken(err)
	}
	s.closedByUs = true
	return s.read(request, m)
}

func (s *serverStream) read(p *links.Payload, m any) error {
	sizes, err := s.format.decode(p, m, s.server.opts.MaxReceive)
	if err != nil {
		return s.broken(err)
	}
	s.watch.inPayload(m, sizes)
	return nil
}

// next takes what the caller said next.
func (c *serverCall) next() (links.Advance, error) {
	if c.hasWaiting {
		c.hasWaiting = false
		return c.waiting, nil
	}
	return c.op.Receive(context.Background())
}

// broken tells the caller at once of an error of a stream, as grpc-go does: it counts, whatever the handler makes of it.
func (c *serverCall) broken(err error) error {
	if err != nil && err != io.EOF {
		c.close(nil, handlerStatus(err))
	}
	return err
}
