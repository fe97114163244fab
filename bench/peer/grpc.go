package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// grpcPeer is grpc-go over the pipes, with fixed windows large enough that no call waits for a
// window update, and a codec that passes bytes as they are.
func grpcPeer() *Peer {
	return &Peer{Name: "grpc-go", Kind: Rival, Module: "google.golang.org/grpc", Open: openGRPC}
}

const grpcWindow = 128 << 20

const grpcMethod = "/bench.Echo/Echo"

var grpcDesc = grpc.ServiceDesc{
	ServiceName: "bench.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Echo",
		Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			m := new([]byte)
			return m, decode(m)
		},
	}},
}

func openGRPC(side Side, r, w *os.File, _ Cell) (Conn, error) {
	f := &files{r: r, w: w}
	if side == Answerer {
		s := grpc.NewServer(grpc.ForceServerCodecV2(bytesCodec{}), grpc.MaxRecvMsgSize(64<<20),
			grpc.StaticStreamWindowSize(grpcWindow), grpc.StaticConnWindowSize(grpcWindow))
		s.RegisterService(&grpcDesc, nil)
		go func() { _ = s.Serve(listenOnce(f)) }() // ends when it is stopped
		return answerer{func() error { s.Stop(); return nil }}, nil
	}
	dialed := false
	cc, err := grpc.NewClient("passthrough:///pipe",
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			if dialed {
				return nil, errors.New("there is one pair of pipes")
			}
			dialed = true
			return f, nil
		}),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
		grpc.WithStaticStreamWindowSize(grpcWindow), grpc.WithStaticConnWindowSize(grpcWindow),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bytesCodec{}), grpc.MaxCallRecvMsgSize(64<<20)))
	return grpcConn{cc}, err
}

type grpcConn struct{ cc *grpc.ClientConn }

func (c grpcConn) Call(ctx context.Context, payload, _ []byte) ([]byte, error) {
	var reply []byte
	err := c.cc.Invoke(ctx, grpcMethod, &payload, &reply)
	return reply, err
}

func (c grpcConn) Close() error { return c.cc.Close() }

// bytesCodec passes a *[]byte.
type bytesCodec struct{}

var _ encoding.CodecV2 = bytesCodec{}

func (bytesCodec) Name() string { return "bytes" }

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("a message of type %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(*b)}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	to, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("a message of type %T", v)
	}
	n := data.Len()
	if cap(*to) < n {
		*to = make([]byte, n)
	}
	*to = (*to)[:n]
	data.CopyTo(*to)
	return nil
}
