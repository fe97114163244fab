package main

import (
	"context"
	"errors"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/endpoint/pool"
	"github.com/packetstream/packetstream/pconn"
)

// relay answers requests with what another connection answers to the same, each under a tag of its own there, on the
// same channel. Extensions are this process's own, on either side: metadata, deadlines, cancellation and
// errors with codes go through as what they are.
type relay struct{ to pconn.Caller }

// ServePacket asks the other side.
func (r relay) ServePacket(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
	resp, err := r.to.Do(ctx, pconn.Request{
		Channel: req.Channel, Type: req.Type, Flags: req.Flags, Payload: req.Payload, Metadata: req.Metadata,
	})
	if err != nil {
		return pconn.Reply{}, relayed(ctx, err)
	}
	reply := pconn.FlagsBytes(resp.Flags, resp.Payload)
	if len(resp.Metadata) > 0 {
		reply = reply.WithMetadata(resp.Metadata)
	}
	return reply, nil
}

// relayed is an error as the one who asked is to see it. What a process that others use as well has said on its
// standard error is none of it.
func relayed(ctx context.Context, err error) error {
	var rejected *pconn.RemoteError
	var unavailable *pool.UnavailableError
	var exit *endpoint.ExitError
	switch {
	case errors.As(err, &rejected):
		return pconn.NewError(rejected.Code, rejected.Text(), rejected.Details...)
	case ctx.Err() != nil:
		return err
	case errors.As(err, &unavailable):
		return pconn.Errorf("there is no process to ask: %d have failed in a row", unavailable.Failures)
	case errors.As(err, &exit):
		return pconn.Errorf("the process that was asked has ended: %v", &exit.Exit)
	}
	return err
}

// noAsking rejects what a shared process asks: it cannot say whom.
func noAsking(context.Context, *pconn.Request) (pconn.Reply, error) {
	return pconn.Reply{}, pconn.Errorf("several connections share this process, none of which it can ask")
}
