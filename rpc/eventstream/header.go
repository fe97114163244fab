package eventstream

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
)

// HeaderType is the wire type of a header's value.
type HeaderType uint8

// The header types of the format.
const (
	HeaderTypeBoolTrue  HeaderType = 0
	HeaderTypeBoolFalse HeaderType = 1
	HeaderTypeByte      HeaderType = 2
	HeaderTypeInt16     HeaderType = 3
	HeaderTypeInt32     HeaderType = 4
	HeaderTypeInt64     HeaderType = 5
	HeaderTypeBytes     HeaderType = 6
	HeaderTypeString    HeaderType = 7
	HeaderTypeTimestamp HeaderType = 8
	HeaderTypeUUID      HeaderType = 9
)

var headerTypeNames = [...]string{
	"bool_true", "bool_false", "byte", "int16", "int32", "int64", "byte_buf", "string", "timestamp", "uuid",
}

// String returns the type's name as the format's documents have it, such as "byte_buf".
func (t HeaderType) String() string {
	if int(t) < len(headerTypeNames) {
		return headerTypeNames[t]
	}
	return "header type " + strconv.Itoa(int(t))
}

// Header is a name and a typed value. It is immutable, holds no reference to the buffer it was
// decoded from, and may be copied and shared. Two headers are equal (==) when name, type and value
// are. The zero value is a header with an empty name and the value true.
type Header struct {
	name string
	text string // value of string, byte_buf and uuid
	num  int64  // value of byte, int16, int32, int64 and timestamp
	typ  HeaderType
}

// Bool returns a header with a boolean value.
func Bool(name string, v bool) Header {
	if v {
		return Header{name: name, typ: HeaderTypeBoolTrue}
	}
	return Header{name: name, typ: HeaderTypeBoolFalse}
}

// Byte returns a header with a signed 8-bit value.
func Byte(name string, v int8) Header {
	return Header{name: name, typ: HeaderTypeByte, num: int64(v)}
}

// Int16 returns a header with a 16-bit value.
func Int16(name string, v int16) Header {
	return Header{name: name, typ: HeaderTypeInt16, num: int64(v)}
}

// Int32 returns a header with a 32-bit value.
func Int32(name string, v int32) Header {
	return Header{name: name, typ: HeaderTypeInt32, num: int64(v)}
}

// Int64 returns a header with a 64-bit value.
func Int64(name string, v int64) Header {
	return Header{name: name, typ: HeaderTypeInt64, num: v}
}

// Bytes returns a header with a byte_buf value, of which it keeps a copy. More than
// MaxHeaderValueLen bytes are refused when the message is encoded.
func Bytes(name string, v []byte) Header {
	return Header{name: name, typ: HeaderTypeBytes, text: string(v)}
}

// String returns a header with a string value. It should be UTF-8, which neither end checks. More
// than MaxHeaderValueLen bytes are refused when the message is encoded.
func String(name, v string) Header {
	return Header{name: name, typ: HeaderTypeString, text: v}
}

// Timestamp returns a header with a timestamp value. Peers disagree whether it counts seconds or
// milliseconds since 1970; the number goes to the wire as it is.
func Timestamp(name string, v int64) Header {
	return Header{name: name, typ: HeaderTypeTimestamp, num: v}
}

// UUID returns a header with a UUID value.
func UUID(name string, v [16]byte) Header {
	return Header{name: name, typ: HeaderTypeUUID, text: string(v[:])}
}

// Name returns the header's name as it is on the wire.
func (h Header) Name() string { return h.name }

// Type returns the header's type.
func (h Header) Type() HeaderType { return h.typ }

// Bool returns the value of a header of either boolean type.
func (h Header) Bool() (v, ok bool) {
	return h.typ == HeaderTypeBoolTrue, h.typ == HeaderTypeBoolTrue || h.typ == HeaderTypeBoolFalse
}

// Byte returns the value of a byte header.
func (h Header) Byte() (v int8, ok bool) { return int8(h.num), h.typ == HeaderTypeByte }

// Int16 returns the value of an int16 header.
func (h Header) Int16() (v int16, ok bool) { return int16(h.num), h.typ == HeaderTypeInt16 }

// Int32 returns the value of an int32 header.
func (h Header) Int32() (v int32, ok bool) { return int32(h.num), h.typ == HeaderTypeInt32 }

// Int64 returns the value of an int64 header.
func (h Header) Int64() (v int64, ok bool) { return h.num, h.typ == HeaderTypeInt64 }

// Bytes returns the value of a byte_buf header, in memory of the caller's own.
func (h Header) Bytes() (v []byte, ok bool) {
	if h.typ != HeaderTypeBytes {
		return nil, false
	}
	return []byte(h.text), true
}

// Text returns the value of a string header.
func (h Header) Text() (v string, ok bool) {
	if h.typ != HeaderTypeString {
		return "", false
	}
	return h.text, true
}

// Timestamp returns the value of a timestamp header, in whatever unit the peer means.
func (h Header) Timestamp() (v int64, ok bool) { return h.num, h.typ == HeaderTypeTimestamp }

// UUID returns the value of a uuid header.
func (h Header) UUID() (v [16]byte, ok bool) {
	if h.typ != HeaderTypeUUID {
		return v, false
	}
	copy(v[:], h.text)
	return v, true
}

// ValueString returns the value as text for people: numbers in decimal, byte_buf in base64, a UUID in
// its usual form.
func (h Header) ValueString() string {
	switch h.typ {
	case HeaderTypeBoolTrue:
		return "true"
	case HeaderTypeBoolFalse:
		return "false"
	case HeaderTypeBytes:
		return base64.StdEncoding.EncodeToString([]byte(h.text))
	case HeaderTypeString:
		return h.text
	case HeaderTypeUUID:
		x := hex.EncodeToString([]byte(h.text))
		return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
	default:
		return strconv.FormatInt(h.num, 10)
	}
}

// String returns the header as name, type and value for logs.
func (h Header) String() string {
	return fmt.Sprintf("%s(%s)=%s", h.name, h.typ, strconv.Quote(h.ValueString()))
}

// Headers is a list of headers in wire order. Names may repeat.
type Headers []Header

// Lookup returns the first header called name, compared byte for byte.
func (hs Headers) Lookup(name string) (h Header, ok bool) {
	for i := range hs {
		if hs[i].name == name {
			return hs[i], true
		}
	}
	return Header{}, false
}

// Text returns the value of the first header called name if it is a string, else "".
func (hs Headers) Text(name string) string {
	h, _ := hs.Lookup(name)
	v, _ := h.Text()
	return v
}

// User returns the headers without the four that the RPC protocol reserves (":message-type",
// ":message-flags", ":stream-id" and "operation"), in a slice of its own. Readers also take those names in
// capitals, but nobody writes them so; like the reference's services, User leaves such headers in.
func (hs Headers) User() Headers {
	out := make(Headers, 0, len(hs))
	for _, h := range hs {
		switch h.name {
		case headerMessageType, headerMessageFlags, headerStreamID, headerOperation:
		default:
			out = append(out, h)
		}
	}
	return out
}

// hasUser reports whether there is a header that means nothing to the RPC protocol.
func (hs Headers) hasUser() bool {
	for i := range hs {
		if reservedIndex(hs[i].name) == notReserved {
			return true
		}
	}
	return false
}
