package bufio

import (
	"errors"
	"fmt"
	"io"
	"os"
)

var (
	// ErrInterrupted says that Interrupt was called. Nothing was lost: after Resume the same call gives
	// what it would have given.
	ErrInterrupted = errors.New("bufio: interrupted")

	// ErrClosed says that the Input, Output or Backlog was closed. It is an os.ErrClosed.
	ErrClosed = fmt.Errorf("bufio: %w", os.ErrClosed)

	// ErrWouldBlock says that a call that was not to wait would have had to.
	ErrWouldBlock = errors.New("bufio: would block")

	// ErrPeerGone says that the other side of a pipe or socket is closed or was reset. The error that
	// the system gave is wrapped beside it.
	ErrPeerGone = errors.New("bufio: peer is gone")

	// ErrCount says that a negative number of bytes was asked for.
	ErrCount = errors.New("bufio: negative count")

	// ErrTooLong says that more bytes were asked for than the call's limit, or that a stream has more.
	ErrTooLong = errors.New("bufio: longer than the limit")

	// ErrBadCount says that a reader or writer that was passed in returned a count outside of what it
	// was given. Nothing it returned after that could be trusted.
	ErrBadCount = errors.New("bufio: reader or writer returned an impossible count")

	// ErrBacklogFull says that a write would go past the limits of a Backlog. Nothing of it was taken.
	ErrBacklogFull = errors.New("bufio: backlog is full")

	// ErrBacklogEmpty says that a Backlog holds nothing now.
	ErrBacklogEmpty = errors.New("bufio: backlog is empty")
)

// DescriptorError says why a descriptor cannot be an input or output.
type DescriptorError struct {
	// Op is what was tried, FD the descriptor's number.
	Op string
	FD int
	// Err is the system's error, or errors.ErrUnsupported where the kind of object is at fault.
	Err error
}

func (e *DescriptorError) Error() string {
	return fmt.Sprintf("bufio: %s descriptor %d: %v", e.Op, e.FD, e.Err)
}

// Unwrap returns Err.
func (e *DescriptorError) Unwrap() error { return e.Err }

// peerError adds ErrPeerGone to an error that says so in the system's words.
func peerError(err error) error {
	if err == nil || errors.Is(err, ErrPeerGone) {
		return err
	}
	if isReset(err) || errors.Is(err, io.ErrClosedPipe) {
		return fmt.Errorf("%w: %w", ErrPeerGone, err)
	}
	return err
}

// isTimeout reports whether a deadline has passed, after which the stream is still good.
func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
