package stubs

import (
	"context"
	"encoding/json"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/packetstream/packetstream/bench/load"
)

// The service that every system serves.
const (
	serviceName  = "bench.Stub"
	methodEcho   = "Echo"
	methodUsage  = "Usage" // of the answering process, in JSON
	methodStream = "EchoStream"
)

// answer is what a method with one request and one reply does.
func answer(method string, request *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
	if method != methodUsage {
		return request, nil
	}
	usage, err := load.ReadUsage()
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(usage)
	return wrapperspb.Bytes(data), err
}

// messages are the server's side of a stream, in grpc-go and in ttrpc.
type messages interface {
	SendMsg(any) error
	RecvMsg(any) error
}

func echo(s messages) error {
	for {
		// A message of its own each time, as generated code has it.
		m := new(wrapperspb.BytesValue)
		if err := s.RecvMsg(m); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		if err := s.SendMsg(m); err != nil {
			return err
		}
	}
}

// grpcDesc is what protoc-gen-go-grpc would make.
var grpcDesc = grpc.ServiceDesc{
	ServiceName: serviceName,
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{grpcMethod(methodEcho), grpcMethod(methodUsage)},
	Streams: []grpc.StreamDesc{{StreamName: methodStream, ClientStreams: true, ServerStreams: true,
		Handler: func(_ any, s grpc.ServerStream) error { return echo(s) }}},
}

func grpcMethod(name string) grpc.MethodDesc {
	handle := func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		request := new(wrapperspb.BytesValue)
		if err := decode(request); err != nil {
			return nil, err
		}
		return answer(name, request)
	}
	return grpc.MethodDesc{MethodName: name, Handler: handle}
}

// grpcClient calls by what generated stubs call.
type grpcClient struct {
	grpc.ClientConnInterface
	close func() error
}

func (c grpcClient) Close() error { return c.close() }

func (c grpcClient) call(ctx context.Context, method string, payload []byte) ([]byte, error) {
	reply := new(wrapperspb.BytesValue)
	err := c.Invoke(ctx, "/"+serviceName+"/"+method, wrapperspb.Bytes(payload), reply, grpc.StaticMethod())
	return reply.GetValue(), err
}

func (c grpcClient) stream(ctx context.Context) (stream, error) {
	s, err := c.NewStream(ctx, &grpcDesc.Streams[0], "/"+serviceName+"/"+methodStream, grpc.StaticMethod())
	return clientStream{s}, err
}

// clientStream is the client's side of a stream, in grpc-go and in ttrpc.
type clientStream struct {
	messages interface {
		messages
		CloseSend() error
	}
}

func (s clientStream) send(payload []byte) error {
	return s.messages.SendMsg(wrapperspb.Bytes(payload))
}

func (s clientStream) recv() ([]byte, error) {
	m := new(wrapperspb.BytesValue)
	err := s.messages.RecvMsg(m)
	return m.GetValue(), err
}

func (s clientStream) closeSend() error { return s.messages.CloseSend() }
