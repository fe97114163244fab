// Package prpctest offers the services of the pRpc interop kit, for tests and for
// the command line's test handler.
package prpctest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/packetstream/packetstream/rpc/prpc"
)

// Services returns the kit's services. Their counters count for everybody who is
// given this Locator.
func Services() (prpc.Locator, error) {
	u := &util{}
	streams, err := streamMethods()
	if err != nil {
		return nil, err
	}
	echo, err := echoMethods()
	if err != nil {
		return nil, err
	}
	return prpc.NewTree(prpc.Tree{
		"ping":    func() string { return "pong" },
		"echo":    echo,
		"streams": streams,
		"util":    prpc.Object(u),
		"broken": prpc.LocatorFunc(func(name string, _ *prpc.Request) (prpc.Method, error) {
			if name == "not_callable" {
				return nil, prpc.ErrNotCallable
			}
			return nil, prpc.ErrMethodNotFound
		}),
	})
}

// named makes methods of functions whose parameters have names.
func named(funcs map[string]any, names map[string][]string) (prpc.Tree, error) {
	tree := prpc.Tree{}
	for name, fn := range funcs {
		method, err := prpc.Func(fn, names[name]...)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		tree[name] = method
	}
	return tree, nil
}

func echoMethods() (prpc.Tree, error) {
	return named(map[string]any{
		"args":     func(args ...any) []any { return args },
		"kwargs":   func(keywords prpc.Keywords) prpc.Keywords { return keywords },
		"both":     both,
		"duplex":   duplex,
		"any_type": anyType,
	}, map[string][]string{"duplex": {"result"}})
}

func both(_ context.Context, r *prpc.Request) (any, error) {
	args, err := r.Args()
	if err != nil {
		return nil, err
	}
	keywords, err := r.Keywords()
	return []any{args, keywords, r.Method(), r.Type()}, err
}

func duplex(ctx context.Context, s *prpc.Stream, result *any) (any, error) {
	for message, err := range s.All(ctx) {
		if err != nil {
			return nil, err
		}
		if err := s.Send(ctx, message); err != nil {
			return nil, err
		}
	}
	if result == nil {
		return nil, nil
	}
	return *result, nil
}

// anyType behaves according to the type it is called with.
func anyType(ctx context.Context, r *prpc.Request) (any, error) {
	args, err := r.Args()
	if err != nil {
		return nil, err
	}
	s := r.Stream()
	switch r.Type() {
	case prpc.Unary:
		return append([]any{"unary"}, args...), nil
	case prpc.IStream:
		for _, item := range args {
			if err := s.Send(ctx, item); err != nil {
				return nil, err
			}
		}
		return "istream", nil
	}
	message, err := s.Recv(ctx)
	if err != nil {
		return nil, err
	}
	if r.Type() == prpc.OStream {
		return []any{"ostream", message}, nil
	}
	return "bistream", s.Send(ctx, message)
}

func streamMethods() (prpc.Tree, error) {
	return named(map[string]any{
		"emit":        emit,
		"flood":       flood,
		"collect":     collect,
		"count":       count,
		"never_read":  neverRead,
		"close_first": closeFirst,
	}, map[string][]string{
		"emit": {"count", "close"}, "flood": {"size", "pause"}, "never_read": {"delay"}, "close_first": {"after"},
	})
}

func emit(ctx context.Context, s *prpc.Stream, count int, closeFirst *bool) (int, error) {
	for n := range count {
		if err := s.Send(ctx, n); err != nil {
			return 0, err
		}
	}
	if closeFirst != nil && *closeFirst {
		return count, s.Close()
	}
	return count, nil
}

func flood(ctx context.Context, s *prpc.Stream, size *int, pause *float64) error {
	bytes, seconds := 16, 0.002
	if size != nil {
		bytes = *size
	}
	if pause != nil {
		seconds = *pause
	}
	data := make([]byte, bytes)
	for n := 0; ; n++ {
		if err := s.Send(ctx, []any{n, data}); err != nil {
			return err
		}
		if err := sleep(ctx, seconds); err != nil {
			return err
		}
	}
}

func collect(ctx context.Context, s *prpc.Stream) ([]any, error) {
	messages := []any{}
	for message, err := range s.All(ctx) {
		if err != nil {
			return nil, err
		}
		messages = append(messages, message)
	}
	return messages, nil
}

func count(ctx context.Context, s *prpc.Stream) (int, error) {
	messages, err := collect(ctx, s)
	return len(messages), err
}

func neverRead(ctx context.Context, delay *float64) error {
	if delay == nil {
		return sleep(ctx, 30)
	}
	return sleep(ctx, *delay)
}

func closeFirst(ctx context.Context, s *prpc.Stream, after int) (any, error) {
	got := []any{}
	for range after {
		message, err := s.Recv(ctx)
		if err != nil {
			return nil, err
		}
		got = append(got, message)
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	if err := s.Send(ctx, "late"); err != nil {
		return []any{got, pythonName(err)}, nil
	}
	return []any{got, "sent"}, nil
}

func sleep(ctx context.Context, seconds float64) error {
	timer := time.NewTimer(time.Duration(seconds * float64(time.Second)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pythonName is what the original would call an error.
func pythonName(err error) string {
	var remote *prpc.RemoteError
	if errors.As(err, &remote) {
		switch remote.Status {
		case prpc.StatusMethodError:
			return "RpcMethodError"
		case prpc.StatusMethodNotFound:
			return "RpcMethodNotFoundError"
		case prpc.StatusServerError:
			return "RpcServerError"
		default:
			return "RpcUnknownError"
		}
	}
	var named interface{ CauseType() string }
	if errors.As(err, &named) {
		return named.CauseType()
	}
	return fmt.Sprintf("%T", err)
}

// util is the service of that name: its exported methods are exposed.
type util struct {
	// mu guards the counters.
	mu                 sync.Mutex
	started, cancelled int
}

func (u *util) Sleep(ctx context.Context, delay float64) (string, error) {
	u.count(&u.started)
	if err := sleep(ctx, delay); err != nil {
		u.count(&u.cancelled)
		return "", err
	}
	return "slept", nil
}

func (u *util) count(counter *int) {
	u.mu.Lock()
	*counter++
	u.mu.Unlock()
}

func (u *util) Counters() map[string]int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return map[string]int{"started": u.started, "cancelled": u.cancelled}
}

// Fail fails like a Python exception; the text of a KeyError is quoted there.
func (u *util) Fail(kind, text string) error {
	if kind == "KeyError" {
		text = "'" + text + "'"
	}
	return &prpc.Fault{Type: kind, Text: text}
}

func (u *util) FailChain() error {
	return fmt.Errorf("%w", &chained{prpc.Fault{Type: "ValueError", Text: "outer"}})
}

// chained is an error that was caused by another.
type chained struct{ prpc.Fault }

func (e *chained) Unwrap() error { return &prpc.Fault{Type: "KeyError", Text: "'inner'"} }

// object is a type that has no msgpack form.
type object func()

func (u *util) Unserializable() object { return func() {} }

// CallBack is a unary call into the caller, with all arguments behind the name.
func (u *util) CallBack(ctx context.Context, r *prpc.Request) (any, error) {
	args, err := r.Args()
	if err != nil {
		return nil, err
	}
	keywords, err := r.Keywords()
	if err != nil {
		return nil, err
	}
	if len(args) == 0 {
		return nil, &prpc.ArgumentError{Method: r.Method(), Reason: "missing argument 'name'"}
	}
	return r.Conn().Call(ctx, fmt.Sprint(args[0]), append(args[1:], keywords)...)
}

func (u *util) CallBackStream(ctx context.Context, r *prpc.Request, name string, items []any) (any, error) {
	call, err := r.Conn().Start(ctx, prpc.BiStream, name)
	if err != nil {
		return nil, err
	}
	defer call.Cancel()
	replies := []any{}
	for _, item := range items {
		if err := call.Stream().Send(ctx, item); err != nil {
			return nil, err
		}
		reply, err := call.Stream().Recv(ctx)
		if err != nil {
			return nil, err
		}
		replies = append(replies, reply)
	}
	result, err := call.Result(ctx)
	return []any{replies, result}, err
}

func (u *util) CallBackError(ctx context.Context, r *prpc.Request, name string) ([]string, error) {
	_, err := r.Conn().Call(ctx, name)
	var remote *prpc.RemoteError
	if errors.As(err, &remote) {
		return []string{pythonName(err), remote.CauseType, remote.CauseText}, nil
	}
	return nil, err
}

func (u *util) Handshake(r *prpc.Request) ([]any, error) {
	var data any
	err := r.Conn().PeerData(&data)
	return []any{data, r.Conn().ID()}, err
}

func (u *util) CloseConnection(ctx context.Context, r *prpc.Request) error {
	_ = r.Conn().Close()
	<-ctx.Done()
	return ctx.Err()
}
