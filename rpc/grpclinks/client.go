package grpclinks

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/packetstream/packetstream/internal/reuse"
	"github.com/packetstream/packetstream/rpc/links"
)

// ClientOptions are the settings of a [ClientConn]. The zero value is ready.
type ClientOptions struct {
	// UnaryInterceptors and StreamInterceptors are called around each call, the first one outermost. They are given a nil *grpc.ClientConn.
	UnaryInterceptors  []grpc.UnaryClientInterceptor
	StreamInterceptors []grpc.StreamClientInterceptor
	// StatsHandlers see each call and the connection.
	StatsHandlers []stats.Handler
	// CallOptions are put before those of each call.
	CallOptions []grpc.CallOption
	// Authority is what servers see as :authority; empty is "localhost".
	Authority string
	// UserAgent is what servers see as user-agent.
	UserAgent string
	// Credentials are asked for metadata of each call. Those of a call add to them.
	Credentials credentials.PerRPCCredentials
	// Trusted says that nobody else can read or write the link, as with the pipes of a child: credentials that require transport security
	// are sent, and the peer has a security level.
	Trusted bool
}

// ClientConn makes calls over a link: it is what generated NewXClient functions take. Its methods may be called concurrently.
type ClientConn struct {
	opts    ClientOptions
	link    links.Link
	end     *links.End
	unary   grpc.UnaryClientInterceptor
	stream  grpc.StreamClientInterceptor
	endConn func()
	memory  reuse.Buffers // of messages on their way out
}

var _ grpc.ClientConnInterface = (*ClientConn)(nil)

// NewClientConn joins the link, which is a *links.Conn, one half of links.Split, or an end of links.Pipe. The link stays its maker's to
// close, after Close.
func NewClientConn(link links.Link, opts *ClientOptions) *ClientConn {
	cc := &ClientConn{link: link}
	if opts != nil {
		cc.opts = *opts
	}
	cc.end = links.NewEnd(nil, &links.EndOptions{AutoGrant: openMessages})
	_ = cc.end.Start() // the only one
	cc.unary = chainUnaryClient(cc.opts.UnaryInterceptors)
	cc.stream = chainStreamClient(cc.opts.StreamInterceptors)
	_, endConn := tagConn(context.Background(), cc.opts.StatsHandlers, true)
	cc.endConn = sync.OnceFunc(endConn)
	links.Join(cc.end, link)
	if conn, ok := find[lifetime](link); ok && len(cc.opts.StatsHandlers) > 0 {
		// It ends with the connection, whose maker waits for that.
		go func() {
			<-conn.Done()
			cc.endConn()
		}()
	}
	return cc
}

// Close ends the calls that run and those to come with Canceled. It does not close the link. It may be called more than once.
func (cc *ClientConn) Close() error {
	<-cc.end.Stop(0)
	cc.endConn()
	return nil
}

// Invoke makes a call with one request and one reply, and waits for its end. Its errors are statuses, as in grpc-go.
func (cc *ClientConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	opts = cc.withDefaults(opts)
	if cc.unary != nil {
		return cc.unary(ctx, method, args, reply, nil, cc.invoke, opts...)
	}
	return cc.invoke(ctx, method, args, reply, nil, opts...)
}

// NewStream begins a call with any number of messages, without waiting for the server. The stream is the caller's to read to its
// end, or to cancel by ctx. Its errors are statuses, as in grpc-go.
func (cc *ClientConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	opts = cc.withDefaults(opts)
	if cc.stream != nil {
		return cc.stream(ctx, desc, nil, method, cc.newStream, opts...)
	}
	return cc.newStream(ctx, desc, nil, method, opts...)
}

func (cc *ClientConn) withDefaults(opts []grpc.CallOption) []grpc.CallOption {
	if len(cc.opts.CallOptions) == 0 {
		return opts
	}
	return append(append([]grpc.CallOption(nil), cc.opts.CallOptions...), opts...)
}

func (cc *ClientConn) invoke(ctx context.Context, method string, args, reply any, _ *grpc.ClientConn, opts ...grpc.CallOption) error {
	c := &call{cc: cc, method: method}
	err := c.prepare(ctx, opts, false, false)
	if err == nil {
		err = c.unary(args, reply)
	}
	c.finish(err)
	return err
}

func (cc *ClientConn) newStream(ctx context.Context, desc *grpc.StreamDesc, _ *grpc.ClientConn, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &clientStream{call: call{cc: cc, method: method}, desc: desc, cancel: cancel}
	err := s.prepare(ctx, opts, desc.ClientStreams, desc.ServerStreams)
	if err == nil {
		err = s.begin()
	}
	if err != nil {
		s.end(err)
		return nil, err
	}
	return s, nil
}

// errorOf is the status of an error of an operation.
func (cc *ClientConn) errorOf(err error) error {
	var ended *links.OutcomeError
	switch {
	case errors.As(err, &ended):
		return outcomeError(ended.Outcome, linkErr(cc.link))
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	default:
		return beginError(err)
	}
}

func chainUnaryClient(interceptors []grpc.UnaryClientInterceptor) grpc.UnaryClientInterceptor {
	if len(interceptors) == 0 {
		return nil
	}
	first, rest := interceptors[0], chainUnaryClient(interceptors[1:])
	if rest == nil {
		return first
	}
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		next := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, opts ...grpc.CallOption) error {
			return rest(ctx, method, req, reply, cc, invoker, opts...)
		}
		return first(ctx, method, req, reply, cc, next, opts...)
	}
}

func chainStreamClient(interceptors []grpc.StreamClientInterceptor) grpc.StreamClientInterceptor {
	if len(interceptors) == 0 {
		return nil
	}
	first, rest := interceptors[0], chainStreamClient(interceptors[1:])
	if rest == nil {
		return first
	}
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		next := func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return rest(ctx, desc, cc, method, streamer, opts...)
		}
		return first(ctx, desc, cc, method, next, opts...)
	}
}
