package grpclinks_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/packetstream/packetstream/rpc/grpclinks"
)

// The test server has one method for each behaviour, so that a child process can have the same ones. What a handler sees and cannot answer
// any more it reports under a name, which the method Report returns.

type text = wrapperspb.StringValue

type testServer struct {
	stop func()

	mu      sync.Mutex // guards reports and changed
	reports map[string]string
	changed chan struct{}
}

func newTestServer() *testServer {
	return &testServer{reports: make(map[string]string), changed: make(chan struct{})}
}

func (s *testServer) report(name, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports[name] += fmt.Sprintf(format, args...)
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *testServer) awaitReport(ctx context.Context, name string) (string, error) {
	for {
		s.mu.Lock()
		report, ok := s.reports[name]
		changed := s.changed
		s.mu.Unlock()
		if ok {
			return report, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// register adds the test service, and what comes with grpc-go.
func (s *testServer) register(r reflection.GRPCServer, stop func()) {
	s.stop = stop
	r.RegisterService(testDesc(), s)
	checks := health.NewServer()
	checks.SetServingStatus("test.S", healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(r, checks)
	reflection.Register(r)
}

func testDesc() *grpc.ServiceDesc {
	desc := &grpc.ServiceDesc{ServiceName: "test.S", HandlerType: (*any)(nil)}
	for name, f := range unaryMethods {
		desc.Methods = append(desc.Methods, grpc.MethodDesc{MethodName: name, Handler: func(srv any, ctx context.Context, dec func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			in := new(text)
			if err := dec(in); err != nil {
				return nil, err
			}
			handler := func(ctx context.Context, in any) (any, error) {
				return f(srv.(*testServer), ctx, in.(*text).GetValue())
			}
			if interceptor == nil {
				return handler(ctx, in)
			}
			return interceptor(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: "/test.S/" + name}, handler)
		}})
	}
	for name, m := range streamMethods {
		desc.Streams = append(desc.Streams, grpc.StreamDesc{StreamName: name, ClientStreams: m.client, ServerStreams: m.server,
			Handler: func(srv any, stream grpc.ServerStream) error { return m.f(srv.(*testServer), stream) }})
	}
	return desc
}

func say(s string) *text { return wrapperspb.String(s) }

func sayJSON(v any) *text {
	b, err := json.Marshal(v)
	if err != nil {
		return say(err.Error())
	}
	return say(string(b))
}

// fail returns the error that a test asks for.
func fail(kind string) error {
	switch kind {
	case "":
		return nil
	case "plain":
		return errors.New("plain text")
	case "deadline":
		return context.DeadlineExceeded
	case "canceled":
		return context.Canceled
	case "wrapped":
		return fmt.Errorf("outer: %w", status.Error(codes.NotFound, "inner"))
	case "EOF":
		return io.EOF
	case "42":
		return status.Error(42, "forty-two")
	case "empty":
		return status.Error(codes.Aborted, "")
	case "odd":
		return status.Error(codes.Internal, oddText)
	case "details":
		s, err := status.New(codes.FailedPrecondition, "detailed").WithDetails(durationpb.New(90*time.Second), say("more"))
		if err != nil {
			return err
		}
		return s.Err()
	}
	return status.Errorf(codes.InvalidArgument, "no such kind %q", kind)
}

const oddText = "a\x00b%41 %\r\nü→🙂 end "

var unaryMethods = map[string]func(s *testServer, ctx context.Context, in string) (*text, error){
	"Echo": func(_ *testServer, _ context.Context, in string) (*text, error) { return say(in), nil },
	"Nil":  func(_ *testServer, _ context.Context, _ string) (*text, error) { return nil, nil },
	"Fail": func(_ *testServer, ctx context.Context, in string) (*text, error) {
		if err := grpc.SetHeader(ctx, metadata.Pairs("h", "1")); err != nil {
			return nil, err
		}
		if err := grpc.SetTrailer(ctx, metadata.Pairs("t", "2")); err != nil {
			return nil, err
		}
		return nil, fail(in)
	},
	"Big": func(_ *testServer, _ context.Context, in string) (*text, error) {
		var n int
		_, err := fmt.Sscan(in, &n)
		return say(strings.Repeat("x", n)), err
	},
	// Metadata answers with the incoming metadata.
	"Metadata": func(_ *testServer, ctx context.Context, _ string) (*text, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		return sayJSON(md), nil
	},
	// Context answers with what else the handler's context has.
	"Context": func(_ *testServer, ctx context.Context, _ string) (*text, error) {
		out, hasOut := metadata.FromOutgoingContext(ctx)
		p, hasPeer := peer.FromContext(ctx)
		deadline, hasDeadline := ctx.Deadline()
		method, _ := grpc.Method(ctx)
		left := time.Duration(0)
		if hasDeadline {
			left = time.Until(deadline)
		}
		return sayJSON(map[string]any{"value": ctx.Value(contextKey{}), "outgoing": hasOut || len(out) > 0, "peer": hasPeer && p.Addr != nil,
			"deadline": hasDeadline, "left": left, "method": method}), nil
	},
	// Trailers sends back what it is asked to as header and trailer.
	"Trailers": func(_ *testServer, ctx context.Context, in string) (*text, error) {
		var md metadata.MD
		if err := json.Unmarshal([]byte(in), &md); err != nil {
			return nil, err
		}
		if err := grpc.SetHeader(ctx, md); err != nil {
			return nil, err
		}
		return say(""), grpc.SetTrailer(ctx, md)
	},
	// Headers goes through all ways to set headers and trailers and answers with their errors.
	"Headers": func(_ *testServer, ctx context.Context, _ string) (*text, error) {
		return say(headersBoth(ctx, func(md metadata.MD) error { return grpc.SetHeader(ctx, md) },
			func(md metadata.MD) error { return grpc.SendHeader(ctx, md) }, func(md metadata.MD) { _ = grpc.SetTrailer(ctx, md) })), nil
	},
	// Wait waits for the end of its context and reports it.
	"Wait": func(s *testServer, ctx context.Context, in string) (*text, error) {
		s.report(in+" begun", "begun")
		<-ctx.Done()
		s.report(in, "%v", ctx.Err())
		return nil, ctx.Err()
	},
	// Leave returns, and reports when its context is done.
	"Leave": func(s *testServer, ctx context.Context, in string) (*text, error) {
		context.AfterFunc(ctx, func() { s.report(in, "%v", ctx.Err()) })
		return say("left"), nil
	},
	"Report": func(s *testServer, ctx context.Context, in string) (*text, error) {
		report, err := s.awaitReport(ctx, in)
		return say(report), err
	},
	"Forget": func(s *testServer, _ context.Context, in string) (*text, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.reports, in)
		return say(""), nil
	},
	// Hold answers once the method Report would.
	"Hold": func(s *testServer, ctx context.Context, in string) (*text, error) {
		s.report(in+" begun", "begun")
		report, err := s.awaitReport(ctx, in)
		return say(report), err
	},
	"Tell": func(s *testServer, _ context.Context, in string) (*text, error) {
		s.report(in, "told")
		return say(""), nil
	},
	"GracefulStop": func(s *testServer, _ context.Context, _ string) (*text, error) {
		go s.stop()
		return say(""), nil
	},
}

type contextKey struct{}

// headersBoth says what each step answered, in one string.
func headersBoth(_ context.Context, set, send func(metadata.MD) error, trailer func(metadata.MD)) string {
	var said []string
	note := func(err error) {
		if err != nil {
			said = append(said, status.Code(err).String())
		} else {
			said = append(said, "ok")
		}
	}
	note(set(metadata.Pairs("a", "1")))
	note(set(metadata.Pairs("a", "2", "b-bin", "\x00\xff")))
	trailer(metadata.Pairs("t", "1"))
	note(send(metadata.Pairs("c", "3")))
	note(send(metadata.Pairs("d", "4")))
	note(set(metadata.Pairs("e", "5")))
	trailer(metadata.Pairs("t", "2"))
	return strings.Join(said, " ")
}

type streamMethod struct {
	client, server bool
	f              func(s *testServer, stream grpc.ServerStream) error
}

var streamMethods = map[string]streamMethod{
	"EchoStream": {true, true, func(_ *testServer, stream grpc.ServerStream) error {
		for {
			in := new(text)
			if err := stream.RecvMsg(in); err != nil {
				if err == io.EOF {
					return nil
				}
				return err
			}
			if err := stream.SendMsg(in); err != nil {
				return err
			}
		}
	}},
	"FailStream": {true, true, func(_ *testServer, stream grpc.ServerStream) error {
		if err := stream.SetHeader(metadata.Pairs("h", "1")); err != nil {
			return err
		}
		stream.SetTrailer(metadata.Pairs("t", "2"))
		in := new(text)
		if err := stream.RecvMsg(in); err != nil {
			return err
		}
		return fail(in.GetValue())
	}},
	// FailAtOnce does not read.
	"FailAtOnce": {true, true, func(*testServer, grpc.ServerStream) error { return status.Error(codes.Aborted, "at once") }},
	// Collect is client-streaming: it answers with the number of messages and what RecvMsg said in the end.
	"Collect": {true, false, func(_ *testServer, stream grpc.ServerStream) error {
		n := 0
		for {
			err := stream.RecvMsg(new(text))
			if err == nil {
				n++
				continue
			}
			again := stream.RecvMsg(new(text))
			return stream.SendMsg(say(fmt.Sprintf("%d %v %v", n, err, again)))
		}
	}},
	// Count is server-streaming: as many messages as asked for.
	"Count": {false, true, func(_ *testServer, stream grpc.ServerStream) error {
		in := new(text)
		if err := stream.RecvMsg(in); err != nil {
			return err
		}
		n, size := 0, 0
		if _, err := fmt.Sscan(in.GetValue(), &n, &size); err != nil {
			return err
		}
		for i := range n {
			if err := stream.SendMsg(say(fmt.Sprint(i) + strings.Repeat(" ", size))); err != nil {
				return err
			}
		}
		return nil
	}},
	// Replies answers as often as asked for, to a call that should get one reply.
	"Replies": {true, false, func(_ *testServer, stream grpc.ServerStream) error {
		in := new(text)
		if err := stream.RecvMsg(in); err != nil {
			return err
		}
		for range len(in.GetValue()) {
			if err := stream.SendMsg(in); err != nil {
				return err
			}
		}
		return nil
	}},
	"HeadersStream": {true, true, func(_ *testServer, stream grpc.ServerStream) error {
		said := headersBoth(stream.Context(), stream.SetHeader, stream.SendHeader, stream.SetTrailer)
		if err := stream.SendMsg(say(said)); err != nil {
			return err
		}
		return stream.RecvMsg(new(text))
	}},
	// ContextHeaders sets headers through the context.
	"ContextHeaders": {true, true, func(_ *testServer, stream grpc.ServerStream) error {
		ctx := stream.Context()
		said := headersBoth(ctx, func(md metadata.MD) error { return grpc.SetHeader(ctx, md) },
			func(md metadata.MD) error { return grpc.SendHeader(ctx, md) }, func(md metadata.MD) { _ = grpc.SetTrailer(ctx, md) })
		method, _ := grpc.Method(ctx)
		return stream.SendMsg(say(said + " " + method))
	}},
	// LateHeaders tries to set headers after a message.
	"LateHeaders": {true, true, func(_ *testServer, stream grpc.ServerStream) error {
		if err := stream.SendMsg(say("first")); err != nil {
			return err
		}
		if stream.SetHeader(metadata.Pairs("late", "1")) == nil || stream.SendHeader(nil) == nil {
			return status.Error(codes.Unknown, "headers after a message")
		}
		return nil
	}},
	"BadHeaders": {true, true, func(_ *testServer, stream grpc.ServerStream) error {
		var said []string
		for _, md := range []metadata.MD{{"": {"x"}}, {"Upper": {"x"}}, {"a b": {"x"}}, {"k": {"\x01"}}, {"ü": {"x"}}} {
			said = append(said, status.Code(stream.SetHeader(md)).String(), status.Code(stream.SendHeader(md)).String())
		}
		return stream.SendMsg(say(strings.Join(said, " ")))
	}},
	// WaitStream waits for the end of its context and reports what the stream says then.
	"WaitStream": {true, true, func(s *testServer, stream grpc.ServerStream) error {
		in := new(text)
		if err := stream.RecvMsg(in); err != nil {
			return err
		}
		s.report(in.GetValue()+" begun", "begun")
		if err := stream.SendMsg(say("begun")); err != nil {
			return err
		}
		<-stream.Context().Done()
		var sendErr error
		for range 100 {
			if sendErr = stream.SendMsg(say("late")); sendErr != nil {
				break
			}
		}
		err := stream.RecvMsg(new(text))
		s.report(in.GetValue(), "%v | %v | %v", stream.Context().Err(), status.Code(err), sendErr != nil)
		return err
	}},
	// Mute reads one message and then nothing until its context ends.
	"Mute": {true, true, func(_ *testServer, stream grpc.ServerStream) error {
		if err := stream.RecvMsg(new(text)); err != nil {
			return err
		}
		<-stream.Context().Done()
		return nil
	}},
	// EndWhenTold ends with a status once told, without having read.
	"EndWhenTold": {true, true, func(s *testServer, stream grpc.ServerStream) error {
		in := new(text)
		if err := stream.RecvMsg(in); err != nil {
			return err
		}
		if _, err := s.awaitReport(stream.Context(), in.GetValue()); err != nil {
			return err
		}
		return status.Error(codes.ResourceExhausted, "enough")
	}},
	// Flood sends messages of 64 KiB until it cannot, and reports how many it could within a second without progress.
	"Flood": {false, true, func(s *testServer, stream grpc.ServerStream) error {
		in := new(text)
		if err := stream.RecvMsg(in); err != nil {
			return err
		}
		message := say(strings.Repeat("x", 64<<10))
		for n := 1; ; n++ {
			if err := stream.SendMsg(message); err != nil {
				return err
			}
			s.report(in.GetValue(), "x")
		}
	}},
}

// serverConfig is how a test wants its server; a name stands for it, so that a child can have the same.
type serverConfig struct {
	maxReceive, maxSend int
	concurrent          int
	unary               []grpc.UnaryServerInterceptor
	stream              []grpc.StreamServerInterceptor
	unknown             grpc.StreamHandler
	stats               func(*testServer) stats.Handler
}

var serverConfigs = map[string]serverConfig{
	"plain":  {},
	"limits": {maxReceive: 1000, maxSend: 1000},
	"single": {concurrent: 1},
	"stats":  {stats: func(s *testServer) stats.Handler { return &reportingStats{backend: s} }},
	"intercepted": {
		unary:  []grpc.UnaryServerInterceptor{markUnary("1"), markUnary("2")},
		stream: []grpc.StreamServerInterceptor{markStream("1"), markStream("2")},
	},
	"unknown": {unknown: func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		in := new(text)
		if err := stream.RecvMsg(in); err != nil {
			return err
		}
		return stream.SendMsg(say(method + " " + in.GetValue()))
	}},
}

func markUnary(name string) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		_, same := info.Server.(*testServer)
		if err := grpc.SetHeader(ctx, metadata.Pairs("interceptor", fmt.Sprintf("%s %s %v", name, info.FullMethod, same))); err != nil {
			return nil, err
		}
		reply, err := handler(ctx, req)
		if err != nil {
			err = status.Error(codes.DataLoss, name+" "+status.Convert(err).Message())
		}
		return reply, err
	}
}

func markStream(name string) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		_, same := srv.(*testServer)
		err := stream.SetHeader(metadata.Pairs("interceptor", fmt.Sprintf("%s %s %v %v %v", name, info.FullMethod, info.IsClientStream, info.IsServerStream, same)))
		if err != nil {
			return err
		}
		if err := handler(srv, stream); err != nil {
			return status.Error(codes.DataLoss, name+" "+status.Convert(err).Message())
		}
		return nil
	}
}

func (c serverConfig) links(backend *testServer) *grpclinks.ServerOptions {
	opts := &grpclinks.ServerOptions{MaxReceive: c.maxReceive, MaxSend: c.maxSend, MaxConcurrentStreams: c.concurrent, UnaryInterceptors: c.unary,
		StreamInterceptors: c.stream, UnknownService: c.unknown}
	if c.stats != nil {
		opts.StatsHandlers = []stats.Handler{c.stats(backend)}
	}
	return opts
}

func (c serverConfig) grpc(backend *testServer) []grpc.ServerOption {
	opts := []grpc.ServerOption{grpc.ChainUnaryInterceptor(c.unary...), grpc.ChainStreamInterceptor(c.stream...)}
	if c.maxReceive > 0 {
		opts = append(opts, grpc.MaxRecvMsgSize(c.maxReceive), grpc.MaxSendMsgSize(c.maxSend))
	}
	if c.concurrent > 0 {
		opts = append(opts, grpc.MaxConcurrentStreams(uint32(c.concurrent)))
	}
	if c.unknown != nil {
		opts = append(opts, grpc.UnknownServiceHandler(c.unknown))
	}
	if c.stats != nil {
		opts = append(opts, grpc.StatsHandler(c.stats(backend)))
	}
	return opts
}
