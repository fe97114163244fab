package prpc_test

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/packetstream/packetstream/rpc/prpc"
)

// drives does to our client what make_vectors.py did to the original's, by the name of the transcript.
var drives = map[string]func(ctx context.Context, c *prpc.Conn) (any, error){
	"connect and close":                                driveNothing,
	"handshake data both ways":                         driveNothing,
	"server's connect callback refuses":                driveNothing,
	"client's connect callback refuses":                driveNothing,
	"unary calls":                                      driveUnary,
	"istream ended by the result":                      func(ctx context.Context, c *prpc.Conn) (any, error) { return emit(ctx, c, 3) },
	"istream ended by a close":                         func(ctx context.Context, c *prpc.Conn) (any, error) { return emit(ctx, c, 3, true) },
	"istream left early (cancel)":                      driveLeft,
	"istream result asked first (caller closes)":       driveAsked,
	"ostream, explicit close":                          driveOStream,
	"ostream closed by asking for the result":          driveImplicit,
	"bistream in lockstep":                             driveBiStream,
	"bistream closed by the callee":                    driveCallee,
	"errors of each status":                            driveErrors,
	"stream call that fails":                           driveStreamError,
	"cancel of a running call":                         driveCancel,
	"cancel of an open bistream":                       driveLateCancel,
	"caller's call timeout":                            driveTimeout,
	"server calls back (ids of the two sides overlap)": driveBack,
	"server calls back, caller has no methods": func(ctx context.Context, c *prpc.Conn) (any, error) {
		return c.Call(ctx, "util.call_back_error", "x")
	},
	"callee's stream buffer overflows": driveFull,
	"server closes with a call pending": func(ctx context.Context, c *prpc.Conn) (any, error) {
		return outcomeOf(c.Call(ctx, "util.close_connection")), nil
	},
}

func driveNothing(_ context.Context, c *prpc.Conn) (any, error) { return c.ID(), nil }

func driveUnary(ctx context.Context, c *prpc.Conn) (any, error) {
	pong, err := c.Call(ctx, "ping")
	args, err2 := c.Call(ctx, "echo.args", 1, "two", []byte("3"), nil)
	keywords, err3 := c.Call(ctx, "echo.kwargs", prpc.Keywords{"a": 1})
	return []any{pong, args, keywords}, errors.Join(err, err2, err3)
}

// emit calls streams.emit and returns what it sent and its result.
func emit(ctx context.Context, c *prpc.Conn, args ...any) (any, error) {
	call, err := c.Start(ctx, prpc.IStream, "streams.emit", args...)
	if err != nil {
		return nil, err
	}
	defer call.Cancel()
	got := []any{}
	for m, err := range call.Stream().All(ctx) {
		if err != nil {
			return nil, err
		}
		got = append(got, m)
	}
	result, err := call.Result(ctx)
	return []any{got, result}, err
}

func driveLeft(ctx context.Context, c *prpc.Conn) (any, error) {
	call, err := c.Start(ctx, prpc.IStream, "streams.flood", 0, 60)
	if err != nil {
		return nil, err
	}
	first, err := call.Stream().Recv(ctx)
	if err != nil {
		return nil, err
	}
	call.Cancel()
	_, err = c.Call(ctx, "ping")
	return first, err
}

func driveAsked(ctx context.Context, c *prpc.Conn) (any, error) {
	call, err := c.Start(ctx, prpc.IStream, "util.sleep", 0.1)
	if err != nil {
		return nil, err
	}
	return call.Result(ctx)
}

func sendAll(ctx context.Context, c *prpc.Conn, method string, items ...any) (*prpc.Call, error) {
	call, err := c.Start(ctx, prpc.OStream, method)
	for _, item := range items {
		if err == nil {
			err = call.Stream().Send(ctx, item)
		}
	}
	return call, err
}

func driveOStream(ctx context.Context, c *prpc.Conn) (any, error) {
	call, err := sendAll(ctx, c, "streams.collect", "a", []byte("b"), 3)
	if err == nil {
		err = call.Stream().Close()
	}
	if err != nil {
		return nil, err
	}
	return call.Result(ctx)
}

func driveImplicit(ctx context.Context, c *prpc.Conn) (any, error) {
	call, err := sendAll(ctx, c, "streams.count", "a")
	if err != nil {
		return nil, err
	}
	return call.Result(ctx)
}

func driveBiStream(ctx context.Context, c *prpc.Conn) (any, error) {
	call, err := c.Start(ctx, prpc.BiStream, "echo.duplex", "done")
	if err != nil {
		return nil, err
	}
	got := []any{}
	for _, item := range []any{"a", []byte("b"), map[string]any{"c": 1}} {
		if err := call.Stream().Send(ctx, item); err != nil {
			return nil, err
		}
		m, err := call.Stream().Recv(ctx)
		if err != nil {
			return nil, err
		}
		got = append(got, m)
	}
	result, err := call.Result(ctx)
	return []any{got, result}, err
}

// end receives what must be the end of the stream.
func end(ctx context.Context, call *prpc.Call) any {
	m, err := call.Stream().Recv(ctx)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return []any{m, err}
}

func driveCallee(ctx context.Context, c *prpc.Conn) (any, error) {
	call, err := c.Start(ctx, prpc.BiStream, "streams.close_first", 1)
	if err == nil {
		err = call.Stream().Send(ctx, "a")
	}
	if err != nil {
		return nil, err
	}
	last := end(ctx, call)
	result, err := call.Result(ctx)
	return []any{last, result}, err
}

func driveErrors(ctx context.Context, c *prpc.Conn) (any, error) {
	out := []any{}
	for _, call := range []struct {
		method string
		args   []any
	}{
		{"util.fail", []any{"ValueError", "bad"}}, {"util.fail_chain", nil}, {"nope", nil},
		{"broken.not_callable", nil}, {"util.unserializable", nil},
	} {
		out = append(out, outcomeOf(c.Call(ctx, call.method, call.args...)))
	}
	return out, nil
}

func driveStreamError(ctx context.Context, c *prpc.Conn) (any, error) {
	call, err := c.Start(ctx, prpc.BiStream, "util.fail", "OSError", "x")
	if err != nil {
		return nil, err
	}
	return []any{end(ctx, call), outcomeOf(call.Result(ctx))}, nil
}

func driveCancel(ctx context.Context, c *prpc.Conn) (any, error) {
	call, err := c.Start(ctx, prpc.Unary, "util.sleep", 30)
	if err != nil {
		return nil, err
	}
	<-time.After(50 * time.Millisecond)
	sent := call.Cancel()
	out := outcomeOf(call.Result(ctx))
	_, err = c.Call(ctx, "ping")
	return []any{sent, out}, err
}

func driveLateCancel(ctx context.Context, c *prpc.Conn) (any, error) {
	call, err := c.Start(ctx, prpc.BiStream, "echo.duplex")
	if err == nil {
		err = call.Stream().Send(ctx, 1)
	}
	if err == nil {
		_, err = call.Stream().Recv(ctx)
	}
	if err != nil {
		return nil, err
	}
	call.Cancel()
	out := outcomeOf(call.Result(ctx))
	_, err = c.Call(ctx, "ping")
	return out, err
}

func driveTimeout(ctx context.Context, c *prpc.Conn) (any, error) {
	limited, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	out := outcomeOf(c.Call(limited, "util.sleep", 30))
	_, err := c.Call(ctx, "ping")
	return out, err
}

func driveBack(ctx context.Context, c *prpc.Conn) (any, error) {
	sum, err := c.Call(ctx, "util.call_back", "add", 2, prpc.Keywords{"b": 3})
	pairs, err2 := c.Call(ctx, "util.call_back_stream", "twice", []any{7})
	absent, err3 := c.Call(ctx, "util.call_back_error", "absent")
	return []any{sum, pairs, absent}, errors.Join(err, err2, err3)
}

func driveFull(ctx context.Context, c *prpc.Conn) (any, error) {
	items := make([]any, 33)
	for i := range items {
		items[i] = i
	}
	call, err := sendAll(ctx, c, "streams.never_read", items...)
	if err != nil {
		return nil, err
	}
	return outcomeOf(call.Result(ctx)), nil
}
