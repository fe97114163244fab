package prpc

import (
	"errors"
	"fmt"
	"strings"
)

// Conditions to be tested with errors.Is.
var (
	// ErrClosed: the connection is closed, or was closed while the call ran. The error
	// that wraps it says why.
	ErrClosed = errors.New("prpc: connection closed")
	// ErrHandshakeTimeout: the peer did not complete the handshake in time.
	ErrHandshakeTimeout = errors.New("prpc: handshake timed out")
	// ErrRejected: our own Options.OnConnect refused the peer.
	ErrRejected = errors.New("prpc: connection rejected by OnConnect")
	// ErrCancelled: the call was cancelled, by Call.Cancel or by its caller.
	ErrCancelled = errors.New("prpc: call cancelled")
	// ErrStreamOverflow: a stream's unread messages passed their limits.
	ErrStreamOverflow = errors.New("prpc: stream buffer is full")
	// ErrSendOverflow: the peer does not read what the receiver has to answer.
	ErrSendOverflow = errors.New("prpc: send queue is full")
	// ErrTooLarge: a message is larger than Limits.MessageBytes.
	ErrTooLarge = errors.New("prpc: message too large")
	// ErrTextMessage: a carrier received text where the protocol has only binary messages.
	ErrTextMessage = errors.New("prpc: text message")

	// ErrStreamClosed: a message was sent on a stream that is not open.
	ErrStreamClosed error = &causeError{"prpc: stream is not open", "InvalidStreamState"}
	// ErrStreamMode: the stream does not go in that direction.
	ErrStreamMode error = &causeError{"prpc: stream does not go in this direction", "InvalidStreamMode"}
	// ErrNoStream: a unary call has no stream.
	ErrNoStream error = &causeError{"prpc: call has no stream", "TypeError"}
	// ErrNilMessage: nil cannot be sent on a stream; the original takes it as an end.
	ErrNilMessage error = &causeError{"prpc: nil cannot be sent on a stream", "TypeError"}

	// ErrMethodNotFound is what a Locator returns for a name it does not have, and what
	// a RemoteError with StatusMethodNotFound is.
	ErrMethodNotFound = errors.New("prpc: method not found")
	// ErrNotCallable is what a Locator returns for a name that stands for
	// something else than a method; the caller gets StatusServerError.
	ErrNotCallable = errors.New("prpc: method is not callable")
)

// causeError is an error with a fixed cause type, see Fault.
type causeError struct{ text, cause string }

func (e *causeError) Error() string     { return e.text }
func (e *causeError) CauseType() string { return e.cause }

// RemoteError is the failure a peer answered a call with.
type RemoteError struct {
	Method    string // the method that was called
	Status    Status // StatusUnknown for a number the protocol does not have
	Message   string // what the peer says about the failure
	CauseType string // the class or type of the error behind it, "" if not said
	CauseText string // the text of the error behind it
	Trace     string // the peer's stack or chain of errors, "" if it does not serve traces
}

// noMessage stands for a message the peer left out.
const noMessage = "<no error message>"

// Error says which method failed and what the peer said.
func (e *RemoteError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "prpc: %s: %s", strings.ToLower(e.Status.String()), e.Message)
	if e.CauseType != "" {
		fmt.Fprintf(&b, " (%s)", e.CauseType)
	}
	return b.String()
}

// Is reports whether target is ErrMethodNotFound and this is that status.
func (e *RemoteError) Is(target error) bool {
	return target == ErrMethodNotFound && e.Status == StatusMethodNotFound
}

// Fault is an error a method returns to choose what its caller is told. Without
// it the cause type is the Go type of the error, and the cause text what the error says. An
// error with a method CauseType() string chooses its type only.
type Fault struct {
	Type string // cause type, such as a Python exception class
	Text string // cause text
}

// Error returns the text of the fault.
func (e *Fault) Error() string { return e.Text }

// CauseType returns the type of the fault.
func (e *Fault) CauseType() string { return e.Type }

// ArgumentError says why a call's arguments do not fit the method. The caller
// gets StatusMethodError with the cause type TypeError.
type ArgumentError struct {
	Method string
	Reason string
}

// Error says which method refused what.
func (e *ArgumentError) Error() string { return e.Method + "(): " + e.Reason }

// CauseType returns what Python calls this error.
func (e *ArgumentError) CauseType() string { return "TypeError" }

// EncodeError says that a Go value has no msgpack form. Nothing was sent; call
// and connection go on.
type EncodeError struct {
	Type   string // the Go type
	Reason string // "" for a type that cannot be encoded at all
}

// Error says which type could not be encoded.
func (e *EncodeError) Error() string {
	if e.Reason != "" {
		return e.Reason
	}
	return fmt.Sprintf("can not serialize '%s' object", e.Type)
}

// CauseType returns what Python calls this error.
func (e *EncodeError) CauseType() string { return "TypeError" }

// DecodeError says that a received value does not fit the Go type it was wanted
// in. The call or stream goes on.
type DecodeError struct {
	Want string // the Go type
	Got  string // what came
	Path string // where in the value, such as ".items[2]"; "" for the whole of it
}

// Error says what was wanted and what came.
func (e *DecodeError) Error() string {
	at := ""
	if e.Path != "" {
		at = " at " + e.Path
	}
	return fmt.Sprintf("cannot take %s as %s%s", e.Got, e.Want, at)
}

// CauseType returns what Python calls this error.
func (e *DecodeError) CauseType() string { return "TypeError" }

// Violation is a way to break the protocol.
type Violation uint8

// The violations that end a connection with close code 1002, or 1009 for the first.
const (
	TooLarge     Violation = iota + 1 // a message beyond Limits.MessageBytes
	TextMessage                       // a text message
	Malformed                         // bytes that are not one msgpack value
	TooDeep                           // nesting beyond Limits.Depth
	TooMany                           // more elements than Limits.Elements
	NotArray                          // a message that is not an array, or an empty one
	UnknownType                       // a message type that is not known
	BadArity                          // a wrong number of fields
	BadCallType                       // a call type that cannot be called
	BadID                             // an id that cannot be a key
	IDInUse                           // the id of a call that still runs
	NoSuchPath                        // a stream message for a side that has no stream, or does not read it
	BadVersion                        // a handshake of another protocol version
	BadResult                         // a success whose result is not a packed value
	BadHandshake                      // a handshake answer for another id
	BadFrame                          // a WebSocket frame that the peer must not send
)

var violationNames = [...]string{
	TooLarge: "message too large", TextMessage: "text message", Malformed: "malformed msgpack",
	TooDeep: "nested too deeply", TooMany: "too many elements", NotArray: "message is not an array",
	UnknownType: "unknown message type", BadArity: "wrong number of fields", BadCallType: "unknown call type",
	BadID: "unusable call id", IDInUse: "call id in use", NoSuchPath: "stream message without a stream to read it",
	BadVersion: "incompatible protocol version", BadResult: "result is not a packed value",
	BadHandshake: "handshake answer with an unknown id", BadFrame: "forbidden WebSocket frame",
}

// String describes the violation.
func (v Violation) String() string { return name(violationNames[:], int(v), "Violation") }

// ProtocolError says how the peer broke the protocol. It ended the connection.
type ProtocolError struct {
	Violation Violation
	Detail    string // what was seen, "" where the violation says it all
}

// Error describes the violation and its detail.
func (e *ProtocolError) Error() string {
	if e.Detail == "" {
		return "prpc: protocol error: " + e.Violation.String()
	}
	return "prpc: protocol error: " + e.Violation.String() + ": " + e.Detail
}

func violation(v Violation, format string, args ...any) error {
	return &ProtocolError{Violation: v, Detail: fmt.Sprintf(format, args...)}
}

// closedError is the end of a connection: ErrClosed and what led to it. Every
// waiter gets the same value.
type closedError struct{ cause error }

func (e *closedError) Error() string {
	if e.cause == nil {
		return ErrClosed.Error()
	}
	return ErrClosed.Error() + ": " + strings.TrimPrefix(e.cause.Error(), "prpc: ")
}

func (e *closedError) Is(target error) bool { return target == ErrClosed }
func (e *closedError) Unwrap() error        { return e.cause }
