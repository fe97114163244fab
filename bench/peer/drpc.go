package peer

import (
	"context"
	"fmt"
	"os"

	"storj.io/drpc"
	"storj.io/drpc/drpcconn"
	"storj.io/drpc/drpcserver"
)

// drpcPeer is Storj's drpc, one call at a time on a connection, as it is made. Its encoding can be chosen: this one
// passes bytes as they are, which spares it protobuf, and its handler does without the reflection of a drpcmux.
func drpcPeer() *Peer {
	return &Peer{Name: "drpc", Kind: Rival, Module: "storj.io/drpc", Open: func(side Side, r, w *os.File, _ Cell) (Conn, error) {
		f := &files{r: r, w: w}
		if side == Caller {
			return drpcConn{drpcconn.New(f)}, nil
		}
		s := drpcserver.New(drpcEcho{})
		go func() { _ = s.ServeOne(context.Background(), f) }() // ends with its input
		return answerer{f.Close}, nil
	}}
}

type drpcEcho struct{}

// HandleRPC implements drpc.Handler.
func (drpcEcho) HandleRPC(stream drpc.Stream, _ string) error {
	var m []byte
	if err := stream.MsgRecv(&m, bytesEncoding{}); err != nil {
		return err
	}
	return stream.MsgSend(&m, bytesEncoding{})
}

// bytesEncoding passes a *[]byte.
type bytesEncoding struct{}

func (bytesEncoding) Marshal(m drpc.Message) ([]byte, error) {
	b, ok := m.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("a message of type %T", m)
	}
	return *b, nil
}

func (bytesEncoding) Unmarshal(b []byte, m drpc.Message) error {
	to, ok := m.(*[]byte)
	if !ok {
		return fmt.Errorf("a message of type %T", m)
	}
	*to = append((*to)[:0], b...)
	return nil
}

type drpcConn struct{ conn *drpcconn.Conn }

func (c drpcConn) Call(ctx context.Context, payload, _ []byte) ([]byte, error) {
	var reply []byte
	err := c.conn.Invoke(ctx, "Echo", bytesEncoding{}, &payload, &reply)
	return reply, err
}

func (c drpcConn) Close() error { return c.conn.Close() }
