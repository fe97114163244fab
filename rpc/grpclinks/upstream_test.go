package grpclinks_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	hellopb "google.golang.org/grpc/examples/helloworld/helloworld"
	routepb "google.golang.org/grpc/examples/route_guide/routeguide"
	"google.golang.org/grpc/stats"
	"google.golang.org/protobuf/proto"

	"github.com/packetstream/packetstream/rpc/grpclinks"
	"github.com/packetstream/packetstream/rpc/links"
)

// The stubs are upstream's, unchanged; the services do what those of its examples do.

type greeter struct {
	hellopb.UnimplementedGreeterServer
}

func (greeter) SayHello(_ context.Context, in *hellopb.HelloRequest) (*hellopb.HelloReply, error) {
	return &hellopb.HelloReply{Message: "Hello " + in.GetName()}, nil
}

type routeGuide struct {
	routepb.UnimplementedRouteGuideServer
	features []*routepb.Feature
	notes    chan []*routepb.RouteNote // one value: what was said so far
}

func newRouteGuide() *routeGuide {
	g := &routeGuide{notes: make(chan []*routepb.RouteNote, 1)}
	g.notes <- nil
	for i := range int32(10) {
		g.features = append(g.features, &routepb.Feature{Name: string('a' + i), Location: point(i, i)})
	}
	return g
}

func point(latitude, longitude int32) *routepb.Point {
	return &routepb.Point{Latitude: latitude, Longitude: longitude}
}

func (g *routeGuide) GetFeature(_ context.Context, p *routepb.Point) (*routepb.Feature, error) {
	for _, feature := range g.features {
		if proto.Equal(feature.GetLocation(), p) {
			return feature, nil
		}
	}
	return &routepb.Feature{Location: p}, nil
}

func (g *routeGuide) ListFeatures(r *routepb.Rectangle, stream grpc.ServerStreamingServer[routepb.Feature]) error {
	for _, feature := range g.features {
		if l := feature.GetLocation(); l.GetLatitude() >= r.GetLo().GetLatitude() && l.GetLatitude() <= r.GetHi().GetLatitude() {
			if err := stream.Send(feature); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *routeGuide) RecordRoute(stream grpc.ClientStreamingServer[routepb.Point, routepb.RouteSummary]) error {
	summary := &routepb.RouteSummary{}
	for {
		p, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(summary)
		}
		if err != nil {
			return err
		}
		summary.PointCount++
		if feature, _ := g.GetFeature(stream.Context(), p); feature.GetName() != "" {
			summary.FeatureCount++
		}
	}
}

func (g *routeGuide) RouteChat(stream grpc.BidiStreamingServer[routepb.RouteNote, routepb.RouteNote]) error {
	for {
		note, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		said := append(<-g.notes, note)
		g.notes <- said
		for _, earlier := range said {
			if proto.Equal(earlier.GetLocation(), note.GetLocation()) {
				if err := stream.Send(earlier); err != nil {
					return err
				}
			}
		}
	}
}

// openService gives a client of a server on the other end of two pipes.
func openService(t *testing.T, serverOpts *grpclinks.ServerOptions, clientOpts *grpclinks.ClientOptions, register func(*grpclinks.Server)) *grpclinks.ClientConn {
	t.Helper()
	ours, theirs := osPipes(t)
	far, err := links.NewConn(links.StreamCarrier(theirs), &links.ConnOptions{Side: 1})
	require.NoError(t, err)
	near, err := links.NewConn(links.StreamCarrier(ours), nil)
	require.NoError(t, err)
	server := grpclinks.NewServer(serverOpts)
	register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(far) }()
	cc := grpclinks.NewClientConn(near, clientOpts)
	t.Cleanup(func() {
		cc.Close()
		server.GracefulStop()
		near.Close()
		far.Close()
		require.NoError(t, <-served)
	})
	return cc
}

func TestUpstreamsHelloWorld(t *testing.T) {
	cc := openService(t, nil, nil, func(s *grpclinks.Server) { hellopb.RegisterGreeterServer(s, greeter{}) })
	reply, err := hellopb.NewGreeterClient(cc).SayHello(t.Context(), &hellopb.HelloRequest{Name: "Ada"})
	require.NoError(t, err)
	require.Equal(t, "Hello Ada", reply.GetMessage())
}

func TestUpstreamsRouteGuide(t *testing.T) {
	cc := openService(t, nil, nil, func(s *grpclinks.Server) { routepb.RegisterRouteGuideServer(s, newRouteGuide()) })
	c := routepb.NewRouteGuideClient(cc)
	feature, err := c.GetFeature(t.Context(), point(3, 3))
	require.NoError(t, err)
	require.Equal(t, "d", feature.GetName())

	list, err := c.ListFeatures(t.Context(), &routepb.Rectangle{Lo: point(2, 0), Hi: point(6, 9)})
	require.NoError(t, err)
	var names []string
	for {
		feature, err := list.Recv()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		names = append(names, feature.GetName())
	}
	require.Equal(t, []string{"c", "d", "e", "f", "g"}, names)

	route, err := c.RecordRoute(t.Context())
	require.NoError(t, err)
	for i := range int32(20) {
		require.NoError(t, route.Send(point(i, i)))
	}
	summary, err := route.CloseAndRecv()
	require.NoError(t, err)
	require.EqualValues(t, 20, summary.GetPointCount())
	require.EqualValues(t, 10, summary.GetFeatureCount())

	chat, err := c.RouteChat(t.Context())
	require.NoError(t, err)
	for i := range int32(6) {
		require.NoError(t, chat.Send(&routepb.RouteNote{Location: point(0, i%3), Message: string('0' + i)}))
	}
	require.NoError(t, chat.CloseSend())
	var heard []string
	for {
		note, err := chat.Recv()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		heard = append(heard, note.GetMessage())
	}
	require.Equal(t, []string{"0", "1", "2", "0", "3", "1", "4", "2", "5"}, heard)
}

func TestOpenTelemetry(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	options := []otelgrpc.Option{otelgrpc.WithTracerProvider(provider), otelgrpc.WithPropagators(propagation.TraceContext{})}
	cc := openService(t, &grpclinks.ServerOptions{StatsHandlers: []stats.Handler{otelgrpc.NewServerHandler(options...)}},
		&grpclinks.ClientOptions{StatsHandlers: []stats.Handler{otelgrpc.NewClientHandler(options...)}},
		func(s *grpclinks.Server) {
			hellopb.RegisterGreeterServer(s, greeter{})
			newTestServer().register(s, s.GracefulStop)
		})
	ctx, parent := provider.Tracer("test").Start(t.Context(), "parent")
	_, err := hellopb.NewGreeterClient(cc).SayHello(ctx, &hellopb.HelloRequest{Name: "Ada"})
	require.NoError(t, err)
	require.Error(t, cc.Invoke(ctx, "/test.S/Fail", say("42"), new(text)))
	parent.End()

	var all []tracetest.SpanStub
	require.Eventually(t, func() bool {
		all = spans.GetSpans()
		return len(all) == 5
	}, 10*time.Second, time.Millisecond)
	find := func(name string, kind trace.SpanKind) tracetest.SpanStub {
		i := slices.IndexFunc(all, func(s tracetest.SpanStub) bool { return s.Name == name && s.SpanKind == kind })
		require.GreaterOrEqual(t, i, 0, "%s of %v", name, kind)
		require.Equal(t, parent.SpanContext().TraceID(), all[i].SpanContext.TraceID())
		return all[i]
	}
	client, server := find("helloworld.Greeter/SayHello", trace.SpanKindClient), find("helloworld.Greeter/SayHello", trace.SpanKindServer)
	require.Equal(t, client.SpanContext.SpanID(), server.Parent.SpanID())
	require.Equal(t, parent.SpanContext().SpanID(), client.Parent.SpanID())
	require.Equal(t, codes.Error, find("test.S/Fail", trace.SpanKindClient).Status.Code)
}
