package eventstream

import (
	"errors"
	"io"
	"time"
)

// ending is how a connection ends, at either end of it. Guarded by the connection's mu.
type ending struct {
	peerError *Message // the last PROTOCOL_ERROR or INTERNAL_ERROR
	ended     bool
	reason    error       // nil for the application's own wish
	backstop  *time.Timer // closes the transport if it cannot be written to
}

// begin notes the end and its reason, and reports whether it is the first, and whether the peer may still be written
// to: so it is if the application wishes the end or the peer is to be told why. The backstop then runs.
func (e *ending) begin(reason error, last *Message, closeTransport func()) (first, polite bool) {
	if e.ended {
		return false, false
	}
	e.ended, e.reason = true, reason
	polite = reason == nil || last != nil
	if polite {
		e.backstop = time.AfterFunc(drainTimeout, closeTransport)
	}
	return true, polite
}

// stopBackstop is called once everything is written.
func (e *ending) stopBackstop() {
	if e.backstop != nil {
		e.backstop.Stop()
	}
}

// lostReason says why a connection ended whose transport failed with err.
func (e *ending) lostReason(err error) error {
	var frame *FrameError
	switch {
	case errors.As(err, &frame) && !errors.Is(err, ErrTruncated):
		return err
	case e.peerError != nil:
		return &PeerError{Message: e.peerError}
	case err == io.EOF:
		return ErrPeerClosed
	}
	return &transportError{err}
}

// transportError is ErrPeerClosed with what the transport said.
type transportError struct{ err error }

func (e *transportError) Error() string   { return ErrPeerClosed.Error() + ": " + e.err.Error() }
func (e *transportError) Unwrap() []error { return []error{ErrPeerClosed, e.err} }
