package grpclinks_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// fail returns the error that a test asks for.
func fail(kind string) error {
	switch kind {
	case "":
		return nil
	case "plain":
		return errors.New("plain text")
	case "deadline":
		return context.DeadlineExceeded
	case "canceled":
		return context.Canceled
	case "wrapped":
		return fmt.Errorf("outer: %w", status.Error(codes.NotFound, "inner"))
	case "EOF":
		return io.EOF
	case "42":
		return status.Error(42, "forty-two")
	case "empty":
		return status.Error(codes.Aborted, "")
	case "odd":
		return status.Error(codes.Internal, oddText)
	case "details":
		s, err := status.New(codes.FailedPrecondition, "detailed").WithDetails(durationpb.New(90*time.Second), say("more"))
		if err != nil {
			return err
		}
		return s.Err()
	}
	return status.Errorf(codes.InvalidArgument, "no such kind %q", kind)
}

const oddText = "a\x00b%41 %\r\nü→🙂 end "

var unaryMethods = map[string]func(s *testServer, ctx context.Context, in string) (*text, error){
	"Echo": func(_ *testServer, _ context.Context, in string) (*text, error) { return say(in), nil },
	"Nil":  func(_ *testServer, _ context.Context, _ string) (*text, error) { return nil, nil },
	"Fail": func(_ *testServer, ctx context.Context, in string) (*text, error) {
		if err := grpc.SetHeader(ctx, metadata.Pairs("h", "1")); err != nil {
			return nil, err
		}
		if err := grpc.SetTrailer(ctx, metadata.Pairs("t", "2")); err != nil {
			return nil, err
		}
		return nil, fail(in)
	},
	"Big": func(_ *testServer, _ context.Context, in string) (*text, error) {
		var n int
		_, err := fmt.Sscan(in, &n)
		return say(strings.Repeat("x", n)), err
	},
	// Metadata answers with the incoming metadata.
	"Metadata": func(_ *testServer, ctx context.Context, _ string) (*text, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		return sayJSON(md), nil
	},
	// Context answers with what else the handler's context has.
	"Context": func(_ *testServer, ctx context.Context, _ string) (*text, error) {
		out, hasOut := metadata.FromOutgoingContext(ctx)
		p, hasPeer := peer.FromContext(ctx)
		deadline, hasDeadline := ctx.Deadline()
		method, _ := grpc.Method(ctx)
		left := time.Duration(0)
		if hasDeadline {
			left = time.Until(deadline)
		}
		return sayJSON(map[string]any{"value": ctx.Value(contextKey{}), "outgoing": hasOut || len(out) > 0, "peer": hasPeer && p.Addr != nil,
			"deadline": hasDeadline, "left": left, "method": method}), nil
	},
	// Trailers sends back what it is asked to as header and trailer.
	"Trailers": func(_ *testServer, ctx context.Context, in string) (*text, error) {
		var md metadata.MD
		if err := json.Unmarshal([]byte(in), &md); err != nil {
			return nil, err
		}
		if err := grpc.SetHeader(ctx, md); err != nil {
			return nil, err
		}
		return say(""), grpc.SetTrailer(ctx, md)
	},
	// Headers goes through all ways to set headers and trailers and answers with their errors.
	"Headers": func(_ *testServer, ctx context.Context, _ string) (*text, error) {
		return say(headersBoth(ctx, func(md metadata.MD) error { return grpc.SetHeader(ctx, md) },
			func(md metadata.MD) error { return grpc.SendHeader(ctx, md) }, func(md metadata.MD) { _ = grpc.SetTrailer(ctx, md) })), nil
	},
	// Wait waits for the end of its context and reports it.
	"Wait": func(s *testServer, ctx context.Context, in string) (*text, error) {
		s.report(in+" begun", "begun")
		<-ctx.Done()
		s.report(in, "%v", ctx.Err())
		return nil, ctx.Err()
	},
	// Leave returns, and reports when its context is done.
	"Leave": func(s *testServer, ctx context.Context, in string) (*text, error) {
		context.AfterFunc(ctx, func() { s.report(in, "%v", ctx.Err()) })
		return say("left"), nil
	},
	"Report": func(s *testServer, ctx context.Context, in string) (*text, error) {
		report, err := s.awaitReport(ctx, in)
		return say(report), err
	},
	"Forget": func(s *testServer, _ context.Context, in string) (*text, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.reports, in)
		return say(""), nil
	},
	// Hold answers once the method Report would.
	"Hold": func(s *testServer, ctx context.Context, in string) (*text, error) {
		s.report(in+" begun", "begun")
		report, err := s.awaitReport(ctx, in)
		return say(report), err
	},
	"Tell": func(s *testServer, _ context.Context, in string) (*text, error) {
		s.report(in, "told")
		return say(""), nil
	},
	"GracefulStop": func(s *testServer, _ context.Context, _ string) (*text, error) {
		go s.stop()
		return say(""), nil
	},
}

type contextKey struct{}

// headersBoth says what each step answered, in one string.
func headersBoth(_ context.Context, set, send func(metadata.MD) error, trailer func(metadata.MD)) string {
	var said []string
	note := func(err error) {
		if err != nil {
			said = append(said, status.Code(err).String())
		} else {
			said = append(said, "ok")
		}
	}
	note(set(metadata.Pairs("a", "1")))
	note(set(metadata.Pairs("a", "2", "b-bin", "\x00\xff")))
	trailer(metadata.Pairs("t", "1"))
	note(send(metadata.Pairs("c", "3")))
	note(send(metadata.Pairs("d", "4")))
	note(set(metadata.Pairs("e", "5")))
	trailer(metadata.Pairs("t", "2"))
	return strings.Join(said, " ")
}
