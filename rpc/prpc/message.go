package prpc

import (
	"fmt"

	"github.com/tinylib/msgp/msgp"
)

// message is a received message. Which fields are set is said by the type. The
// raw fields refer to the bytes that were received.
type message struct {
	kind MessageType
	id   callID
	lent bool // the bytes are to be used again, so what is kept of them has to be copied

	handshake handshakeData // RequestHandshake, ResponseHandshake

	callType CallType // RequestCallStart
	method   Raw
	args     Raw
	keywords Raw

	data Raw // RequestStreamMessage, ResponseStreamMessage

	status Status // ResponseHandshake, ResponseResult
	result Raw
	fault  *fault
}

// handshakeData is what each end says about itself.
type handshakeData struct {
	version any
	connID  any
	data    Raw
}

// fault is the error of an answer.
type fault struct{ message, causeType, causeText, trace string }

// arity is the number of fields of each message, its type included.
var arity = [...]uint32{
	RequestHandshake: 3, RequestCallStart: 6, RequestCallCancel: 2, RequestStreamMessage: 3, RequestStreamClose: 2,
	ResponseHandshake: 5, ResponseResult: 5, ResponseStreamMessage: 3, ResponseStreamClose: 2,
}

// parseMessage decodes a message. The error is a *ProtocolError.
func parseMessage(b []byte, limits *Limits) (message, error) {
	var m message
	if err := scan(b, limits); err != nil {
		return m, err
	}
	if msgp.NextType(b) != msgp.ArrayType {
		return m, violation(NotArray, "%s", kindName(b))
	}
	n, b, _ := msgp.ReadArrayHeaderBytes(b)
	if n == 0 {
		return m, violation(NotArray, "it is empty")
	}
	kind, b, err := readKind(b)
	if err != nil {
		return m, err
	}
	m.kind = kind
	if n != arity[kind] {
		return m, violation(BadArity, "%d in %v, not %d", n, kind, arity[kind])
	}
	if m.id, b, err = readID(b); err != nil {
		return m, err
	}
	switch kind {
	case RequestHandshake:
		m.handshake, _, err = readHandshake(b)
	case RequestCallStart:
		err = m.readCallStart(b)
	case RequestStreamMessage, ResponseStreamMessage:
		m.data = b
	case ResponseHandshake:
		if m.handshake, b, err = readHandshake(b); err == nil {
			err = m.readStatus(b)
		}
	case ResponseResult:
		m.result, b = cut(b)
		err = m.readStatus(b)
	}
	return m, err
}

func readKind(b []byte) (MessageType, []byte, error) {
	n, rest, err := msgp.ReadUint8Bytes(b)
	if err != nil || n < uint8(RequestHandshake) || n > uint8(ResponseStreamClose) {
		return 0, b, violation(UnknownType, "%s", kindName(b))
	}
	return MessageType(n), rest, nil
}

// cut splits the first value off b, which passed the scanner.
func cut(b []byte) (value, rest []byte) {
	switch f, n := shortForm(b); {
	case f == formLong || n > len(b):
	case f != formList && f != formMap:
		return b[:n], b[n:]
	case n == 0:
		return b[:1], b[1:]
	}
	rest, err := msgp.Skip(b)
	if err != nil {
		return b, nil
	}
	return b[:len(b)-len(rest)], rest
}

func (m *message) readCallStart(b []byte) error {
	n, rest, err := msgp.ReadUint8Bytes(b)
	if err != nil || !CallType(n).callable() {
		return violation(BadCallType, "%s", kindName(b))
	}
	m.callType = CallType(n)
	m.method, rest = cut(rest)
	m.args, m.keywords = cut(rest)
	return nil
}

func readHandshake(b []byte) (handshakeData, []byte, error) {
	var h handshakeData
	if msgp.NextType(b) != msgp.ArrayType {
		return h, b, violation(BadArity, "handshake is %s", kindName(b))
	}
	n, rest, _ := msgp.ReadArrayHeaderBytes(b)
	if n != 3 {
		return h, b, violation(BadArity, "%d in the handshake, not 3", n)
	}
	version, rest := cut(rest)
	connID, rest := cut(rest)
	h.data, rest = cut(rest)
	// A value that cannot be decoded is one that is not wanted here.
	h.version, _, _ = decodeAny(version)
	h.connID, _, _ = decodeAny(connID)
	return h, rest, nil
}

// readStatus reads the last two fields of an answer.
func (m *message) readStatus(b []byte) error {
	status, b := cut(b)
	m.status = StatusUnknown
	if n, _, err := msgp.ReadIntBytes(status); err == nil {
		m.status = Status(n)
	}
	if msgp.IsNil(b) {
		return nil
	}
	if msgp.NextType(b) != msgp.ArrayType {
		return violation(BadArity, "error is %s", kindName(b))
	}
	n, b, _ := msgp.ReadArrayHeaderBytes(b)
	if n != 4 {
		return violation(BadArity, "%d in the error, not 4", n)
	}
	m.fault = &fault{}
	for _, field := range []*string{&m.fault.message, &m.fault.causeType, &m.fault.causeText, &m.fault.trace} {
		var raw []byte
		raw, b = cut(b)
		if value, _, err := decodeAny(raw); err == nil && value != nil {
			*field = fmt.Sprint(value)
		}
	}
	return nil
}

// head appends what every message begins with.
func head(b []byte, kind MessageType, id callID) []byte {
	b = msgp.AppendArrayHeader(b, arity[kind])
	b = append(b, byte(kind))
	return id.append(b)
}

// appendHandshake appends the [version, connection id, user data] of a
// handshake. The client does not name an id.
func appendHandshake(b []byte, connID string, data any) ([]byte, error) {
	b = append(msgp.AppendArrayHeader(b, 3), Version)
	if connID == "" {
		b = msgp.AppendNil(b)
	} else {
		b = msgp.AppendString(b, connID)
	}
	return appendValue(b, data)
}

func appendCallStart(b []byte, id callID, t CallType, method string, args []any, keywords Keywords) ([]byte, error) {
	b = append(head(b, RequestCallStart, id), byte(t))
	b, err := appendText(b, method)
	if err != nil {
		return b, err
	}
	b = msgp.AppendArrayHeader(b, uint32(len(args)))
	for _, arg := range args {
		if b, err = appendValue(b, arg); err != nil {
			return b, err
		}
	}
	if len(keywords) == 0 {
		return msgp.AppendMapHeader(b, 0), nil
	}
	return appendTextMap(b, keywords, encodeDepth)
}

func appendStreamMessage(b []byte, kind MessageType, id callID, v any) ([]byte, error) {
	b = head(b, kind, id)
	at := len(b)
	b, err := appendValue(b, v)
	if err == nil && msgp.IsNil(b[at:]) {
		return b, ErrNilMessage
	}
	return b, err
}

// appendResult appends the answer of a call that succeeded. Its result is packed
// twice, so the packed value is moved up by the header its length asks for.
func appendResult(b []byte, id callID, v any) ([]byte, error) {
	b = head(b, ResponseResult, id)
	at := len(b)
	b, err := appendValue(b, v)
	if err != nil {
		return b, err
	}
	var header [5]byte
	h := msgp.AppendBytesHeader(header[:0], uint32(len(b)-at))
	b = append(b, h...)
	copy(b[at+len(h):], b[at:])
	copy(b[at:], h)
	b = append(b, byte(StatusSuccess))
	return msgp.AppendNil(b), nil
}

// appendFailure appends the answer of a call that failed. Texts that are not UTF-8 are mended,
// since a peer would end the connection over them.
func appendFailure(b []byte, id callID, status Status, f wireFault) []byte {
	b = msgp.AppendNil(head(b, ResponseResult, id))
	b = append(b, byte(status))
	b = msgp.AppendArrayHeader(b, 4)
	for _, text := range [...]*string{&f.message, f.causeType, f.causeText, f.trace} {
		if text == nil {
			b = msgp.AppendNil(b)
		} else {
			b = msgp.AppendString(b, mended(*text))
		}
	}
	return b
}

// wireFault is the error of an answer to be sent, with nil for what is not said.
type wireFault struct {
	message                     string
	causeType, causeText, trace *string
}
