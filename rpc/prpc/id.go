package prpc

import (
	"github.com/tinylib/msgp/msgp"
)

// callID is the id of a call. Our own are numbers from 1; a peer may choose any
// value that can be a key, which is kept in its smallest encoding.
type callID struct {
	number uint64
	other  string // the encoding of what is no such number, else ""
}

// append appends the id as it travels.
func (id callID) append(b []byte) []byte {
	if id.other != "" {
		return append(b, id.other...)
	}
	return msgp.AppendUint64(b, id.number)
}

// value returns the id as a value to show.
func (id callID) value() any {
	v, _, err := decodeAny(id.append(nil))
	if err != nil {
		return id.other
	}
	return v
}

// readID reads the id at the start of b, which passed the scanner.
func readID(b []byte) (callID, []byte, error) {
	if msgp.NextType(b) == msgp.UintType {
		n, rest, err := msgp.ReadUint64Bytes(b)
		return callID{number: n}, rest, err
	}
	if !hashable(b) {
		return callID{}, b, violation(BadID, "%s", kindName(b))
	}
	rest, err := msgp.Skip(b)
	if err != nil {
		return callID{}, b, malformed(err)
	}
	raw := b[:len(b)-len(rest)]
	if len(raw) > idBytes {
		return callID{}, b, violation(BadID, "%d bytes", len(raw))
	}
	value, _, err := decodeAny(raw)
	if err != nil {
		return callID{}, b, violation(BadID, "%v", err)
	}
	if n, ok := value.(int64); ok && n >= 0 {
		return callID{number: uint64(n)}, rest, nil
	}
	smallest, err := appendValue(nil, value)
	if err != nil {
		return callID{}, b, violation(BadID, "%v", err)
	}
	return callID{other: string(smallest)}, rest, nil
}
