package peer

import (
	"context"
	"net/rpc"
	"os"
	"sync"
)

// netRPCPeer is net/rpc with its own codec, gob, which buffers what it writes. It has no contexts: a call
// is made with Go, and waited for beside the context.
func netRPCPeer() *Peer {
	return &Peer{Name: "net/rpc", Kind: Rival, Open: func(side Side, r, w *os.File, _ Cell) (Conn, error) {
		f := &files{r: r, w: w}
		if side == Caller {
			return &netRPC{client: rpc.NewClient(f)}, nil
		}
		s := rpc.NewServer()
		if err := s.RegisterName("Echo", gobEcho{}); err != nil {
			return nil, err
		}
		go s.ServeConn(f) // ends with its input
		return answerer{f.Close}, nil
	}}
}

type gobEcho struct{}

// Echo is the method as net/rpc wants it.
func (gobEcho) Echo(in []byte, out *[]byte) error {
	*out = in
	return nil
}

type netRPC struct {
	client *rpc.Client
	calls  sync.Pool
}

type netRPCCall struct {
	reply []byte
	done  chan *rpc.Call
}

func (c *netRPC) Call(ctx context.Context, payload, _ []byte) ([]byte, error) {
	call, _ := c.calls.Get().(*netRPCCall)
	if call == nil {
		call = &netRPCCall{done: make(chan *rpc.Call, 1)}
	}
	c.client.Go("Echo.Echo", payload, &call.reply, call.done)
	select {
	case done := <-call.done:
		reply := call.reply
		call.reply = nil
		c.calls.Put(call)
		return reply, done.Error
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *netRPC) Close() error { return c.client.Close() }
