package grpclinks

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/packetstream/packetstream/rpc/links"
)

// Service is called by the end for each call, on a goroutine of its own.
func (a *attachment) Service(ctx context.Context, op *links.Operation) error {
	if a.slots != nil {
		select {
		case a.slots <- struct{}{}:
			defer func() { <-a.slots }()
		case <-ctx.Done():
			return nil // it has ended while it waited
		}
	}
	c := &serverCall{server: a.server, op: op}
	if _, ended := op.Outcome(); ended {
		return nil // it was broken off before anybody looked
	}
	first, some := op.TryReceive()
	m, unknown := a.server.find(op.Group(), op.Method())
	if m == nil {
		if a.server.opts.UnknownService == nil {
			first.Payload.Free()
			c.close(nil, status.New(codes.Unimplemented, unknown))
			return nil
		}
		m = a.unknownMethod(op)
	}
	c.method = m
	c.waiting, c.hasWaiting = first, some
	c.prepare(ctx, a, first.Initial)
	if m.desc != nil {
		c.serveUnary()
	} else {
		c.serveStream()
	}
	return nil
}

func (a *attachment) unknownMethod(op *links.Operation) *method {
	return &method{full: "/" + op.Group() + "/" + op.Method(), stream: &grpc.StreamDesc{StreamName: op.Method(), Handler: a.server.opts.UnknownService,
		ServerStreams: true, ClientStreams: true}}
}

// valuesContext is a call's context with the values of its connection's.
type valuesContext struct {
	context.Context
	values context.Context
}

func (c valuesContext) Value(key any) any {
	if v := c.Context.Value(key); v != nil {
		return v
	}
	return c.values.Value(key)
}

// prepare makes the context and the format of a call.
func (c *serverCall) prepare(ctx context.Context, a *attachment, pairs links.Metadata) {
	options := optionsOf(c.op.Protocol())
	c.format = serverFormat(options)
	c.format.memory = &a.server.memory
	md := incomingMD(pairs, options)
	handlers := a.server.opts.StatsHandlers
	if len(handlers) > 0 {
		ctx = valuesContext{ctx, a.ctx}
	}
	ctx = peer.NewContext(ctx, peerOf(a.server.opts.Trusted))
	ctx = metadata.NewIncomingContext(ctx, md)
	ctx = grpc.NewContextWithServerTransportStream(ctx, transportStream{serverCall: c})
	if len(handlers) > 0 {
		c.watch = watch{handlers: handlers}
		ctx = c.watch.tag(ctx, c.method.full, false)
		c.watch.ctx = ctx
		c.watch.inHeader(c.method.full, options.encoding, md)
		c.watch.begin(c.method.stream != nil && c.method.stream.ClientStreams, c.method.stream != nil && c.method.stream.ServerStreams, false)
	}
	c.ctx = ctx
}

// serverFormat is how the caller writes, and is answered. A content-subtype that is not registered is read as proto, as in grpc-go.
func serverFormat(o callOptions) format {
	f := format{name: o.encoding, serves: true}
	if o.subtype != "" {
		f.codec = registeredCodec(o.subtype)
	}
	if f.codec == nil {
		f.codec = registeredCodec("proto")
	}
	if f.name != "" {
		f.compressor = encoding.GetCompressor(f.name)
	}
	return f
}

// serveUnary reads the one request, runs the handler, and answers in one ticket.
func (c *serverCall) serveUnary() {
	request, err := c.onlyPayload()
	if err != nil {
		c.finish(nil, sizes{}, nil, err)
		return
	}
	decode := func(v any) error {
		s, err := c.format.decode(request, v, c.server.opts.MaxReceive)
		if err != nil {
			return err
		}
		c.watch.inPayload(v, s)
		return nil
	}
	reply, err := c.method.desc.Handler(c.method.impl, c.ctx, decode, c.server.unary)
	if err != nil {
		c.finish(nil, sizes{}, nil, err)
		return
	}
	payload, s, err := c.format.encode(reply, c.server.opts.MaxSend)
	c.finish(payload, s, reply, err)
}

// onlyPayload waits for the one request of a method that takes one, and for the half-close.
func (c *serverCall) onlyPayload() (*links.Payload, error) {
	var request *links.Payload
	for {
		a, err := c.next()
		if err != nil {
			return nil, c.recvError(err)
		}
		if a.Payload != nil {
			if request != nil {
				a.Payload.Free()
				return nil, status.Error(codes.Internal, "cardinality violation: received multiple request messages for non-client-streaming RPC")
			}
			request = a.Payload
			if request.TooLarge() {
				defer request.Free()
				_, _, err := c.format.unpack(request, c.server.opts.MaxReceive)
				return nil, err
			}
		}
		if a.Completion != nil {
			if request == nil {
				return nil, status.Error(codes.Internal, "cardinality violation: received no request message from non-client-streaming RPC")
			}
			return request, nil
		}
	}
}

func (c *serverCall) serveStream() {
	ss := &serverStream{c}
	var err error
	if c.server.stream != nil {
		info := &grpc.StreamServerInfo{FullMethod: c.method.full, IsClientStream: c.method.stream.ClientStreams, IsServerStream: c.method.stream.ServerStreams}
		err = c.server.stream(c.method.impl, ss, info, c.method.stream.Handler)
	} else {
		err = c.method.stream.Handler(c.method.impl, ss)
	}
	c.finish(nil, sizes{}, nil, err)
}

// finish is the server's word at the end of a call.
func (c *serverCall) finish(payload *links.Payload, s sizes, reply any, err error) {
	st := handlerStatus(err)
	trailer := c.close(payload, st)
	if payload != nil {
		c.watch.outPayload(reply, s)
	}
	c.watch.outTrailer(trailer)
	c.watch.end(st.Err(), trailer)
}

// close completes the operation, once. Headers that were only set go with it.
func (c *serverCall) close(payload *links.Payload, st *status.Status) metadata.MD {
	c.mu.Lock()
	if c.closed {
		defer c.mu.Unlock()
		payload.Free()
		return c.trailer
	}
	a := links.Advance{Payload: payload}
	if !c.headed && len(c.header) > 0 {
		a.Initial = appendPairs(links.Metadata{}, c.header)
	}
	headed := !c.headed && (a.Initial != nil || payload != nil)
	c.headed, c.closed = true, true
	header, trailer := c.header, c.trailer
	c.mu.Unlock()
	if headed {
		c.watch.outHeader("", c.format.name, header)
	}
	closing := closingOf(st, appendPairs(nil, trailer))
	a.Completion = &closing
	// If the call is over already, its caller knows why.
	_ = c.op.Advance(a)
	return trailer
}

// recvError is what a handler gets from RecvMsg.
func (c *serverCall) recvError(err error) error {
	var ended *links.OutcomeError
	switch {
	case errors.Is(err, io.EOF):
		return io.EOF
	case errors.As(err, &ended):
		return handlerOutcome(ended.Outcome)
	default:
		return status.FromContextError(err).Err()
	}
}

// handlerOutcome is the status of a call that was broken off: for its handler that is mostly its context's end.
func handlerOutcome(outcome links.Outcome) error {
	switch outcome.Kind {
	case links.Expired:
		return status.FromContextError(context.DeadlineExceeded).Err()
	case links.ReceptionFailed:
		return outcomeError(outcome, nil)
	default:
		return status.FromContextError(context.Canceled).Err()
	}
}
