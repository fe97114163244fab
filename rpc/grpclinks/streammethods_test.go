package grpclinks_test

import (
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

type streamMethod struct {
	client, server bool
	f              func(s *testServer, stream grpc.ServerStream) error
}

var streamMethods = map[string]streamMethod{
	"EchoStream": {true, true, func(_ *testServer, stream grpc.ServerStream) error {
		for {
			in := new(text)
			if err := stream.RecvMsg(in); err != nil {
				if err == io.EOF {
					return nil
				}
				return err
			}
			if err := stream.SendMsg(in); err != nil {
				return err
			}
		}
	}},
	"FailStream": {true, true, func(_ *testServer, stream grpc.ServerStream) error {
		if err := stream.SetHeader(metadata.Pairs("h", "1")); err != nil {
			return err
		}
		stream.SetTrailer(metadata.Pairs("t", "2"))
		in := new(text)
		if err := stream.RecvMsg(in); err != nil {
			return err
		}
		return fail(in.GetValue())
	}},
	// FailAtOnce does not read.
	"FailAtOnce": {true, true, func(*testServer, grpc.ServerStream) error { return status.Error(codes.Aborted, "at once") }},
	// Collect is client-streaming: it answers with the number of messages and what RecvMsg said in the end.
	"Collect": {true, false, func(_ *testServer, stream grpc.ServerStream) error {
		n := 0
		for {
			err := stream.RecvMsg(new(text))
			if err == nil {
				n++
				continue
			}
			again := stream.RecvMsg(new(text))
			return stream.SendMsg(say(fmt.Sprintf("%d %v %v", n, err, again)))
		}
	}},
	// Count is server-streaming: as many messages as asked for.
	"Count": {false, true, func(_ *testServer, stream grpc.ServerStream) error {
		in := new(text)
		if err := stream.RecvMsg(in); err != nil {
			return err
		}
		n, size := 0, 0
		if _, err := fmt.Sscan(in.GetValue(), &n, &size); err != nil {
			return err
		}
		for i := range n {
			if err := stream.SendMsg(say(fmt.Sprint(i) + strings.Repeat(" ", size))); err != nil {
				return err
			}
		}
		return nil
	}},
	// Replies answers as often as asked for, to a call that should get one reply.
	"Replies": {true, false, func(_ *testServer, stream grpc.ServerStream) error {
		in := new(text)
		if err := stream.RecvMsg(in); err != nil {
			return err
		}
		for range len(in.GetValue()) {
			if err := stream.SendMsg(in); err != nil {
				return err
			}
		}
		return nil
	}},
	"HeadersStream": {true, true, func(_ *testServer, stream grpc.ServerStream) error {
		said := headersBoth(stream.Context(), stream.SetHeader, stream.SendHeader, stream.SetTrailer)
		if err := stream.SendMsg(say(said)); err != nil {
			return err
		}
		return stream.RecvMsg(new(text))
	}},
	// ContextHeaders sets headers through the context.
	"ContextHeaders": {true, true, func(_ *testServer, stream grpc.ServerStream) error {
		ctx := stream.Context()
		said := headersBoth(ctx, func(md metadata.MD) error { return grpc.SetHeader(ctx, md) },
			func(md metadata.MD) error { return grpc.SendHeader(ctx, md) }, func(md metadata.MD) { _ = grpc.SetTrailer(ctx, md) })
		method, _ := grpc.Method(ctx)
		return stream.SendMsg(say(said + " " + method))
	}},
	// LateHeaders tries to set headers after a message.
	"LateHeaders": {true, true, func(_ *testServer, stream grpc.ServerStream) error {
		if err := stream.SendMsg(say("first")); err != nil {
			return err
		}
		if stream.SetHeader(metadata.Pairs("late", "1")) == nil || stream.SendHeader(nil) == nil {
			return status.Error(codes.Unknown, "headers after a message")
		}
		return nil
	}},
	"BadHeaders": {true, true, func(_ *testServer, stream grpc.ServerStream) error {
		var said []string
		for _, md := range []metadata.MD{{"": {"x"}}, {"Upper": {"x"}}, {"a b": {"x"}}, {"k": {"\x01"}}, {"ü": {"x"}}} {
			said = append(said, status.Code(stream.SetHeader(md)).String(), status.Code(stream.SendHeader(md)).String())
		}
		return stream.SendMsg(say(strings.Join(said, " ")))
	}},
	// WaitStream waits for the end of its context and reports what the stream says then.
	"WaitStream": {true, true, func(s *testServer, stream grpc.ServerStream) error {
		in := new(text)
		if err := stream.RecvMsg(in); err != nil {
			return err
		}
		s.report(in.GetValue()+" begun", "begun")
		if err := stream.SendMsg(say("begun")); err != nil {
			return err
		}
		<-stream.Context().Done()
		var sendErr error
		for range 100 {
			if sendErr = stream.SendMsg(say("late")); sendErr != nil {
				break
			}
		}
		err := stream.RecvMsg(new(text))
		s.report(in.GetValue(), "%v | %v | %v", stream.Context().Err(), status.Code(err), sendErr != nil)
		return err
	}},
	// Mute reads one message and then nothing until its context ends.
	"Mute": {true, true, func(_ *testServer, stream grpc.ServerStream) error {
		if err := stream.RecvMsg(new(text)); err != nil {
			return err
		}
		<-stream.Context().Done()
		return nil
	}},
	// EndWhenTold ends with a status once told, without having read.
	"EndWhenTold": {true, true, func(s *testServer, stream grpc.ServerStream) error {
		in := new(text)
		if err := stream.RecvMsg(in); err != nil {
			return err
		}
		if _, err := s.awaitReport(stream.Context(), in.GetValue()); err != nil {
			return err
		}
		return status.Error(codes.ResourceExhausted, "enough")
	}},
	// Flood sends messages of 64 KiB until it cannot, and reports how many it could within a second without progress.
	"Flood": {false, true, func(s *testServer, stream grpc.ServerStream) error {
		in := new(text)
		if err := stream.RecvMsg(in); err != nil {
			return err
		}
		message := say(strings.Repeat("x", 64<<10))
		for n := 1; ; n++ {
			if err := stream.SendMsg(message); err != nil {
				return err
			}
			s.report(in.GetValue(), "x")
		}
	}},
}
