package eventstream

import (
	"encoding/binary"
	"strconv"
)

// Version is the protocol version that clients state in the ":version" header of CONNECT. The published
// service layers accept no other.
const Version = "0.1.0"

// MessageType is the kind of an RPC message, from its ":message-type" header.
type MessageType int32

// The message types of the RPC protocol. The first two travel on streams, the others on the connection
// itself (stream 0).
const (
	MessageTypeApplicationMessage MessageType = 0
	MessageTypeApplicationError   MessageType = 1
	MessageTypePing               MessageType = 2
	MessageTypePingResponse       MessageType = 3
	MessageTypeConnect            MessageType = 4
	MessageTypeConnectAck         MessageType = 5
	MessageTypeProtocolError      MessageType = 6
	MessageTypeInternalError      MessageType = 7
)

var messageTypeNames = [...]string{
	"APPLICATION_MESSAGE", "APPLICATION_ERROR", "PING", "PING_RESPONSE",
	"CONNECT", "CONNECT_ACK", "PROTOCOL_ERROR", "INTERNAL_ERROR",
}

// String returns the type's name as the protocol's documents have it, such as "PING_RESPONSE".
func (t MessageType) String() string {
	if t >= 0 && int(t) < len(messageTypeNames) {
		return messageTypeNames[t]
	}
	return "message type " + strconv.Itoa(int(t))
}

// onStream tells the types of streams from those of the connection.
func (t MessageType) onStream() bool {
	return t == MessageTypeApplicationMessage || t == MessageTypeApplicationError
}

// onConnection tells the defined types of the connection from all others.
func (t MessageType) onConnection() bool {
	return t >= MessageTypePing && t <= MessageTypeInternalError
}

// MessageFlag is the set of flags of an RPC message, from its ":message-flags" header. Bits without
// a name are passed on and have no effect.
type MessageFlag int32

const (
	// FlagConnectionAccepted on a CONNECT_ACK means that the server takes the connection.
	FlagConnectionAccepted MessageFlag = 1
	// FlagTerminateStream on a stream's message ends the stream, in both directions.
	FlagTerminateStream MessageFlag = 2
)

// Message is one message of the RPC protocol, on a stream or on the connection.
//
// In one that was received, Headers holds all headers, the reserved ones included, in wire order
// (Headers.User leaves those out), and Payload is the receiver's to keep. In one to be sent, Headers
// holds the application's own; type, flags and stream id are added behind them.
type Message struct {
	Type    MessageType
	Flags   MessageFlag
	Headers Headers
	Payload []byte
}

// bareEnd reports whether the message says nothing but that its stream is over.
func (m *Message) bareEnd() bool {
	return m.Flags&FlagTerminateStream != 0 && m.Type == MessageTypeApplicationMessage &&
		len(m.Payload) == 0 && !m.Headers.hasUser()
}

// The reserved headers.
const (
	headerMessageType  = ":message-type"
	headerMessageFlags = ":message-flags"
	headerStreamID     = ":stream-id"
	headerOperation    = "operation"
	headerVersion      = ":version"
	headerContentType  = ":content-type"
)

const (
	reservedType = iota
	reservedFlags
	reservedStreamID
	reservedOperation
	notReserved
)

// reservedIndex finds the reserved header that name stands for. The reference compares without
// regard to ASCII case.
func reservedIndex(name string) int {
	switch {
	case len(name) == len(headerMessageType) && equalFoldASCII(name, headerMessageType):
		return reservedType
	case len(name) == len(headerMessageFlags) && equalFoldASCII(name, headerMessageFlags):
		return reservedFlags
	case len(name) == len(headerStreamID) && equalFoldASCII(name, headerStreamID):
		return reservedStreamID
	case len(name) == len(headerOperation) && equalFoldASCII(name, headerOperation):
		return reservedOperation
	}
	return notReserved
}

// equalFoldASCII compares strings of one length; strings.EqualFold would also equate letters beyond ASCII.
func equalFoldASCII(a, lower string) bool {
	if a == lower {
		return true
	}
	for i := 0; i < len(a); i++ {
		c := a[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// envelope is what the reserved headers say of a message.
type envelope struct {
	typ       MessageType
	flags     MessageFlag
	stream    int32
	operation string
}

func (e envelope) terminates() bool { return e.flags&FlagTerminateStream != 0 }

// readEnvelope looks the reserved headers up as the reference does: a wrong type makes a header as
// good as absent, of repeated ones the last counts, and looking ends once all four are found. It
// reports false if one of the three required ones is missing.
func readEnvelope(headers []Header) (e envelope, ok bool) {
	const required = 1<<reservedType | 1<<reservedFlags | 1<<reservedStreamID
	found := 0
	for i := range headers {
		h := &headers[i]
		which := reservedIndex(h.name)
		if which == notReserved || (h.typ == HeaderTypeString) != (which == reservedOperation) ||
			which != reservedOperation && h.typ != HeaderTypeInt32 {
			continue
		}
		switch which {
		case reservedType:
			e.typ = MessageType(h.num)
		case reservedFlags:
			e.flags = MessageFlag(h.num)
		case reservedStreamID:
			e.stream = int32(h.num)
		case reservedOperation:
			e.operation = h.text
		}
		found |= 1 << which
		if found == required|1<<reservedOperation {
			break
		}
	}
	return e, found&required == required
}

// envelopeLen is the encoded length of the three headers that every message has.
const envelopeLen = 3*(2+4) + len(headerMessageType) + len(headerMessageFlags) + len(headerStreamID)

// messageLen returns the length of m encoded, or why it cannot be. An operation of "" is not sent.
func messageLen(m *Message, operation string) (hlen, total int, err error) {
	extra := 3
	if operation != "" {
		extra++
	}
	hlen, err = headersLen(m.Headers, extra)
	if err != nil {
		return 0, 0, err
	}
	hlen += envelopeLen
	if operation != "" {
		if len(operation) > MaxHeaderValueLen {
			return 0, 0, headerError(ErrHeader, len(m.Headers)+3, "operation of %d bytes", len(operation))
		}
		hlen += 2 + len(headerOperation) + 2 + len(operation)
	}
	if err := checkTotal(hlen, len(m.Payload)); err != nil {
		return 0, 0, err
	}
	return hlen, MinMessageLen + hlen + len(m.Payload), nil
}

// appendMessage appends a message whose lengths messageLen has found good: the application's
// headers, then type, flags, stream id and operation.
func appendMessage(dst []byte, m *Message, stream int32, operation string, hlen int) []byte {
	dst, start := beginFrame(dst, hlen, len(m.Payload))
	for i := range m.Headers {
		dst = appendHeader(dst, &m.Headers[i])
	}
	dst = appendInt32(dst, headerMessageType, int32(m.Type))
	dst = appendInt32(dst, headerMessageFlags, int32(m.Flags))
	dst = appendInt32(dst, headerStreamID, stream)
	if operation != "" {
		h := String(headerOperation, operation)
		dst = appendHeader(dst, &h)
	}
	return endFrame(dst, start, hlen, m.Payload)
}

func appendInt32(dst []byte, name string, v int32) []byte {
	dst = append(dst, byte(len(name)))
	dst = append(dst, name...)
	dst = append(dst, byte(HeaderTypeInt32))
	return binary.BigEndian.AppendUint32(dst, uint32(v))
}
