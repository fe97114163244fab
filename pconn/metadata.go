package pconn

import (
	"context"
	"iter"

	"github.com/packetstream/packetstream/packet/frame"
)

// Field is one key and value of a Metadata. Keys are text, of the application's choice; those that
// begin with ":" are reserved.
type Field = frame.Pair

// Metadata is what goes with a request or response beside its payload: keys and values in order, in
// which a key may stand any number of times. It reaches peers that have the extensions. Both ends keep to
// 64 KiB of it in one packet, to which each field counts with 32 bytes more than its key and value have.
//
// A Metadata that was passed in must not be changed until the call returns; one that was received is the
// receiver's own.
type Metadata []Field

// Add appends a field.
func (m *Metadata) Add(key string, value []byte) { *m = append(*m, Field{Key: key, Value: value}) }

// AddText appends a field whose value is text.
func (m *Metadata) AddText(key, value string) { m.Add(key, []byte(value)) }

// Lookup returns the value of the first field with the key, and whether there is one.
func (m Metadata) Lookup(key string) (value []byte, ok bool) {
	for i := range m {
		if m[i].Key == key {
			return m[i].Value, true
		}
	}
	return nil, false
}

// Text returns the value of the first field with the key as text, "" if there is none.
func (m Metadata) Text(key string) string {
	value, _ := m.Lookup(key)
	return string(value)
}

// All returns the values of all fields with the key, in order.
func (m Metadata) All(key string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := range m {
			if m[i].Key == key && !yield(m[i].Value) {
				return
			}
		}
	}
}

// size is what the metadata counts against bounds.
func (m Metadata) size() int64 {
	if len(m) == 0 {
		return 0
	}
	return frame.PairsSize(m)
}

// WithMetadata returns a Caller whose requests carry md behind the metadata they have themselves, for
// Call, whose requests have none. If reply is not nil, it is set to the metadata of each response that Do
// returns; then the Caller must not be used concurrently.
func WithMetadata(c Caller, md Metadata, reply *Metadata) Caller {
	return &annotated{Caller: c, md: md, reply: reply}
}

type annotated struct {
	Caller
	md    Metadata
	reply *Metadata
}

func (a *annotated) Do(ctx context.Context, req Request) (Response, error) {
	req.Metadata = a.add(req.Metadata)
	resp, err := a.Caller.Do(ctx, req)
	if a.reply != nil {
		*a.reply = resp.Metadata
	}
	return resp, err
}

func (a *annotated) Submit(ctx context.Context, req Request) (*Result, error) {
	req.Metadata = a.add(req.Metadata)
	return a.Caller.Submit(ctx, req)
}

// add never appends to memory that somebody else may append to as well.
func (a *annotated) add(md Metadata) Metadata { return append(md[:len(md):len(md)], a.md...) }

// RequestOf returns the request whose handler ctx belongs to, for a Typed handler, or nil. Through it a
// handler has the caller's metadata and its own connection.
func RequestOf(ctx context.Context) *Request {
	h := handlerOf(ctx)
	if h == nil {
		return nil
	}
	return &h.req
}

// SetReplyMetadata sets what the answer of the handler that ctx belongs to carries, for a Typed handler;
// others use Reply.WithMetadata, which counts if both are used. It reports false if ctx belongs to no
// handler, or the handler has returned.
func SetReplyMetadata(ctx context.Context, md Metadata) bool {
	h := handlerOf(ctx)
	return h != nil && h.setReply(md)
}
