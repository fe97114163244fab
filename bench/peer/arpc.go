package peer

import (
	"context"
	"net"
	"os"

	"github.com/lesismal/arpc"
	"github.com/lesismal/arpc/codec"
	alog "github.com/lesismal/arpc/log"
)

// arpcPeer is lesismal/arpc with batching of what it sends (which needs a send buffer size, or else it does not
// batch), batching of what it receives, and its memory pool. The handler answers on the receiving goroutine, which is its
// fastest way; payloads are passed as bytes, without a codec.
func arpcPeer() *Peer {
	return &Peer{Name: "arpc", Kind: Rival, Module: "github.com/lesismal/arpc", Symmetric: true, Open: openARPC}
}

func openARPC(side Side, r, w *os.File, _ Cell) (Conn, error) {
	alog.SetLevel(alog.LevelNone)
	f := &files{r: r, w: w}
	h := arpc.NewHandler()
	h.SetBatchRecv(true)
	h.SetBatchSend(true)
	h.SetRecvBufferSize(batchBytes)
	h.SetSendBufferSize(batchBytes)
	h.EnablePool(true)
	h.Handle("e", func(ctx *arpc.Context) { _ = ctx.Write(ctx.Body()) }, false)
	if side == Caller {
		c, err := arpc.NewClient(func() (net.Conn, error) { return f, nil }, h)
		return arpcConn{c, func() error { c.Stop(); return nil }}, err
	}
	s := arpc.NewServer()
	s.Handler, s.Codec = h, codec.DefaultCodec
	accepted := make(chan *arpc.Client, 1)
	h.HandleConnected(func(c *arpc.Client) { accepted <- c })
	go func() { _ = s.Serve(listenOnce(f)) }() // ends when it is stopped
	c := <-accepted
	return arpcConn{c, s.Stop}, nil
}

type arpcConn struct {
	client *arpc.Client
	stop   func() error
}

func (c arpcConn) Call(ctx context.Context, payload, _ []byte) ([]byte, error) {
	var reply []byte
	err := c.client.CallContext(ctx, "e", payload, &reply)
	return reply, err
}

func (c arpcConn) Close() error { return c.stop() }
