package eventstream

import (
	"errors"
	"fmt"
	"strconv"
)

// What can be wrong with an encoded message. ParseFrame and Decoder.Decode find them in this order and
// return them inside a *FrameError.
var (
	// ErrTruncated means that the bytes end before the message does.
	ErrTruncated = errors.New("message ends early")
	// ErrTooLarge means a total length above the limit, on reading and on encoding.
	ErrTooLarge = errors.New("message is larger than the limit")
	// ErrLength means a total length below MinMessageLen.
	ErrLength = errors.New("total length is below the smallest message")
	// ErrPreludeChecksum means that the prelude's checksum is wrong.
	ErrPreludeChecksum = errors.New("prelude checksum does not match")
	// ErrMessageChecksum means that the message's checksum is wrong.
	ErrMessageChecksum = errors.New("message checksum does not match")
	// ErrHeadersLength means a headers length that does not fit in the message.
	ErrHeadersLength = errors.New("headers length does not fit in the message")
	// ErrHeader means a header that does not fit in the headers, or on encoding in its own length
	// field, or a value longer than MaxHeaderValueLen.
	ErrHeader = errors.New("malformed header")
	// ErrHeaderType means a header of a type that the format does not define.
	ErrHeaderType = errors.New("undefined header type")
	// ErrTooManyHeaders means more than MaxHeaders headers.
	ErrTooManyHeaders = errors.New("too many headers")
)

// FrameError says what is wrong with an encoded message or with one to be encoded. errors.Is finds the
// condition in it.
type FrameError struct {
	Err        error  // one of the conditions above
	Total      uint32 // the total length that the message states, if it was read
	HeadersLen uint32 // the headers length that the message states, if it was read
	Header     int    // index of the offending header, or -1
	detail     string
}

// Error describes the condition and where it was met.
func (e *FrameError) Error() string {
	s := "eventstream: " + e.Err.Error()
	if e.Header >= 0 {
		s += ": header " + strconv.Itoa(e.Header)
	}
	if e.detail != "" {
		s += ": " + e.detail
	}
	return s
}

// Unwrap returns the condition.
func (e *FrameError) Unwrap() error { return e.Err }

func headerError(condition error, index int, format string, args ...any) *FrameError {
	return &FrameError{Err: condition, Header: index, detail: fmt.Sprintf(format, args...)}
}

// How a connection ends and what a call in a wrong state meets.
var (
	// ErrClosed means that the connection was closed at this end, or that a call came after its end.
	ErrClosed = errors.New("eventstream: connection closed")
	// ErrPeerClosed means that the peer closed or lost the connection.
	ErrPeerClosed = errors.New("eventstream: connection closed by the peer")
	// ErrProtocol means that a message broke the rules of the RPC protocol. The error that carries it
	// is a *ViolationError.
	ErrProtocol = errors.New("eventstream: RPC protocol error")
	// ErrHandshake means a call that has to wait until CONNECT was sent and CONNECT_ACK received, or
	// a handshake message out of turn. The connection lives on.
	ErrHandshake = errors.New("eventstream: not allowed at this point of the handshake")
	// ErrHandshakeTimeout means that the handshake was not finished in time.
	ErrHandshakeTimeout = errors.New("eventstream: handshake not finished in time")
	// ErrMessageType means a message of a type that cannot be sent there: streams take application
	// messages and errors, connections the rest. The connection lives on.
	ErrMessageType = errors.New("eventstream: message type not allowed here")
	// ErrOperation means that a stream cannot be opened without the name of an operation.
	ErrOperation = errors.New("eventstream: operation is empty")
	// ErrActivated means that a continuation was activated before.
	ErrActivated = errors.New("eventstream: stream already activated")
	// ErrNotActivated means a message on a continuation that was not activated.
	ErrNotActivated = errors.New("eventstream: stream not activated")
	// ErrStreamClosed means a message on a stream that either end has terminated.
	ErrStreamClosed = errors.New("eventstream: stream closed")
	// ErrStreamIDs means that a connection has used up all stream ids.
	ErrStreamIDs = errors.New("eventstream: no stream ids left on this connection")
	// ErrQueueFull means that a message was not accepted because too many wait to be written. As the
	// end of a connection it means that the peer asked for answers and did not read them.
	ErrQueueFull = errors.New("eventstream: send queue is full")
	// ErrWriteTimeout means that the peer did not take what was written to it.
	ErrWriteTimeout = errors.New("eventstream: peer does not read")
	// ErrServerClosed is what Serve returns once the server was shut down or closed.
	ErrServerClosed = errors.New("eventstream: server closed")
	// ErrRefuseStream is what a Handler returns to refuse a stream the way the reference does: the
	// client gets an INTERNAL_ERROR and the connection ends. An *ApplicationError is kinder.
	ErrRefuseStream = errors.New("eventstream: stream refused")
)

// ViolationError is the end of a connection whose peer broke the rules of the RPC protocol.
type ViolationError struct {
	Reason string // what was broken, such as "stream id gap"
	// Err is what was wrong with the message itself, if it had a malformed header.
	Err error
}

// Error says which rule was broken.
func (e *ViolationError) Error() string {
	s := ErrProtocol.Error() + ": " + e.Reason
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns ErrProtocol and the malformed header, if there was one.
func (e *ViolationError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrProtocol}
	}
	return []error{ErrProtocol, e.Err}
}

// PeerError is the end of a connection that the peer closed after it had sent a PROTOCOL_ERROR or an
// INTERNAL_ERROR. It unwraps to ErrPeerClosed.
type PeerError struct {
	Message *Message
}

// Error gives the type and the text of the peer's message.
func (e *PeerError) Error() string {
	return fmt.Sprintf("%v after %v: %.200q", ErrPeerClosed, e.Message.Type, e.Message.Payload)
}

// Unwrap returns ErrPeerClosed.
func (e *PeerError) Unwrap() error { return ErrPeerClosed }

// RejectedError means that the server answered CONNECT with an ack that does not accept.
type RejectedError struct {
	Message *Message // the CONNECT_ACK
}

// Error gives the payload of the rejecting ack.
func (e *RejectedError) Error() string {
	return fmt.Sprintf("eventstream: connection rejected: %.200q", e.Message.Payload)
}

// ApplicationError is an APPLICATION_ERROR: what Call and Stream.Recv return when the server sent
// one, and what a server's Handler returns to send one.
type ApplicationError struct {
	Headers Headers
	Payload []byte
}

// Error gives the "error-code" header, if there is one, and the payload.
func (e *ApplicationError) Error() string {
	if code := e.Headers.Text(headerErrorCode); code != "" {
		return fmt.Sprintf("eventstream: application error %s: %.200q", code, e.Payload)
	}
	return fmt.Sprintf("eventstream: application error: %.200q", e.Payload)
}

// headerErrorCode names the failure in the application errors that the server makes by itself.
const headerErrorCode = "error-code"
