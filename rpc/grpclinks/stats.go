package grpclinks

import (
	"context"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
)

// watch tells stats handlers about one call. Without handlers it does nothing.
type watch struct {
	handlers []stats.Handler
	// ctx has what the handlers put into it, each for those after it and the application.
	ctx    context.Context
	client bool
	begun  time.Time
}

// tag lets the handlers mark the context of a call.
func (w *watch) tag(ctx context.Context, method string, failFast bool) context.Context {
	for _, h := range w.handlers {
		ctx = h.TagRPC(ctx, &stats.RPCTagInfo{FullMethodName: method, FailFast: failFast})
	}
	w.ctx = ctx
	return ctx
}

func (w *watch) tell(s stats.RPCStats) {
	for _, h := range w.handlers {
		h.HandleRPC(w.ctx, s)
	}
}

func (w *watch) on() bool { return len(w.handlers) > 0 }

func (w *watch) begin(clientStream, serverStream, failFast bool) {
	if w.on() {
		w.begun = time.Now()
		w.tell(&stats.Begin{Client: w.client, BeginTime: w.begun, FailFast: failFast, IsClientStream: clientStream, IsServerStream: serverStream})
	}
}

func (w *watch) inHeader(method, compression string, md metadata.MD) {
	if w.on() {
		w.tell(&stats.InHeader{Client: w.client, FullMethod: method, Compression: compression, Header: md.Copy(), RemoteAddr: Addr{}, LocalAddr: Addr{}})
	}
}

func (w *watch) outHeader(method, compression string, md metadata.MD) {
	if w.on() {
		w.tell(&stats.OutHeader{Client: w.client, FullMethod: method, Compression: compression, Header: md.Copy(), RemoteAddr: Addr{}, LocalAddr: Addr{}})
	}
}

func (w *watch) inPayload(message any, s sizes) {
	if w.on() {
		w.tell(&stats.InPayload{Client: w.client, Payload: message, Length: s.length, CompressedLength: s.compressed, WireLength: s.wire,
			RecvTime: time.Now()})
	}
}

func (w *watch) outPayload(message any, s sizes) {
	if w.on() {
		w.tell(&stats.OutPayload{Client: w.client, Payload: message, Length: s.length, CompressedLength: s.compressed, WireLength: s.wire,
			SentTime: time.Now()})
	}
}

func (w *watch) inTrailer(md metadata.MD) {
	if w.on() {
		w.tell(&stats.InTrailer{Client: w.client, Trailer: md.Copy()})
	}
}

func (w *watch) outTrailer(md metadata.MD) {
	if w.on() {
		w.tell(&stats.OutTrailer{Client: w.client, Trailer: md.Copy()})
	}
}

func (w *watch) end(err error, trailer metadata.MD) {
	if w.on() {
		w.tell(&stats.End{Client: w.client, BeginTime: w.begun, EndTime: time.Now(), Trailer: trailer.Copy(), Error: err})
	}
}

// tagConn lets the handlers mark the context of a connection and says that it begins. What it returns is to be called at its end.
func tagConn(ctx context.Context, handlers []stats.Handler, client bool) (context.Context, func()) {
	contexts := make([]context.Context, len(handlers))
	for i, h := range handlers {
		ctx = h.TagConn(ctx, &stats.ConnTagInfo{RemoteAddr: Addr{}, LocalAddr: Addr{}})
		contexts[i] = ctx
		h.HandleConn(ctx, &stats.ConnBegin{Client: client})
	}
	return ctx, func() {
		for i, h := range handlers {
			h.HandleConn(contexts[i], &stats.ConnEnd{Client: client})
		}
	}
}
