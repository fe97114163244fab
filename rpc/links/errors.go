package links

import (
	"errors"
	"fmt"
)

// What an [End], an [Operation] or a [Conn] may answer. Test with errors.Is.
var (
	// ErrNotStarted is returned by Operate before Start.
	ErrNotStarted = errors.New("links: the end was not started")
	// ErrStarted is returned by a second Start.
	ErrStarted = errors.New("links: the end was started already")
	// ErrStopped is returned by Operate once the end is stopping.
	ErrStopped = errors.New("links: the end is stopped")
	// ErrMisuse is wrapped by what a breach of the rules of an operation returns; the breach has ended the operation.
	ErrMisuse = errors.New("links: rule of an operation broken")
	// ErrClosed is the end of a connection that was closed at this side.
	ErrClosed = errors.New("links: connection closed")
	// ErrPeerGone is wrapped by the end of a connection whose byte stream ended.
	ErrPeerGone = errors.New("links: peer is gone")
	// ErrProtocol is wrapped by the end of a connection whose peer broke the frame format or its rules; errors.As finds a *ProtocolError.
	ErrProtocol = errors.New("links: protocol error")
)

// ProtocolError is a frame that cannot be: it ends the connection.
type ProtocolError struct {
	// Detail says what is wrong.
	Detail string
	// Seen is the beginning of what was read where that helps to find whose bytes they are.
	Seen []byte
}

func (e *ProtocolError) Error() string {
	if len(e.Seen) > 0 {
		return fmt.Sprintf("links: protocol error: %s, got %q", e.Detail, e.Seen)
	}
	return "links: protocol error: " + e.Detail
}

// Is makes every ProtocolError an ErrProtocol.
func (e *ProtocolError) Is(target error) bool { return target == ErrProtocol }

// OutcomeError is what a call on an operation returns when the operation has ended in another way than by completion.
type OutcomeError struct{ Outcome Outcome }

func (e *OutcomeError) Error() string { return "links: operation ended: " + e.Outcome.String() }

// PayloadTooLargeError is a message above what this side takes for the operation.
type PayloadTooLargeError struct {
	// Size is what the sender stated, in bytes.
	Size int
}

func (e *PayloadTooLargeError) Error() string {
	return fmt.Sprintf("links: payload of %d bytes is larger than allowed", e.Size)
}

// NoSuchMethodError is what a [Servicer] returns for a group or method it does not have: the invoker is given Code and Message.
type NoSuchMethodError struct {
	Code    uint32
	Message string
}

func (e *NoSuchMethodError) Error() string {
	return fmt.Sprintf("links: no such method (code %d): %s", e.Code, e.Message)
}

func misuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMisuse, fmt.Sprintf(format, args...))
}
