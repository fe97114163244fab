package share

import (
	"context"
	"errors"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/endpoint/pool"
	"github.com/packetstream/packetstream/pconn"
)

// Codes of what a child is told that cannot ask. They are far from those that applications choose.
const (
	// CodeNobody says that a question of a child's does not say to which connection it belongs, or that children may not
	// ask at all.
	CodeNobody uint64 = 1<<32 + iota
	// CodeGone says that it belongs to a connection that is over.
	CodeGone
)

// serve answers a request of a connection with what a child answers.
func (c *Children) serve(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
	resp, err := c.pool.Do(ctx, passed(req, c.named(req.Metadata, req.Conn)))
	if err != nil {
		return pconn.Reply{}, fromChild(ctx, err)
	}
	return answer(resp), nil
}

// ask answers a request of a child with what the connection answers that it belongs to.
func (c *Children) ask(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
	conn, err := c.whom(req.Metadata)
	if err != nil {
		return pconn.Reply{}, err
	}
	resp, err := conn.Do(ctx, passed(req, without(req.Metadata)))
	if err != nil {
		return pconn.Reply{}, fromConn(ctx, conn, err)
	}
	return answer(resp), nil
}

// passed is a request as it is made of the other side.
func passed(req *pconn.Request, md pconn.Metadata) pconn.Request {
	return pconn.Request{Channel: req.Channel, Type: req.Type, Flags: req.Flags, Payload: req.Payload, Metadata: md}
}

// answer is a response as it is given to who asked.
func answer(resp pconn.Response) pconn.Reply {
	reply := pconn.FlagsBytes(resp.Flags, resp.Payload)
	if md := without(resp.Metadata); len(md) > 0 {
		reply = reply.WithMetadata(md)
	}
	return reply
}

// named returns the metadata of what a connection sends, as a child gets it.
func (c *Children) named(md pconn.Metadata, conn *pconn.Conn) pconn.Metadata {
	md = without(md)
	if !c.askBack {
		return md
	}
	return append(md[:len(md):len(md)], pconn.Field{Key: Key, Value: []byte(c.names.of(conn))})
}

// whom returns the connection that a child means.
func (c *Children) whom(md pconn.Metadata) (*pconn.Conn, error) {
	if !c.askBack {
		return nil, pconn.NewError(CodeNobody, "several connections share this process, none of which it can ask")
	}
	name, named := md.Lookup(Key)
	if !named {
		return nil, pconn.NewError(CodeNobody, "several connections share this process: it has to say by the metadata "+Key+" which one it asks")
	}
	conn := c.names.conn(string(name))
	if conn == nil {
		return nil, gone()
	}
	return conn, nil
}

func gone() error { return pconn.NewError(CodeGone, "the connection that was asked is over") }

// fromChild is an error of a child's as the connection is to see it. What a process that others use as well has said on
// its standard error is none of it.
func fromChild(ctx context.Context, err error) error {
	if same := fromEither(ctx, "process", err); same != nil {
		return same
	}
	var unavailable *pool.UnavailableError
	var exit *endpoint.ExitError
	switch {
	case errors.As(err, &unavailable):
		return pconn.Errorf("there is no process to ask: %d have failed in a row", unavailable.Failures)
	case errors.As(err, &exit):
		return pconn.Errorf("the process that was asked has ended: %v", &exit.Exit)
	}
	return err
}

// fromConn is an error of a connection's as the child is to see it.
func fromConn(ctx context.Context, conn *pconn.Conn, err error) error {
	if conn.Err() != nil || errors.Is(err, pconn.ErrDraining) || errors.Is(err, pconn.ErrGoingAway) {
		return gone()
	}
	if same := fromEither(ctx, "connection", err); same != nil {
		return same
	}
	return err
}

// fromEither is an error that is the same to who asked whichever side was asked, a "process" or a "connection", or nil
// if it is another.
func fromEither(ctx context.Context, asked string, err error) error {
	var rejected *pconn.RemoteError
	switch {
	case errors.As(err, &rejected) && !errors.Is(err, context.DeadlineExceeded): // that time is over stays the error it is
		return pconn.NewError(rejected.Code, rejected.Text(), rejected.Details...)
	case ctx.Err() != nil:
		return err
	case errors.Is(err, pconn.ErrNoExtensions):
		return pconn.Errorf("the %s to ask has no extensions", asked)
	}
	return nil
}
