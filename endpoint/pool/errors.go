package pool

import (
	"fmt"

	"github.com/packetstream/packetstream/pconn"
)

// ErrClosed is what calls on a Pool get after Close or Shutdown. It is a pconn.ErrClosed.
var ErrClosed = fmt.Errorf("pool: closed: %w", pconn.ErrClosed)

// UnavailableError says that no child is there, and that none has stayed lately. A later call may succeed: the Pool
// goes on trying.
type UnavailableError struct {
	// Failures is how many children in a row have failed, in the place where it were the fewest.
	Failures int
	// Err is how the last one ended, an *endpoint.ExitError, or why it could not be started.
	Err error
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("pool: unavailable after %d children that failed: %v", e.Failures, e.Err)
}

// Unwrap returns Err.
func (e *UnavailableError) Unwrap() error { return e.Err }

// healthError is the end of a child that gave no sign of life.
type healthError struct{ err error }

func (e *healthError) Error() string { return "pool: not healthy: " + e.err.Error() }
func (e *healthError) Unwrap() error { return e.err }
