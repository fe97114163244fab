package prpc

import "fmt"

// Carrier moves whole messages between two ends, in order and without loss.
// Dial and Server make carriers of WebSockets and NewByteStream makes one of a
// byte stream; anything else that carries messages can implement it.
//
// A connection calls Receive from one goroutine and Send from one other. Close
// may come at any time, from a third.
type Carrier interface {
	// Receive waits for the next message; the bytes belong to the caller. It
	// returns a *CloseError when the peer closed with a code, ErrTextMessage for a
	// message that is text, an error wrapping ErrTooLarge for one beyond the carrier's limit,
	// and any other error when the carrier is lost or closed.
	Receive() ([]byte, error)
	// Send writes messages in order, in as few writes as the carrier can. It
	// keeps nothing of them after it returned.
	Send(messages [][]byte) error
	// Close tells the peer the code, if it can, and frees the carrier. It
	// makes Receive and Send return, and takes a bounded time. Later calls do nothing.
	Close(code CloseCode) error
}

// CloseCode says why an end closes. The numbers are those of WebSocket close frames.
type CloseCode uint16

// The close codes in use.
const (
	CloseNormal   CloseCode = 1000 // Close was called
	CloseProtocol CloseCode = 1002 // anything went wrong
	CloseTooLarge CloseCode = 1009 // a message was too large
)

// CloseError says that the peer closed the connection, and the code it gave.
type CloseError struct {
	Code   CloseCode
	Reason string
}

// Error says what the peer said.
func (e *CloseError) Error() string {
	text := fmt.Sprintf("prpc: peer closed with code %d", e.Code)
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}
