package forward

import (
	"context"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

// Local listens here, and has the other end connect to an address for each connection that comes. A connection that
// the other end cannot make is closed.
//
// It returns nil when ctx has ended, and the error of the connection when that has; what was forwarded has ended then.
func Local(ctx context.Context, conn Conn, from, to Address, opts *Options) error {
	metadata := pconn.Metadata{field(keyTo, to.String())}
	return serve(ctx, conn, from, opts, func(ctx context.Context, t endpoint.Transport) error {
		return join(ctx, conn, t, streamForward, metadata)
	})
}

// serve listens, and has each connection served, until the end of ctx or the connection.
func serve(ctx context.Context, conn Conn, from Address, opts *Options, one func(context.Context, endpoint.Transport) error) error {
	if opts == nil {
		opts = new(Options)
	}
	l, err := from.Listen(ctx)
	if err != nil {
		return err
	}
	l.Limits = opts.Limits
	opts.listening(address(l.Addr()))
	serving, stop := until(ctx, conn)
	defer stop()
	return ended(ctx, conn, l.ServeBytes(serving, opts.Logger, one))
}
