package pconn

import (
	"errors"
	"fmt"
	"net"

	"github.com/packetstream/packetstream/packet/frame"
)

// ErrStreamRefused says that the peer did not accept a stream: nobody takes streams of that name, too many
// wait to be accepted, or it goes away. A *StreamError of such a refusal matches it, and has the reason.
var ErrStreamRefused = errors.New("pconn: stream refused")

// StreamError says that a stream, or one direction of it, was ended by force.
type StreamError struct {
	Stream uint64 // its number
	Name   string
	Remote bool   // the peer did it
	Code   uint64 // of Reset, or the application's of the peer
	Text   string // the peer's
	// Stopped says that the peer's reader takes no more, while the other direction goes on.
	Stopped bool
	// Refused says that the stream was never accepted.
	Refused bool
}

func (e *StreamError) Error() string {
	who, what := "by this end", "reset"
	if e.Remote {
		who = "by the peer"
	}
	switch {
	case e.Refused:
		what = "refused"
	case e.Stopped:
		what = "no longer read"
	}
	s := fmt.Sprintf("pconn: stream %d %q %s %s", e.Stream, e.Name, what, who)
	if e.Code != 0 {
		s += fmt.Sprintf(", code %d", e.Code)
	}
	if e.Text != "" {
		s += ": " + quoteText([]byte(e.Text))
	}
	return s
}

// Is makes a refusal match ErrStreamRefused, and what this end has done net.ErrClosed.
func (e *StreamError) Is(target error) bool {
	return target == ErrStreamRefused && e.Refused || target == net.ErrClosed && !e.Remote
}

// remoteError is what the peer's RESET or STOP says.
func (s *Stream) remoteError(f *frame.Reset, stopped bool) *StreamError {
	return &StreamError{
		Stream: s.id, Name: s.name, Remote: true, Code: f.Code, Text: f.Text, Stopped: stopped,
		Refused: f.Reason == frame.ReasonRefused || f.Reason == frame.ReasonGoingAway,
	}
}

// violation is the error of a frame about a stream that the peer may not send. It ends the connection.
func violation(format string, args ...any) *ProtocolError {
	return &ProtocolError{Reason: fmt.Sprintf(format, args...)}
}
