package frame

import (
	"errors"
	"fmt"

	"github.com/packetstream/packetstream/packet"
)

// Most payloads are a list of fields: a key and a length, both numbers, and as many octets. The value of
// a field that holds a number is that number and nothing else. Keys that are not known are passed over.

var (
	// ErrShort says that a payload ends inside a field.
	ErrShort = errors.New("payload too short for its fields")

	// ErrTwice says that a field stands twice that may stand once.
	ErrTwice = errors.New("field stands twice")

	// ErrTrailing says that octets follow a number that is all of a value.
	ErrTrailing = errors.New("octets behind a number")

	// ErrMissing says that a field is missing.
	ErrMissing = errors.New("field missing")
)

// FormatError says that a payload is not what its kind of frame carries.
type FormatError struct {
	Kind Kind
	// Key is the field's, or 0 if it is not known.
	Key uint64
	// Err is ErrShort, ErrTwice, ErrTrailing, ErrMissing, or packet.ErrOverflow or ErrOverlong of a
	// number.
	Err error
}

func (e *FormatError) Error() string {
	if e.Key == 0 {
		return fmt.Sprintf("frame: bad %v: %v", e.Kind, e.Err)
	}
	return fmt.Sprintf("frame: bad %v, field %d: %v", e.Kind, e.Key, e.Err)
}

// Unwrap returns Err.
func (e *FormatError) Unwrap() error { return e.Err }

// appendBytes appends a field of octets.
func appendBytes[T []byte | string](dst []byte, key uint64, value T) []byte {
	dst = packet.AppendUint(dst, key)
	dst = packet.AppendUint(dst, uint64(len(value)))
	return append(dst, value...)
}

// appendNumber appends a field of a number, unless that is 0, which is what its absence means.
func appendNumber(dst []byte, key, value uint64) []byte {
	if value == 0 {
		return dst
	}
	dst = packet.AppendUint(dst, key)
	dst = packet.AppendUint(dst, uint64(packet.UintLen(value)))
	return packet.AppendUint(dst, value)
}

// reader takes fields off a payload and remembers the first error.
type reader struct {
	kind Kind
	rest []byte
	key  uint64 // of the field that next has returned
	seen uint64 // bits of the keys that may stand once and stood
	err  error
}

// next returns the next field's value, and false at the end or after an error.
func (r *reader) next() (value []byte, ok bool) {
	if r.err != nil || len(r.rest) == 0 {
		return nil, false
	}
	r.key = 0
	key := r.number()
	size := r.number()
	if r.err != nil {
		return nil, false
	}
	r.key = key
	if size > uint64(len(r.rest)) {
		r.fail(ErrShort)
		return nil, false
	}
	value, r.rest = r.rest[:size:size], r.rest[size:]
	return value, true
}

// number takes a bare number off the rest.
func (r *reader) number() uint64 {
	v, n, err := packet.DecodeUint(r.rest)
	if err != nil {
		r.fail(err)
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// once notes that a field stands that may stand once. Its keys are below 64.
func (r *reader) once() {
	if r.seen&(1<<r.key) != 0 {
		r.fail(ErrTwice)
	}
	r.seen |= 1 << r.key
}

// uint sets what a field of a number holds.
func (r *reader) uint(to *uint64, value []byte) {
	r.once()
	v, n, err := packet.DecodeUint(value)
	switch {
	case err != nil:
		r.fail(err)
	case n < len(value):
		r.fail(ErrTrailing)
	}
	*to = v
}

// text sets what a field of text holds.
func (r *reader) text(to *string, value []byte) {
	r.once()
	*to = string(value)
}

func (r *reader) fail(err error) {
	if r.err != nil {
		return
	}
	if err == packet.ErrShort {
		err = ErrShort
	}
	r.err = &FormatError{Kind: r.kind, Key: r.key, Err: err}
}
