package grpclinks_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/packetstream/packetstream/pconn"
)

// TestGRPCOverStreams has grpc-go's own client and server talk over a stream, calls and a stream of theirs.
func TestGRPCOverStreams(t *testing.T) {
	a, b, err := pconn.Pipe(nil, nil)
	require.NoError(t, err)
	defer a.Close()
	defer b.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l, err := b.Listen("")
	require.NoError(t, err)
	service := health.NewServer()
	service.SetServingStatus("streams", healthpb.HealthCheckResponse_SERVING)
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, service)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()

	cc, err := grpc.NewClient("passthrough:helper", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return a.DialContext(ctx, "tcp", addr) }))
	require.NoError(t, err)
	client := healthpb.NewHealthClient(cc)
	for range 100 {
		resp, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: "streams"})
		require.NoError(t, err)
		require.Equal(t, healthpb.HealthCheckResponse_SERVING, resp.Status)
	}
	watch, err := client.Watch(ctx, &healthpb.HealthCheckRequest{Service: "streams"})
	require.NoError(t, err)
	_, err = watch.Recv()
	require.NoError(t, err)
	service.SetServingStatus("streams", healthpb.HealthCheckResponse_NOT_SERVING)
	got, err := watch.Recv()
	require.NoError(t, err)
	require.Equal(t, healthpb.HealthCheckResponse_NOT_SERVING, got.Status)
	require.NoError(t, cc.Close())
	server.Stop()
	require.NoError(t, <-served)
}
