package pconn

import (
	"fmt"
	"os"
)

// Reply is what a handler answers. The zero value is the empty answer: ok, flags 0, no payload.
//
// A Reply's bytes belong to the connection from the handler's return on: they may be sent from where
// they are, and must not be changed.
type Reply struct {
	payload []byte
	more    *replyMore // or nil
}

// replyMore is what goes beside an answer's payload. It is a pointer of its own, so that a Reply fits into four registers:
// what is larger is copied through memory wherever it is returned.
type replyMore struct {
	flags    uint64
	metadata Metadata
	files    []*os.File
}

// smallFlags are for the replies that have nothing beside them but such flags, so that these take no memory. Nothing
// changes them.
var smallFlags = func() (all [64]replyMore) {
	for i := range all {
		all[i].flags = uint64(i)
	}
	return all
}()

// moreOf returns what goes beside an answer with flags.
func moreOf(flags uint64) *replyMore {
	switch {
	case flags == 0:
		return nil
	case flags < uint64(len(smallFlags)):
		return &smallFlags[flags]
	}
	return &replyMore{flags: flags}
}

// beside returns what goes beside the reply, to be looked at only.
func (r *Reply) beside() replyMore {
	if r.more == nil {
		return replyMore{}
	}
	return *r.more
}

// WithMetadata returns the reply with metadata, which reaches a peer that has the extensions and is dropped
// otherwise. Of two the last counts.
func (r Reply) WithMetadata(md Metadata) Reply {
	if len(md) == 0 && r.more == nil {
		return r
	}
	more := r.beside()
	more.metadata = md
	r.more = &more
	return r
}

// WithFiles returns the reply with files, which from the handler's return on are the connection's: it closes them,
// whether or not they can be sent. The caller gets descriptors of its own for the same open files. Where the caller
// cannot have them (see Options.MaxFiles) it gets an error instead of the reply. Of two the last counts, and the
// files of the first stay the handler's.
func (r Reply) WithFiles(files ...*os.File) Reply {
	more := r.beside()
	more.files = files
	r.more = &more
	return r
}

// filesBeside returns the reply's files.
func (r *Reply) filesBeside() []*os.File {
	if r.more == nil {
		return nil
	}
	return r.more.files
}

// flags returns the reply's flags.
func (r *Reply) flags() uint64 {
	if r.more == nil {
		return 0
	}
	return r.more.flags
}

// None answers with flags 0 and no payload.
func None() Reply { return Reply{} }

// Flags answers with flags, at most 61 bits of them, and no payload.
func Flags(flags uint64) Reply { return Reply{more: moreOf(flags)} }

// Bytes answers with flags 0 and a payload.
func Bytes(payload []byte) Reply { return Reply{payload: payload} }

// FlagsBytes answers with flags, at most 61 bits of them, and a payload.
func FlagsBytes(flags uint64, payload []byte) Reply {
	return Reply{payload: payload, more: moreOf(flags)}
}

// Text answers with flags 0 and text as UTF-8. What is not UTF-8 in s is sent as decimal character
// references: an encoded surrogate as "&#N;", any other bad byte b as "&#(0xDC00+b);".
func Text(s string) Reply {
	if s == "" {
		return Reply{}
	}
	return Reply{payload: appendText(make([]byte, 0, len(s)), s)}
}

// Pair is flags and bytes as one result of an Adapt function.
type Pair struct {
	Flags   uint64
	Payload []byte
}

// replyOf follows the reference's table of handler results.
func replyOf(v any) (Reply, error) {
	switch v := v.(type) {
	case nil:
		return Reply{}, nil
	case Reply:
		return v, nil
	case []byte:
		return Bytes(v), nil
	case string:
		return Text(v), nil
	case Pair:
		return FlagsBytes(v.Flags, v.Payload), nil
	case [2]any:
		return pairOf(v[:])
	case []any:
		return pairOf(v)
	}
	flags, err := flagsOf(v)
	return Flags(flags), err
}

func pairOf(v []any) (Reply, error) {
	if len(v) != 2 {
		return Reply{}, fmt.Errorf("pconn: handler result of %d elements, want flags and bytes", len(v))
	}
	flags, err := flagsOf(v[0])
	if err != nil {
		return Reply{}, err
	}
	payload, ok := v[1].([]byte)
	if !ok {
		return Reply{}, fmt.Errorf("pconn: handler result with a payload of type %T, want []byte", v[1])
	}
	return FlagsBytes(flags, payload), nil
}

// flagsOf takes every integer type, and bool, which is an integer at the reference.
func flagsOf(v any) (uint64, error) {
	var n int64
	switch v := v.(type) {
	case bool:
		if v {
			return 1, nil
		}
		return 0, nil
	case uint:
		return uint64(v), nil
	case uint8:
		return uint64(v), nil
	case uint16:
		return uint64(v), nil
	case uint32:
		return uint64(v), nil
	case uint64:
		return v, nil
	case int:
		n = int64(v)
	case int8:
		n = int64(v)
	case int16:
		n = int64(v)
	case int32:
		n = int64(v)
	case int64:
		n = v
	default:
		return 0, fmt.Errorf("pconn: handler result of type %T", v)
	}
	if n < 0 {
		return 0, fmt.Errorf("pconn: handler result with negative flags %d", n)
	}
	return uint64(n), nil
}
