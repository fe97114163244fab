package stubs

import (
	"context"
	"errors"
	"io"
	"net"
	"os"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/packetstream/packetstream/bench/peer"
	"github.com/packetstream/packetstream/rpc/grpclinks"
	"github.com/packetstream/packetstream/rpc/links"
)

func duplex(r, w *os.File) io.ReadWriteCloser { return links.Duplex(r, w) }

func serveLinks(w *wire) (func() error, error) {
	conn, err := links.NewConn(links.StreamCarrier(w.bytes()), &links.ConnOptions{Side: 1})
	if err != nil {
		return nil, err
	}
	s := grpclinks.NewServer(nil)
	s.RegisterService(&grpcDesc, nil)
	served := make(chan error, 1)
	go func() { served <- s.Serve(conn) }() // ends with the connection
	return func() error {
		err := conn.Close()
		s.Stop()
		return errors.Join(err, <-served)
	}, nil
}

func dialLinks(w *wire) (client, error) {
	conn, err := links.NewConn(links.StreamCarrier(w.bytes()), nil)
	if err != nil {
		return nil, err
	}
	cc := grpclinks.NewClientConn(conn, nil)
	return grpcClient{cc, func() error { return errors.Join(cc.Close(), conn.Close()) }}, nil
}

func serveGRPC(w *wire) (func() error, error) {
	s := grpc.NewServer()
	s.RegisterService(&grpcDesc, nil)
	served := make(chan error, 1)
	go func() { served <- s.Serve(peer.ListenOnce(w.conn())) }() // ends with the server
	return func() error {
		s.Stop()
		return <-served
	}, nil
}

func dialGRPC(w *wire) (client, error) {
	conns := make(chan net.Conn, 1)
	conns <- w.conn()
	cc, err := grpc.NewClient("passthrough:///wire", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			select {
			case conn := <-conns:
				return conn, nil
			default:
				return nil, errors.New("there is one wire")
			}
		}))
	if err != nil {
		return nil, err
	}
	return grpcClient{cc, cc.Close}, nil
}

func serveTTRPC(w *wire) (func() error, error) {
	s, err := ttrpc.NewServer()
	if err != nil {
		return nil, err
	}
	methods := make(map[string]ttrpc.Method)
	for _, name := range []string{methodEcho, methodUsage} {
		methods[name] = func(_ context.Context, unmarshal func(any) error) (any, error) {
			request := new(wrapperspb.BytesValue)
			if err := unmarshal(request); err != nil {
				return nil, err
			}
			return answer(name, request)
		}
	}
	s.RegisterService(serviceName, &ttrpc.ServiceDesc{Methods: methods, Streams: map[string]ttrpc.Stream{
		methodStream: {StreamingClient: true, StreamingServer: true,
			Handler: func(_ context.Context, s ttrpc.StreamServer) (any, error) { return nil, echo(s) }},
	}})
	listener := peer.ListenOnce(w.conn())
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.Background(), listener) }() // ends with the server
	return func() error {
		err := errors.Join(s.Close(), listener.Close())
		if end := <-served; !errors.Is(end, ttrpc.ErrServerClosed) {
			err = errors.Join(err, end)
		}
		return err
	}, nil
}

func dialTTRPC(w *wire) (client, error) { return ttrpcClient{ttrpc.NewClient(w.conn())}, nil }

type ttrpcClient struct{ *ttrpc.Client }

func (c ttrpcClient) call(ctx context.Context, method string, payload []byte) ([]byte, error) {
	reply := new(wrapperspb.BytesValue)
	err := c.Call(ctx, serviceName, method, wrapperspb.Bytes(payload), reply)
	return reply.GetValue(), err
}

func (c ttrpcClient) stream(ctx context.Context) (stream, error) {
	s, err := c.NewStream(ctx, &ttrpc.StreamDesc{StreamingClient: true, StreamingServer: true}, serviceName, methodStream, nil)
	return clientStream{s}, err
}
