package forward

import (
	"context"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

// Allow reports whether the rules allow an address.
func Allow(r Rules, a Address) bool { return r.allow(a) }

// Connect gives a stream the connection that it asks for.
func Connect(ctx context.Context, stream *pconn.Stream, to endpoint.Opener) error {
	return connect(ctx, stream, to)
}
