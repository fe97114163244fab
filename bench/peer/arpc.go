package peer

import (
	"context"
	"net"
	"os"

	"github.com/lesismal/arpc"
	"github.com/lesismal/arpc/codec"
	alog "github.com/lesismal/arpc/log"
)

// Untuned is arpc with the buffers that it has by itself.
const Untuned = "arpc-plain"

// arpcPeers are lesismal/arpc with batching of what it sends and receives. The handler answers on the receiving
// goroutine, which is its fastest way; payloads are passed as bytes, without a codec. The first has a send buffer, without
// which it never batches, and is the one to beat; the second is as it comes. Neither has the memory pool, which is
// off by itself: with it calls in flight get each other's bytes (seen with 1.2.16 and 16 calls of 1 KiB).
func arpcPeers() []*Peer {
	return []*Peer{
		{Name: "arpc", Kind: Rival, Module: "github.com/lesismal/arpc", Symmetric: true,
			Open: func(side Side, r, w *os.File, _ Cell) (Conn, error) { return openARPC(side, r, w, batchBytes) }},
		{Name: Untuned, Kind: Rival, Module: "github.com/lesismal/arpc", Symmetric: true,
			Open: func(side Side, r, w *os.File, _ Cell) (Conn, error) { return openARPC(side, r, w, 0) }},
	}
}

// openARPC opens an end with buffers of so many bytes, or arpc's own sizes for 0.
func openARPC(side Side, r, w *os.File, buffers int) (Conn, error) {
	alog.SetLevel(alog.LevelNone)
	f := &files{r: r, w: w}
	h := arpc.NewHandler()
	h.SetBatchRecv(true)
	h.SetBatchSend(true)
	if buffers > 0 {
		h.SetRecvBufferSize(buffers)
		h.SetSendBufferSize(buffers)
	}
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
