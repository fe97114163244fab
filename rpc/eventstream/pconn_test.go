package eventstream_test

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/eventstreamtest"
	"github.com/packetstream/packetstream/pconn"
	"github.com/packetstream/packetstream/rpc/eventstream"
)

// TestServiceStream runs each connection over a stream of one packet connection.
func TestServiceStream(t *testing.T) {
	client, server, err := pconn.Pipe(nil, nil)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, client.Close()); assert.NoError(t, server.Close()) })
	l, err := server.Listen("")
	require.NoError(t, err)
	startServer(t, eventstreamtest.New(), l)
	raw := func(ctx context.Context) (net.Conn, error) { return client.DialContext(ctx, "tcp", "service") }
	checkService(t, service{
		dial: func(ctx context.Context, opts *eventstream.Options) (*eventstream.ClientConn, error) {
			conn, err := raw(ctx)
			if err != nil {
				return nil, err
			}
			return eventstream.NewClient(ctx, conn, opts)
		},
		raw: raw,
	})
}
