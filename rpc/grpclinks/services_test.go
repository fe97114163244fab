package grpclinks_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/packetstream/packetstream/rpc/grpclinks"
	"github.com/packetstream/packetstream/rpc/links"
)

func TestUnknownMethods(t *testing.T) {
	for _, config := range []string{"plain", "intercepted"} {
		sideBySide(t, config, func(t *testing.T, e *env) {
			for _, path := range []string{"/no.Such/Method", "/test.S/NoSuch", "noslash", "/noslash", "/test.S/", "//"} {
				var header metadata.MD
				err := e.cc.Invoke(e.ctx, path, say("x"), new(text), grpc.Header(&header))
				requireCode(t, codes.Unimplemented, err)
				require.Empty(t, header["interceptor"])
				s, err := e.cc.NewStream(e.ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, path)
				if err == nil {
					_, err = recv(s)
				}
				requireCode(t, codes.Unimplemented, err)
			}
		})
	}
	sideBySide(t, "unknown", func(t *testing.T, e *env) {
		out := new(text)
		require.NoError(t, e.cc.Invoke(e.ctx, "/no.Such/Method", say("x"), out))
		require.Equal(t, "/no.Such/Method x", out.GetValue())
	})
}

func TestServerInterceptors(t *testing.T) {
	sideBySide(t, "intercepted", func(t *testing.T, e *env) {
		var header metadata.MD
		e.must(t, "Echo", "x", grpc.Header(&header))
		require.Equal(t, []string{"1 /test.S/Echo true", "2 /test.S/Echo true"}, header["interceptor"])
		_, err := e.invoke("Fail", "plain")
		requireStatus(t, codes.DataLoss, "1 2 plain text", err)

		for method, kinds := range map[string]string{"Count": "false true", "Collect": "true false", "EchoStream": "true true"} {
			s := e.stream(t, method)
			require.NoError(t, s.SendMsg(say("1 1")))
			require.NoError(t, s.CloseSend())
			header, err := s.Header()
			require.NoError(t, err)
			require.Equal(t, []string{"1 /test.S/" + method + " " + kinds + " true", "2 /test.S/" + method + " " + kinds + " true"}, header["interceptor"])
			_, err = drain(s)
			require.NoError(t, err)
		}
		s := e.stream(t, "FailStream")
		require.NoError(t, s.SendMsg(say("plain")))
		_, err = recv(s)
		requireStatus(t, codes.DataLoss, "1 2 plain text", err)
	})
}

func TestClientInterceptors(t *testing.T) {
	var mu sync.Mutex
	var order []string
	note := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, s)
	}
	c := client{}
	for _, name := range []string{"1", "2"} {
		c.unary = append(c.unary, func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			note(name + method)
			return invoker(metadata.AppendToOutgoingContext(ctx, "by", name), method, req, reply, cc, opts...)
		})
		c.stream = append(c.stream, func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			note(name + method)
			return streamer(ctx, desc, cc, method, opts...)
		})
	}
	c.unary = append(c.unary, func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if method == "/test.S/Fail" {
			return status.Error(codes.Unavailable, "not sent")
		}
		return invoker(ctx, method, req, reply, cc, opts...)
	})
	sideBySideWith(t, "plain", c, func(t *testing.T, e *env) {
		order = nil
		require.Equal(t, []string{"1", "2"}, e.asked(t, e.ctx)["by"])
		s := e.stream(t, "EchoStream")
		require.NoError(t, s.CloseSend())
		_, err := drain(s)
		require.NoError(t, err)
		_, err = e.invoke("Fail", "42")
		requireStatus(t, codes.Unavailable, "not sent", err)
		require.Equal(t, []string{"1/test.S/Metadata", "2/test.S/Metadata", "1/test.S/EchoStream", "2/test.S/EchoStream", "1/test.S/Fail", "2/test.S/Fail"}, order)
	})
}

func TestHealthService(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		checks := healthpb.NewHealthClient(e.cc)
		reply, err := checks.Check(e.ctx, &healthpb.HealthCheckRequest{Service: "test.S"})
		require.NoError(t, err)
		require.Equal(t, healthpb.HealthCheckResponse_SERVING, reply.GetStatus())
		_, err = checks.Check(e.ctx, &healthpb.HealthCheckRequest{Service: "unknown"})
		requireCode(t, codes.NotFound, err)
		ctx, cancel := context.WithCancel(e.ctx)
		watch, err := checks.Watch(ctx, &healthpb.HealthCheckRequest{Service: "test.S"})
		require.NoError(t, err)
		reply, err = watch.Recv()
		require.NoError(t, err)
		require.Equal(t, healthpb.HealthCheckResponse_SERVING, reply.GetStatus())
		cancel()
		_, err = watch.Recv()
		requireCode(t, codes.Canceled, err)
	})
}

func TestReflectionService(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		s, err := reflectionpb.NewServerReflectionClient(e.cc).ServerReflectionInfo(e.ctx)
		require.NoError(t, err)
		require.NoError(t, s.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}))
		reply, err := s.Recv()
		require.NoError(t, err)
		var names []string
		for _, service := range reply.GetListServicesResponse().GetService() {
			names = append(names, service.GetName())
		}
		require.Contains(t, names, "test.S")
		require.Contains(t, names, "grpc.health.v1.Health")
		require.NoError(t, s.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "grpc.health.v1.Health"}}))
		reply, err = s.Recv()
		require.NoError(t, err)
		require.NotEmpty(t, reply.GetFileDescriptorResponse().GetFileDescriptorProto())
		require.NoError(t, s.CloseSend())
		_, err = s.Recv()
		require.Equal(t, io.EOF, err)
	})
}

func TestRegistrationMistakes(t *testing.T) {
	server := grpclinks.NewServer(nil)
	healthpb.RegisterHealthServer(server, &healthpb.UnimplementedHealthServer{})
	require.Panics(t, func() { healthpb.RegisterHealthServer(server, &healthpb.UnimplementedHealthServer{}) })
	require.Panics(t, func() { server.RegisterService(&reflectionpb.ServerReflection_ServiceDesc, "not one") })
	_, b := links.Pipe()
	require.NoError(t, server.Attach(b))
	require.Panics(t, func() { server.RegisterService(&reflectionpb.ServerReflection_ServiceDesc, nil) })
	info := server.GetServiceInfo()
	require.Len(t, info, 1)
	require.Contains(t, info["grpc.health.v1.Health"].Methods, grpc.MethodInfo{Name: "Watch", IsServerStream: true})
	server.Stop()
	require.ErrorIs(t, server.Serve(b), grpclinks.ErrServerStopped)
}

// recordingStats keeps what a stats handler at the client sees, by method.
type recordingStats struct {
	mu    sync.Mutex
	lines map[string][]string
	conns []string
}

func (r *recordingStats) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	// Trace contexts are put in here: it must not be too late.
	ctx = metadata.AppendToOutgoingContext(ctx, "k", "injected")
	return context.WithValue(ctx, statsKey{}, info.FullMethodName)
}

func (r *recordingStats) HandleRPC(ctx context.Context, s stats.RPCStats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := s.(*stats.DelayedPickComplete); ok { // of a balancer, which is not there
		return
	}
	method, _ := ctx.Value(statsKey{}).(string)
	if r.lines == nil {
		r.lines = make(map[string][]string)
	}
	r.lines[method] = append(r.lines[method], renderStats(s))
}

func (r *recordingStats) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return ctx
}

func (r *recordingStats) HandleConn(_ context.Context, s stats.ConnStats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = append(r.conns, fmt.Sprintf("%T", s))
}

func (r *recordingStats) of(method string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines[method])
}

// inOrder sorts a client's events by kind. Those of the transport (headers and trailer received) have no
// order with those of the messages, which another goroutine tells of, in grpc-go either.
func inOrder(t *testing.T, events []string) []string {
	t.Helper()
	require.Contains(t, events[0], "stats.Begin")
	require.Contains(t, events[len(events)-1], "stats.End")
	kinds := []string{"Begin", "OutHeader", "OutPayload", "InHeader", "InPayload", "InTrailer", "End"}
	rank := func(e string) int {
		return slices.IndexFunc(kinds, func(k string) bool { return strings.HasPrefix(e, "*stats."+k+" ") })
	}
	events = slices.Clone(events)
	slices.SortStableFunc(events, func(a, b string) int { return rank(a) - rank(b) })
	return events
}

func TestStatsHandlersSeeTheSame(t *testing.T) {
	var want map[string][2][]string
	for _, transport := range transports {
		t.Run(transport.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			recorder := &recordingStats{}
			e := &env{name: transport.name, ctx: ctx, client: client{stats: recorder}, real: transport.name == "grpc-go"}
			transport.start(e, t, "stats")
			e.must(t, "Echo", "x")
			_, err := e.invoke("Fail", "42")
			require.Error(t, err)
			s := e.stream(t, "EchoStream")
			require.NoError(t, s.SendMsg(say("x")))
			mustRecv(t, s)
			require.NoError(t, s.CloseSend())
			_, err = drain(s)
			require.NoError(t, err)
			got := make(map[string][2][]string)
			for _, method := range []string{"/test.S/Echo", "/test.S/Fail", "/test.S/EchoStream"} {
				var atServer string
				require.Eventually(t, func() bool {
					atServer = e.must(t, "Report", "stats "+method)
					return strings.Contains(atServer, "stats.End")
				}, 5*time.Second, time.Millisecond)
				got[method] = [2][]string{inOrder(t, recorder.of(method)), strings.Split(strings.TrimSpace(atServer), "\n")}
			}
			require.Equal(t, "*stats.ConnBegin\n", e.must(t, "Report", "conn"))
			e.close()
			require.Eventually(t, func() bool {
				recorder.mu.Lock()
				defer recorder.mu.Unlock()
				return slices.Equal(recorder.conns, []string{"*stats.ConnBegin", "*stats.ConnEnd"})
			}, 5*time.Second, time.Millisecond)
			if want == nil {
				want = got
			}
			for method := range want {
				require.Equal(t, want[method], got[method], method)
			}
		})
	}
}
