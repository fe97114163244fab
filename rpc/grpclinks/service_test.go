package grpclinks_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/types/known/wrapperspb"
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
