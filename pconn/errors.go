package pconn

import (
	"context"
	"errors"
	"fmt"

	"github.com/packetstream/packetstream/packet/frame"
)

// Errors that end a connection, or come because it has ended. The end of a connection is one value
// for everybody who waits on it.
var (
	// ErrClosed says that this end closed the connection, by Close or Shutdown.
	ErrClosed = errors.New("pconn: connection closed")

	// ErrPeerClosed says that the peer ended the connection in good order: by an EOF packet, or by
	// the end of its stream between two packets.
	ErrPeerClosed = errors.New("pconn: connection closed by the peer")

	// ErrPeerGone says that the peer no longer takes what is sent. It wraps the system's error. The
	// connection ends with it after a second, in which answers that were on their way are still read,
	// or with what ends receiving before: calls made meanwhile wait for that too.
	ErrPeerGone = errors.New("pconn: peer no longer reads")
)

// Errors of a single call.
var (
	// ErrUnknownChannel says that the peer serves no such channel. A *RemoteError of such a
	// rejection matches it. It does not match that of a peer without a handler for channel 0, which
	// rejects what comes on any unknown channel as "no request handler", as the reference does.
	ErrUnknownChannel = errors.New("pconn: unknown channel")

	// ErrDraining says that Shutdown was called, after which only handlers may make new requests.
	ErrDraining = errors.New("pconn: connection is shutting down")

	// ErrFlags says that flags do not fit: 62 bits in a request, 61 in a response.
	ErrFlags = errors.New("pconn: flags do not fit beside the packet's own bits")

	// ErrType says that a request type does not fit, 2^64-1 being one too many.
	ErrType = errors.New("pconn: request type does not fit")

	// ErrReservedChannel says that a channel number cannot be taken by users.
	ErrReservedChannel = errors.New("pconn: reserved channel")

	// ErrChannelInUse says that the channel is declared already.
	ErrChannelInUse = errors.New("pconn: channel in use")

	// ErrCancelled is the outcome of a Result after its Cancel.
	ErrCancelled = errors.New("pconn: result cancelled")
)

// RemoteError is a response that says "not ok": the peer rejected the request, or its handler
// failed.
type RemoteError struct {
	Channel uint64 // of the request
	Type    uint64 // of the request
	Flags   uint64 // of the response
	Payload []byte // of the response, the peer's text as a rule

	// What only a peer tells that has the extensions.
	Code    uint64   // the application's, by NewError
	Details Metadata // of the application, by NewError
	Reason  Reason   // why it is not the handler's error, if that is known
}

// Text returns the payload as text.
func (e *RemoteError) Text() string { return string(e.Payload) }

// Reason says of a RemoteError why it is not the handler who said so.
type Reason uint64

const (
	// ReasonNone is that of the handler, and of all errors of peers without extensions.
	ReasonNone Reason = Reason(frame.ReasonNone)
	// ReasonRefused says that no handler has seen the request and none will.
	ReasonRefused Reason = Reason(frame.ReasonRefused)
	// ReasonGoingAway says the same, since the peer takes no new requests: see GoAway.
	ReasonGoingAway Reason = Reason(frame.ReasonGoingAway)
	// ReasonDeadline says that the handler ended with the deadline that came with the request.
	ReasonDeadline Reason = Reason(frame.ReasonDeadline)
)

func (e *RemoteError) Error() string {
	code := ""
	if e.Code != 0 {
		code = fmt.Sprintf(" with code %d", e.Code)
	}
	return fmt.Sprintf("pconn: request type %d rejected%s: %s", e.Type, code, quoteText(e.Payload))
}

// Is makes a rejection for its channel match ErrUnknownChannel, one for its reason ErrGoingAway or
// context.DeadlineExceeded.
func (e *RemoteError) Is(target error) bool {
	switch target {
	case ErrUnknownChannel:
		return isUnknownChannel(e.Channel, e.Payload)
	case ErrGoingAway:
		return e.Reason == ReasonGoingAway
	case context.DeadlineExceeded:
		return e.Reason == ReasonDeadline
	}
	return false
}

// LimitError says that something exceeds a limit. On a call it concerns that call alone; as the end
// of a connection it names the limit that the peer went past.
type LimitError struct {
	What  string // what was counted, with its unit
	Value int64
	Max   int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("pconn: %s: %d is over the limit of %d", e.What, e.Value, e.Max)
}

// ProtocolError says that what the peer sent is not what a packet connection sends. It ends the
// connection.
type ProtocolError struct {
	// Offset is the place in the received stream, in bytes since this connection began.
	Offset int64
	// Reason says what is wrong.
	Reason string
	// Quote holds the first of the bytes in question, for people to recognise.
	Quote []byte
	// Err is the cause, or nil: a *packet.FormatError, io.ErrUnexpectedEOF, ErrClosed.
	Err error
}

func (e *ProtocolError) Error() string {
	s := fmt.Sprintf("pconn: at byte %d: %s", e.Offset, e.Reason)
	if len(e.Quote) > 0 {
		s += fmt.Sprintf(", it begins %s", quoteText(e.Quote))
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns Err.
func (e *ProtocolError) Unwrap() error { return e.Err }

// StayError is what Close and Wait return when handlers did not end although their contexts were
// cancelled.
type StayError struct {
	// Handlers are the requests still at work.
	Handlers []InFlight
}

func (e *StayError) Error() string {
	s := fmt.Sprintf("pconn: %d handlers still at work after close:", len(e.Handlers))
	for i, h := range e.Handlers {
		if i == 8 {
			return s + " ..."
		}
		s += fmt.Sprintf(" type %d (tag %d, %v)", h.Type, h.Tag, h.Age)
	}
	return s
}

// handlerError is what Errorf makes: its text may be shown to the peer.
type handlerError struct {
	err     error
	code    uint64
	details Metadata
}

func (e *handlerError) Error() string { return e.err.Error() }
func (e *handlerError) Unwrap() error { return e.err }

// Errorf makes an error, as fmt.Errorf does, whose text a handler wants the peer to see: the response
// is "not ok" and carries the text, at most 1 KiB of it. Any other error that a handler returns is
// told to the peer as "exception during handler" and nothing else.
func Errorf(format string, args ...any) error {
	return &handlerError{err: fmt.Errorf(format, args...)}
}

// NewError makes an error that a handler wants the peer to see, as Errorf does, with a code and details of the
// application's, which peers that have the extensions get in a *RemoteError. As the cause of a caller's
// context it tells a handler its code, in a *CancelError.
func NewError(code uint64, text string, details ...Field) error {
	return &handlerError{err: errors.New(text), code: code, details: details}
}

// PanicError is what a panic in a handler is reported as, to Options.OnHandlerError and the logger.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("pconn: panic in handler: %v", e.Value) }

// Unwrap returns the panic's value if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// quoteText shows bytes of the peer in an error: quoted, and bounded.
func quoteText(b []byte) string {
	if len(b) > maxQuote {
		return fmt.Sprintf("%q... (%d bytes)", b[:maxQuote], len(b))
	}
	return fmt.Sprintf("%q", b)
}

// tooLarge is the error of one packet whose payload is over the maximum.
func tooLarge(what string, size, max int64) error {
	return &LimitError{What: what + " payload, bytes", Value: size, Max: max}
}
