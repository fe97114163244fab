package peer

import (
	"context"
	"errors"
	"os"

	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// ttrpcPeer is containerd's ttrpc. It takes protobuf messages only: the payload is the one field of a BytesValue.
func ttrpcPeer() *Peer {
	return &Peer{Name: "ttrpc", Kind: Rival, Module: "github.com/containerd/ttrpc", Open: openTTRPC}
}

func openTTRPC(side Side, r, w *os.File, _ Cell) (Conn, error) {
	f := &files{r: r, w: w}
	if side == Caller {
		return ttrpcConn{ttrpc.NewClient(f)}, nil
	}
	s, err := ttrpc.NewServer()
	if err != nil {
		return nil, err
	}
	s.Register("echo", map[string]ttrpc.Method{"Echo": func(_ context.Context, unmarshal func(any) error) (any, error) {
		var m wrapperspb.BytesValue
		return &m, unmarshal(&m)
	}})
	l := listenOnce(f)
	go func() { _ = s.Serve(context.Background(), l) }() // ends when it is closed
	return answerer{func() error { return errors.Join(s.Close(), l.Close()) }}, nil
}

type ttrpcConn struct{ client *ttrpc.Client }

func (c ttrpcConn) Call(ctx context.Context, payload, _ []byte) ([]byte, error) {
	var reply wrapperspb.BytesValue
	err := c.client.Call(ctx, "echo", "Echo", &wrapperspb.BytesValue{Value: payload}, &reply)
	return reply.Value, err
}

func (c ttrpcConn) Close() error { return c.client.Close() }
