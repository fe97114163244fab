package grpclinks

import (
	"context"
	"io"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/packetstream/packetstream/rpc/links"
)

// call is what unary calls and streams have in common at the client.
type call struct {
	cc     *ClientConn
	method string
	ctx    context.Context
	info   callInfo
	format format
	watch  watch
	pairs  links.Metadata
	op     *links.Operation

	mu       sync.Mutex // guards what follows
	header   metadata.MD
	headed   bool // the headers came, or will not
	trailer  metadata.MD
	finished sync.Once
}

// prepare settles all that can be refused before anything is sent.
func (c *call) prepare(ctx context.Context, opts []grpc.CallOption, clientStream, serverStream bool) error {
	c.ctx = ctx
	c.info.read(opts)
	var err error
	if c.format, err = c.info.format(); err != nil {
		return err
	}
	c.format.memory = &c.cc.memory
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	if handlers := c.cc.opts.StatsHandlers; len(handlers) > 0 {
		c.watch = watch{handlers: handlers, client: true}
		c.ctx = c.watch.tag(ctx, c.method, c.info.failFast)
		c.watch.begin(clientStream, serverStream, c.info.failFast)
	}
	if md, ok := metadata.FromOutgoingContext(c.ctx); ok {
		if err := validate(md); err != nil {
			return err
		}
		c.pairs = appendPairs(nil, md)
	}
	for _, creds := range [...]credentials.PerRPCCredentials{c.cc.opts.Credentials, c.info.creds} {
		if creds != nil {
			if err := c.askCredentials(creds); err != nil {
				return err
			}
		}
	}
	return nil
}

// askCredentials adds what credentials say for this call.
func (c *call) askCredentials(creds credentials.PerRPCCredentials) error {
	if creds.RequireTransportSecurity() && !c.cc.opts.Trusted {
		return status.Error(codes.Unauthenticated, "transport: cannot send secure credentials on an insecure connection")
	}
	info := credentials.RequestInfo{Method: c.method, AuthInfo: peerOf(c.cc.opts.Trusted).AuthInfo}
	service := c.method
	if i := strings.LastIndex(service, "/"); i >= 0 {
		service = service[:i]
	}
	pairs, err := creds.GetRequestMetadata(credentials.NewContextWithRequestInfo(c.ctx, info), "https://"+c.authority()+service)
	if err != nil {
		if s, ok := status.FromError(err); ok {
			return s.Err()
		}
		return status.Errorf(codes.Internal, "transport: per-RPC creds failed due to error: %v", err)
	}
	for key, value := range pairs {
		key = strings.ToLower(key)
		if err := validatePairs(key, []string{value}); err != nil {
			return status.Error(codes.Internal, err.Error())
		}
		if !reserved(key) {
			c.pairs = append(c.pairs, links.Pair{Key: key, Value: value})
		}
	}
	return nil
}

func (c *call) authority() string {
	switch {
	case c.info.authority != "":
		return c.info.authority
	case c.cc.opts.Authority != "":
		return c.cc.opts.Authority
	default:
		return defaultAuthority
	}
}

// opening is ticket 0.
func (c *call) opening() links.Opening {
	group, method := splitMethod(c.method)
	options := callOptions{subtype: c.info.subtype, encoding: c.format.name, userAgent: c.cc.opts.UserAgent}
	if authority := c.authority(); authority != defaultAuthority {
		options.authority = authority
	}
	return links.Opening{Group: group, Method: method, Initial: c.pairs, Protocol: options.protocol(), MaxPayload: payloadLimit(c.info.maxReceive)}
}

// splitMethod parts a path at its last slash. One without has no group, and no server has a service for it.
func splitMethod(path string) (group, method string) {
	path = strings.TrimPrefix(path, "/")
	i := strings.LastIndex(path, "/")
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

// operate begins the operation.
func (c *call) operate(o links.Opening) error {
	op, err := c.cc.end.Operate(c.ctx, o)
	if err != nil {
		o.Payload.Free()
		return beginError(err)
	}
	c.op = op
	if c.watch.on() {
		header, _ := toMD(c.pairs, 0)
		c.watch.outHeader(c.method, c.format.name, header)
	}
	return nil
}

var nothingMore links.Closing

func (c *call) unary(args, reply any) error {
	payload, s, err := c.format.encode(args, c.info.maxSend)
	if err != nil {
		return err
	}
	o := c.opening()
	o.Payload, o.Completion = payload, &nothingMore
	if err := c.operate(o); err != nil {
		return err
	}
	c.watch.outPayload(args, s)
	received := false
	for {
		a, err := c.step()
		if err != nil {
			return err
		}
		if a.Payload != nil {
			if err := c.oneReply(a.Payload, reply, &received); err != nil {
				return err
			}
		}
		if a.Completion != nil {
			return c.oneReplyEnd(a.Completion, received)
		}
	}
}

// oneReply reads the reply of a call that has one.
func (c *call) oneReply(p *links.Payload, reply any, received *bool) error {
	if *received {
		p.Free()
		c.op.Cancel()
		return status.Error(codes.Internal, "cardinality violation: expected <EOF> for non server-streaming RPCs, but received another message")
	}
	*received = true
	return c.read(p, reply)
}

func (c *call) oneReplyEnd(closing *links.Closing, received bool) error {
	err := closingError(closing)
	if err == nil && !received {
		return status.Error(codes.Internal, "cardinality violation: received no response message from non-server-streaming RPC")
	}
	return err
}

// read decodes a message; what cannot be decoded ends the call.
func (c *call) read(p *links.Payload, message any) error {
	s, err := c.format.decode(p, message, c.info.maxReceive)
	if err != nil {
		c.op.Cancel()
		return err
	}
	c.watch.inPayload(message, s)
	return nil
}

// step waits for what the server says next, and keeps the metadata of it. The operation ends with the call's context, so that no other is needed.
func (c *call) step() (links.Advance, error) {
	a, err := c.op.Receive(context.Background())
	if err != nil {
		if err == io.EOF {
			return a, err
		}
		return a, c.cc.errorOf(err)
	}
	c.keep(a)
	return a, nil
}

// keep takes headers and trailers. Without a message or headers of the application there are none, as in a response of trailers only.
func (c *call) keep(a links.Advance) {
	c.mu.Lock()
	heading := !c.headed && (a.Initial != nil || a.Payload != nil || a.Completion != nil)
	if heading {
		c.headed = true
		if a.Initial != nil || a.Payload != nil {
			md, values := toMD(a.Initial, 1)
			setOne(md, values, "content-type", callOptions{subtype: c.info.subtype}.contentType())
			c.header = md
		}
	}
	header := c.header
	if a.Completion != nil {
		c.trailer, _ = toMD(a.Completion.Terminal, 0)
	}
	trailer := c.trailer
	c.mu.Unlock()
	if heading && header != nil {
		c.watch.inHeader(c.method, c.format.name, header)
	}
	if a.Completion != nil {
		c.watch.inTrailer(trailer)
	}
}

// finish runs what is due at the end of a call, once. A call that was refused before it began has only OnFinish.
func (c *call) finish(err error) {
	c.finished.Do(func() {
		if err == io.EOF {
			err = nil
		}
		c.mu.Lock()
		header, trailer := c.header, c.trailer
		c.mu.Unlock()
		if c.op != nil {
			for _, address := range c.info.headers {
				*address = header.Copy()
			}
			for _, address := range c.info.trailers {
				*address = trailer.Copy()
			}
			for _, address := range c.info.peers {
				*address = *peerOf(c.cc.opts.Trusted)
			}
		}
		if c.watch.ctx != nil {
			c.watch.end(err, trailer)
		}
		for _, f := range c.info.onFinish {
			f(err)
		}
	})
}
