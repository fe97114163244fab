package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

// hangUpTimeout bounds how long a peer is given to end in good order when we have done with it.
const hangUpTimeout = 5 * time.Second

// connect connects to the command after --, or else to the endpoint that is the only argument.
func connect(ctx context.Context, cmd *cobra.Command, args []string, opts *pconn.Options) (*endpoint.Conn, error) {
	dash := cmd.ArgsLenAtDash()
	switch {
	case dash == 0 && len(args) > 0:
		return endpoint.Exec{Args: args}.Dial(ctx, opts)
	case dash < 0 && len(args) == 1:
		return endpoint.Dial(ctx, args[0], opts)
	}
	return nil, usagef("%s takes one ENDPOINT, or -- and a command; got %q", cmd.CommandPath(), args)
}

// hangUp ends a connection that has done its work, and a child with it.
func hangUp(ctx context.Context, c *endpoint.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, hangUpTimeout)
	defer cancel()
	err := c.Shutdown(ctx)
	if ctx.Err() != nil {
		_ = c.Close() // the first error says more
	}
	return err
}
