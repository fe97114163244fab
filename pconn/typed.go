package pconn

import (
	"context"
	"fmt"
)

// Caller is what requests can be made on: a Conn, a Channel, and whatever stands for one.
type Caller interface {
	Do(ctx context.Context, req Request) (Response, error)
	Submit(ctx context.Context, req Request) (*Result, error)
	Codec() Codec
}

// Call sends a value as a request and returns the response as a value, by the caller's codec. The
// errors are those of Do and of the codec.
func Call[Req, Resp any](ctx context.Context, c Caller, typ uint64, req Req) (Resp, error) {
	var resp Resp
	payload, err := c.Codec().Marshal(req)
	if err != nil {
		return resp, fmt.Errorf("pconn: request type %d: %w", typ, err)
	}
	r, err := c.Do(ctx, Request{Type: typ, Payload: payload})
	if err != nil {
		return resp, err
	}
	closeFiles(r.Files) // for which a value has no place
	if err := c.Codec().Unmarshal(r.Payload, &resp); err != nil {
		return resp, fmt.Errorf("pconn: response to request type %d: %w", typ, err)
	}
	return resp, nil
}

// Typed makes a Handler of a func from value to value, by the codec of the connection that the request
// comes by, or JSON where the handler is called without one. A payload that the codec does not take is told
// to the peer.
func Typed[Req, Resp any](f func(ctx context.Context, req Req) (Resp, error)) Handler {
	return HandlerFunc(func(ctx context.Context, r *Request) (Reply, error) {
		var req Req
		codec := r.codec()
		if err := codec.Unmarshal(r.Payload, &req); err != nil {
			return Reply{}, Errorf("request type %d: %w", r.Type, err)
		}
		resp, err := f(ctx, req)
		if err != nil {
			return Reply{}, err
		}
		payload, err := codec.Marshal(resp)
		if err != nil {
			return Reply{}, err
		}
		return Bytes(payload), nil
	})
}
