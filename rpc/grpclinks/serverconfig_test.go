package grpclinks_test

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/packetstream/packetstream/rpc/grpclinks"
)

// serverConfig is how a test wants its server; a name stands for it, so that a child can have the same.
type serverConfig struct {
	maxReceive, maxSend int
	concurrent          int
	unary               []grpc.UnaryServerInterceptor
	stream              []grpc.StreamServerInterceptor
	unknown             grpc.StreamHandler
	stats               func(*testServer) stats.Handler
}

var serverConfigs = map[string]serverConfig{
	"plain":  {},
	"limits": {maxReceive: 1000, maxSend: 1000},
	"single": {concurrent: 1},
	"stats":  {stats: func(s *testServer) stats.Handler { return &reportingStats{backend: s} }},
	"intercepted": {
		unary:  []grpc.UnaryServerInterceptor{markUnary("1"), markUnary("2")},
		stream: []grpc.StreamServerInterceptor{markStream("1"), markStream("2")},
	},
	"unknown": {unknown: func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		in := new(text)
		if err := stream.RecvMsg(in); err != nil {
			return err
		}
		return stream.SendMsg(say(method + " " + in.GetValue()))
	}},
}

func markUnary(name string) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		_, same := info.Server.(*testServer)
		if err := grpc.SetHeader(ctx, metadata.Pairs("interceptor", fmt.Sprintf("%s %s %v", name, info.FullMethod, same))); err != nil {
			return nil, err
		}
		reply, err := handler(ctx, req)
		if err != nil {
			err = status.Error(codes.DataLoss, name+" "+status.Convert(err).Message())
		}
		return reply, err
	}
}

func markStream(name string) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		_, same := srv.(*testServer)
		err := stream.SetHeader(metadata.Pairs("interceptor", fmt.Sprintf("%s %s %v %v %v", name, info.FullMethod, info.IsClientStream, info.IsServerStream, same)))
		if err != nil {
			return err
		}
		if err := handler(srv, stream); err != nil {
			return status.Error(codes.DataLoss, name+" "+status.Convert(err).Message())
		}
		return nil
	}
}

func (c serverConfig) links(backend *testServer) *grpclinks.ServerOptions {
	opts := &grpclinks.ServerOptions{MaxReceive: c.maxReceive, MaxSend: c.maxSend, MaxConcurrentStreams: c.concurrent, UnaryInterceptors: c.unary,
		StreamInterceptors: c.stream, UnknownService: c.unknown}
	if c.stats != nil {
		opts.StatsHandlers = []stats.Handler{c.stats(backend)}
	}
	return opts
}

func (c serverConfig) grpc(backend *testServer) []grpc.ServerOption {
	opts := []grpc.ServerOption{grpc.ChainUnaryInterceptor(c.unary...), grpc.ChainStreamInterceptor(c.stream...)}
	if c.maxReceive > 0 {
		opts = append(opts, grpc.MaxRecvMsgSize(c.maxReceive), grpc.MaxSendMsgSize(c.maxSend))
	}
	if c.concurrent > 0 {
		opts = append(opts, grpc.MaxConcurrentStreams(uint32(c.concurrent)))
	}
	if c.unknown != nil {
		opts = append(opts, grpc.UnknownServiceHandler(c.unknown))
	}
	if c.stats != nil {
		opts = append(opts, grpc.StatsHandler(c.stats(backend)))
	}
	return opts
}
