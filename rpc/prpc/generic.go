package prpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
)

// Invoke makes a unary call and returns its result as an R. Besides the errors of
// Conn.Call there is a *DecodeError for a result that is no R.
func Invoke[R any](ctx context.Context, c *Conn, method string, args ...any) (R, error) {
	call, err := c.unary(ctx, method, args)
	if err != nil {
		return decoded[R](nil, err)
	}
	result := call.result
	if _, copied := any((*R)(nil)).(*any); !copied {
		result = bytes.Clone(result) // some types' own decoders keep the bytes
	}
	v, err := decoded[R](result, call.err)
	c.reuse(call)
	return v, err
}

// Result waits for the result of a call and returns it as an R; see Call.Result. A
// *DecodeError says that the result is no R.
func Result[R any](ctx context.Context, c *Call) (R, error) {
	raw, err := c.await(ctx)
	return decoded[R](raw, err)
}

// Recv receives the next message of a stream as a T; see Stream.Recv. A *DecodeError says
// that the message is no T; the next one can still be received.
func Recv[T any](ctx context.Context, s *Stream) (T, error) {
	raw, err := s.recv(ctx)
	return decoded[T](raw, err)
}

// Messages receives the messages of a stream as values of type T until its end.
// An error other than the end is the last thing it yields.
func Messages[T any](ctx context.Context, s *Stream) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			v, err := Recv[T](ctx, s)
			if errors.Is(err, io.EOF) || !yield(v, err) || err != nil {
				return
			}
		}
	}
}

func decoded[T any](raw Raw, err error) (T, error) {
	var v T
	if err != nil {
		return v, err
	}
	if p, ok := any(&v).(*any); ok {
		*p, _, err = decodeAny(raw)
		return v, err
	}
	return v, decodeTo(raw, &v)
}
