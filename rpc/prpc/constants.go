package prpc

import "strconv"

// Version is the protocol version both ends name in the handshake.
const Version = 1

// Subprotocol is the WebSocket subprotocol a client offers and a server selects.
// Neither end insists on it.
const Subprotocol = "v1.prpc.datadvance"

// MessageType is the first field of every message.
type MessageType uint8

// The message types, with the numbers that travel.
const (
	RequestHandshake      MessageType = 1
	RequestCallStart      MessageType = 2
	RequestCallCancel     MessageType = 3
	RequestStreamMessage  MessageType = 4
	RequestStreamClose    MessageType = 5
	ResponseHandshake     MessageType = 6
	ResponseResult        MessageType = 7
	ResponseStreamMessage MessageType = 8
	ResponseStreamClose   MessageType = 9
)

// String returns the name the protocol gives to the message type.
func (t MessageType) String() string {
	return name(messageTypeNames[:], int(t), "MessageType")
}

var messageTypeNames = [...]string{
	RequestHandshake:      "REQUEST_HANDSHAKE",
	RequestCallStart:      "REQUEST_CALL_START",
	RequestCallCancel:     "REQUEST_CALL_CANCEL",
	RequestStreamMessage:  "REQUEST_STREAM_MESSAGE",
	RequestStreamClose:    "REQUEST_STREAM_CLOSE",
	ResponseHandshake:     "RESPONSE_HANDSHAKE",
	ResponseResult:        "RESPONSE_RESULT",
	ResponseStreamMessage: "RESPONSE_STREAM_MESSAGE",
	ResponseStreamClose:   "RESPONSE_STREAM_CLOSE",
}

// CallType says which streams a call has, seen from its caller.
type CallType uint8

// The call types, with the numbers that travel. Handshake is numbered with them
// and never travels: the handshake has messages of its own.
const (
	Handshake CallType = 10
	Unary     CallType = 20 // no stream
	IStream   CallType = 30 // the callee sends
	OStream   CallType = 40 // the caller sends
	BiStream  CallType = 50 // both send
)

// String returns the name the protocol gives to the call type.
func (t CallType) String() string {
	return name(callTypeNames[:], int(t), "CallType")
}

var callTypeNames = [...]string{
	Handshake: "HANDSHAKE", Unary: "UNARY", IStream: "ISTREAM", OStream: "OSTREAM", BiStream: "BISTREAM",
}

// callable reports whether a call of this type can be started.
func (t CallType) callable() bool {
	return t == Unary || t == IStream || t == OStream || t == BiStream
}

// mode returns what one end may do with the stream of a call of this type.
func (t CallType) mode(caller bool) StreamMode {
	switch {
	case t == BiStream:
		return StreamRead | StreamWrite
	case t == IStream && caller, t == OStream && !caller:
		return StreamRead
	case t == IStream, t == OStream:
		return StreamWrite
	default:
		return 0
	}
}

// Status is how a call ended, as its callee says.
type Status int

// The statuses, with the numbers that travel. StatusUnknown stands for whatever
// else a peer sends.
const (
	StatusSuccess        Status = 0
	StatusMethodError    Status = 10
	StatusMethodNotFound Status = 20
	StatusServerError    Status = 30
	StatusUnknown        Status = -1
)

// String returns the name the protocol gives to the status.
func (s Status) String() string {
	if s == StatusUnknown {
		return "UNKNOWN"
	}
	return name(statusNames[:], int(s), "Status")
}

var statusNames = [...]string{
	StatusSuccess:        "SUCCESS",
	StatusMethodError:    "METHOD_ERROR",
	StatusMethodNotFound: "METHOD_NOT_FOUND",
	StatusServerError:    "SERVER_ERROR",
}

// ConnMode is the part an end takes in the handshake.
type ConnMode uint8

// The connection modes.
const (
	ModeNew    ConnMode = 0
	ModeClient ConnMode = 10
	ModeServer ConnMode = 20
)

// String returns the name the protocol gives to the mode.
func (m ConnMode) String() string {
	return name(connModeNames[:], int(m), "ConnMode")
}

var connModeNames = [...]string{ModeNew: "NEW", ModeClient: "CLIENT", ModeServer: "SERVER"}

// name looks a number up in a table of names and writes the number where the
// table has none.
func name(names []string, number int, kind string) string {
	if number >= 0 && number < len(names) && names[number] != "" {
		return names[number]
	}
	return kind + "(" + strconv.Itoa(number) + ")"
}
