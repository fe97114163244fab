package grpclinks_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	routepb "google.golang.org/grpc/examples/route_guide/routeguide"

	"github.com/packetstream/packetstream/rpc/grpclinks"
)

func TestExplorer(t *testing.T) {
	cc := openService(t, nil, nil, func(s *grpclinks.Server) {
		routepb.RegisterRouteGuideServer(s, newRouteGuide())
		backend := newTestServer()
		backend.register(s, s.GracefulStop)
	})
	e := grpclinks.NewExplorer(cc)
	names, err := e.Services(t.Context())
	require.NoError(t, err)
	require.Contains(t, names, "routeguide.RouteGuide")

	for name, want := range map[string]string{
		"routeguide.RouteGuide/RouteChat": "rpc RouteChat(stream routeguide.RouteNote) returns (stream routeguide.RouteNote);\n",
		"routeguide.Feature":              "message routeguide.Feature {\n  string name = 1;\n  routeguide.Point location = 2;\n}\n",
		"grpc.health.v1.HealthCheckResponse": "message grpc.health.v1.HealthCheckResponse {\n" +
			"  grpc.health.v1.HealthCheckResponse.ServingStatus status = 1;\n}\n",
		"grpc.health.v1.HealthListResponse": "message grpc.health.v1.HealthListResponse {\n" +
			"  map<string, grpc.health.v1.HealthCheckResponse> statuses = 1;\n}\n",
		"grpc.reflection.v1.ServiceResponse.name": "grpc.reflection.v1.ServiceResponse.name\n",
		"grpc.reflection.v1.ListServiceResponse":  "message grpc.reflection.v1.ListServiceResponse {\n  repeated grpc.reflection.v1.ServiceResponse service = 1;\n}\n",
	} {
		var out strings.Builder
		require.NoError(t, e.Describe(t.Context(), &out, name))
		require.Equal(t, want, out.String())
	}
	var out strings.Builder
	require.NoError(t, e.Describe(t.Context(), &out, "grpc.health.v1.HealthCheckResponse.ServingStatus"))
	require.Contains(t, out.String(), "  SERVING = 1;\n")
	out.Reset()
	require.NoError(t, e.Describe(t.Context(), &out, "grpc.reflection.v1.ServerReflectionRequest"))
	require.Contains(t, out.String(), "// one of message_request")
	out.Reset()
	require.NoError(t, e.Describe(t.Context(), &out, "routeguide.RouteGuide"))
	require.Contains(t, out.String(), "service routeguide.RouteGuide {")

	ctx, err := grpclinks.WithHeaders(t.Context(), []string{"k: v"})
	require.NoError(t, err)
	call := func(method, in string) (string, error) {
		var out strings.Builder
		err := e.Call(ctx, method, strings.NewReader(in), &out)
		return out.String(), err
	}
	got, err := call("routeguide.RouteGuide/GetFeature", `{"latitude":3,"longitude":3}`)
	require.NoError(t, err)
	require.Equal(t, `{"name":"d","location":{"latitude":3,"longitude":3}}`+"\n", got)
	got, err = call("/routeguide.RouteGuide/RecordRoute", `{"latitude":3,"longitude":3} {}`)
	require.NoError(t, err)
	require.Equal(t, `{"pointCount":2,"featureCount":2}`+"\n", got)
	got, err = call("routeguide.RouteGuide/RouteChat", `{"message":"a"}{"message":"b"}`)
	require.NoError(t, err)
	require.Equal(t, 3, strings.Count(got, "\n"))
	got, err = call("routeguide.RouteGuide/ListFeatures", "")
	require.NoError(t, err)
	require.Contains(t, got, `"name":"a"`)

	_, err = call("grpc.health.v1.Health/Check", `{"service":"unknown"}`)
	requireCode(t, codes.NotFound, err)
	require.True(t, grpclinks.Refused(err))
	_, err = call("no.Such/Method", "")
	requireCode(t, codes.NotFound, err)
	require.Error(t, e.Describe(t.Context(), &out, "no.Such"))
	for method, in := range map[string]string{"routeguide.Point": "", "routeguide.RouteGuide/GetFeature": "{} {}", "routeguide.RouteGuide/RouteChat": "{"} {
		_, err = call(method, in)
		var input *grpclinks.InputError
		require.ErrorAs(t, err, &input)
		require.NotEmpty(t, input.Error())
	}
	_, err = grpclinks.WithHeaders(t.Context(), []string{"k"})
	require.Error(t, err)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = e.Services(ended)
	requireCode(t, codes.Canceled, err)
}
