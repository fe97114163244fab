package grpclinks_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

func (e *env) invokeWith(ctx context.Context, method, in string, opts ...grpc.CallOption) (string, error) {
	out := new(text)
	err := e.cc.Invoke(ctx, "/test.S/"+method, say(in), out, opts...)
	return out.GetValue(), err
}

func (e *env) invoke(method, in string, opts ...grpc.CallOption) (string, error) {
	return e.invokeWith(e.ctx, method, in, opts...)
}

func (e *env) must(t *testing.T, method, in string, opts ...grpc.CallOption) string {
	t.Helper()
	out, err := e.invoke(method, in, opts...)
	require.NoError(t, err)
	return out
}

func (e *env) streamWith(t *testing.T, ctx context.Context, method string, opts ...grpc.CallOption) grpc.ClientStream {
	t.Helper()
	s, err := e.cc.NewStream(ctx, streamDesc(method), "/test.S/"+method, opts...)
	require.NoError(t, err)
	return s
}

func (e *env) stream(t *testing.T, method string, opts ...grpc.CallOption) grpc.ClientStream {
	t.Helper()
	return e.streamWith(t, e.ctx, method, opts...)
}

func recv(s grpc.ClientStream) (string, error) {
	out := new(text)
	err := s.RecvMsg(out)
	return out.GetValue(), err
}

func mustRecv(t *testing.T, s grpc.ClientStream) string {
	t.Helper()
	out, err := recv(s)
	require.NoError(t, err)
	return out
}

// drain reads a stream to its end and returns the number of messages.
func drain(s grpc.ClientStream) (n int, err error) {
	for {
		if _, err := recv(s); err != nil {
			if err == io.EOF {
				err = nil
			}
			return n, err
		}
		n++
	}
}

func requireCode(t *testing.T, want codes.Code, err error) {
	t.Helper()
	require.Equal(t, want, status.Code(err), "%v", err)
}

// asked returns the metadata that the method Metadata saw.
func (e *env) asked(t *testing.T, ctx context.Context, opts ...grpc.CallOption) metadata.MD {
	t.Helper()
	out, err := e.invokeWith(ctx, "Metadata", "", opts...)
	require.NoError(t, err)
	var md metadata.MD
	require.NoError(t, json.Unmarshal([]byte(out), &md))
	return md
}

// reportingStats reports what a stats handler at the server sees, under "stats" and the method.
type reportingStats struct{ backend *testServer }

type statsKey struct{}

func (r *reportingStats) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	md, _ := metadata.FromIncomingContext(ctx)
	r.backend.report("stats "+info.FullMethodName, "tag %v\n", md["k"])
	return context.WithValue(ctx, statsKey{}, info.FullMethodName)
}

func (r *reportingStats) HandleRPC(ctx context.Context, s stats.RPCStats) {
	method, _ := ctx.Value(statsKey{}).(string)
	r.backend.report("stats "+method, "%s\n", renderStats(s))
}

func (r *reportingStats) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return ctx
}

func (r *reportingStats) HandleConn(_ context.Context, s stats.ConnStats) {
	r.backend.report("conn", "%T\n", s)
}

// renderStats leaves out what may differ between transports.
func renderStats(s stats.RPCStats) string {
	line := fmt.Sprintf("%T client=%v", s, s.IsClient())
	switch s := s.(type) {
	case *stats.InHeader:
		line += fmt.Sprintf(" k=%v h=%v", s.Header["k"], s.Header["h"])
		if !s.Client {
			line += " " + s.FullMethod
		}
	case *stats.OutHeader:
		line += fmt.Sprintf(" k=%v h=%v", s.Header["k"], s.Header["h"])
		if s.Client {
			line += " " + s.FullMethod
		}
	case *stats.Begin:
		line += fmt.Sprintf(" %v %v", s.IsClientStream, s.IsServerStream)
	case *stats.InPayload:
		line += fmt.Sprintf(" %d %T", s.Length, s.Payload)
	case *stats.OutPayload:
		line += fmt.Sprintf(" %d %T", s.Length, s.Payload)
	case *stats.InTrailer:
		line += fmt.Sprintf(" t=%v", s.Trailer["t"])
	case *stats.OutTrailer:
		line += fmt.Sprintf(" t=%v", s.Trailer["t"])
	case *stats.End:
		line += fmt.Sprintf(" %v", status.Code(s.Error))
	}
	return line
}

func splitWords(s string) []string { return strings.Fields(s) }

func streamDesc(method string) *grpc.StreamDesc {
	m := streamMethods[method]
	return &grpc.StreamDesc{StreamName: method, ClientStreams: m.client, ServerStreams: m.server}
}

// requireGoroutines waits until no more goroutines run than before.
func requireGoroutines(t *testing.T, before int) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; <-ticker.C {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}
