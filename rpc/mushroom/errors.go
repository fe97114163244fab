package mushroom

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Conditions of a message or a call. All can be tested with errors.Is.
var (
	// ErrBadMessage is under every error about a message that is not one.
	ErrBadMessage = errors.New("mushroom: bad message")
	// ErrTooLarge is under the error of a message over Limits.MaxMessage. If it was to be sent, nothing
	// was; if it was received, the error is also ErrBadMessage.
	ErrTooLarge = errors.New("mushroom: message too large")
	// ErrMethodNotFound is under every MethodNotFoundError.
	ErrMethodNotFound = errors.New("mushroom: method not found")
	// ErrRequestTimeout is returned by Request when the session's request timeout passed first. When the
	// caller's context ended first, its own error is returned.
	ErrRequestTimeout = errors.New("mushroom: request timed out")
	// ErrTooManyRequests is returned by Request when Limits.MaxPending requests wait for their answer.
	ErrTooManyRequests = errors.New("mushroom: too many requests wait for their answer")
)

// Ends of a session. The error of an ended session is one of these under ErrSessionEnded, or
// ErrSessionEnded over what the transport said.
var (
	// ErrSessionEnded is under every error that says that the session is over.
	ErrSessionEnded = errors.New("mushroom: session ended")
	// ErrClosed means that this end closed the session.
	ErrClosed = errors.New("closed by this end")
	// ErrDisconnected means that the peer ended the session, or that its connection broke.
	ErrDisconnected = errors.New("disconnected by the peer")
	// ErrUnacknowledged means that the peer left more unacknowledged than the limits allow.
	ErrUnacknowledged = errors.New("too much is not acknowledged by the peer")
	// ErrExpired means that the client stayed away too long, or that the server does not know the session.
	ErrExpired = errors.New("session expired")
)

// Ends of a Dial.
var (
	// ErrUnauthorized means that the server did not accept DialOptions.Auth. An Authenticate function
	// may return it, or any other error.
	ErrUnauthorized = errors.New("mushroom: authentication failed")
	// ErrNoTransport means that client and server have no transport in common.
	ErrNoTransport = errors.New("mushroom: no suitable transport found")
)

// internalError is what a caller is told about errors that are not meant for it.
const internalError = "Internal server error"

// RPCError is an error that a handler returns to have its data sent to the caller, who gets a
// RequestError.
type RPCError struct {
	Data any // any value that can be written as JSON
}

func (e *RPCError) Error() string { return fmt.Sprintf("mushroom: %v", e.Data) }

// RequestError is the error of a request that the other end answered with an Error. A handler that
// returns it passes its data on.
type RequestError struct {
	Method string
	Data   json.RawMessage
}

func (e *RequestError) Error() string {
	return fmt.Sprintf("mushroom: request %q failed: %s", e.Method, e.Data)
}

// MethodNotFoundError is returned by a Dispatcher that has no such method. Its name goes to the caller
// as the error's data.
type MethodNotFoundError struct {
	Name string
}

func (e *MethodNotFoundError) Error() string {
	return fmt.Sprintf("mushroom: method %q not found", e.Name)
}

// Is makes errors.Is(err, ErrMethodNotFound) true.
func (e *MethodNotFoundError) Is(target error) bool { return target == ErrMethodNotFound }

// StatusError is under the error of an HTTP exchange that was answered with a status that means
// neither success nor one of the conditions above.
type StatusError struct {
	Status int
}

func (e *StatusError) Error() string { return fmt.Sprintf("mushroom: HTTP status %d", e.Status) }

// ended makes the error that all users of an ended session see.
func ended(reason error) error {
	if errors.Is(reason, ErrSessionEnded) {
		return reason
	}
	return fmt.Errorf("%w: %w", ErrSessionEnded, reason)
}

func badMessage(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBadMessage, fmt.Sprintf(format, args...))
}

// tooLarge is about a message that was received.
func tooLarge(format string, args ...any) error {
	return fmt.Errorf("%w: %w: %s", ErrBadMessage, ErrTooLarge, fmt.Sprintf(format, args...))
}

// errorData is what is sent to the caller of a handler that failed with err.
func errorData(err error) any {
	var rpc *RPCError
	var request *RequestError
	var notFound *MethodNotFoundError
	switch {
	case errors.As(err, &rpc):
		return rpc.Data
	case errors.As(err, &request):
		return request.Data
	case errors.As(err, &notFound):
		return notFound.Name
	}
	return internalError
}
