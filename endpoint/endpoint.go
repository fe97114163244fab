package endpoint

import (
	"context"
	"fmt"

	"github.com/packetstream/packetstream/pconn"
)

// Endpoint is one of this package's, such as Exec and Unix, or what a package of its own has besides. Its methods
// may be called concurrently.
type Endpoint interface {
	// String returns it as Parse reads it.
	fmt.Stringer
	// Dial connects to it. ctx limits that, not the connection's life.
	Dial(ctx context.Context, opts *pconn.Options) (*Conn, error)
	// Serve serves it until it ends, or until ctx does and the connections there are have ended in good
	// order.
	Serve(ctx context.Context, opts *pconn.Options) error
}

// Listenable is an endpoint that can be listened at: a socket. The others have one connection.
type Listenable interface {
	Endpoint
	// Listen begins to listen. ctx limits that only.
	Listen(ctx context.Context) (*Listener, error)
}

// Parse reads the string of an endpoint of this package: see Schemes.Parse.
func Parse(s string) (Endpoint, error) { return Builtin().Parse(s) }

// Dial connects to an endpoint given as a string. ctx limits that, not the connection's life. The errors are those of
// Parse, and what is wrong with the endpoint: an *StdioError, a *bufio.DescriptorError, or the system's.
func Dial(ctx context.Context, endpoint string, opts *pconn.Options) (*Conn, error) {
	e, err := Parse(endpoint)
	if err != nil {
		return nil, err
	}
	return e.Dial(ctx, opts)
}

// Serve serves an endpoint given as a string: a socket by listening and serving every connection that comes, any other
// by connecting and serving that one connection.
//
// When ctx ends, no more connections are taken, those there are are shut down, and each has its
// Options.DrainTimeout to end; ErrNotDrained says that one did not. Otherwise Serve returns, for one connection, nil
// if it ended in good order and else what it ended with; for a listening end, only if accepting fails.
func Serve(ctx context.Context, endpoint string, opts *pconn.Options) error {
	e, err := Parse(endpoint)
	if err != nil {
		return err
	}
	return e.Serve(ctx, opts)
}

// Listen listens at an endpoint given as a string, which must be Listenable; ErrNotListening says that it
// is not. ctx limits the listening's beginning only.
func Listen(ctx context.Context, endpoint string) (*Listener, error) {
	e, err := Parse(endpoint)
	if err != nil {
		return nil, err
	}
	l, ok := e.(Listenable)
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrNotListening, e)
	}
	return l.Listen(ctx)
}
