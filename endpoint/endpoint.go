package endpoint

import (
	"context"
	"fmt"
	"strings"

	"github.com/packetstream/packetstream/pconn"
)

// Endpoint is one of Exec, Stdio, FD, Unix and TCP, or what a package of its own has besides. Its methods
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

// scheme is how an endpoint's string begins.
type scheme struct {
	name  string
	parse func(rest string) (Endpoint, error)
}

// schemes returns those there are, in the order in which they are listed.
func schemes() []scheme {
	return []scheme{
		{"exec:", parseExec},
		{"stdio:", parseStdio},
		{"fd:", parseFD},
		{"unix:", parseUnix},
		{"tcp:", parseTCP},
	}
}

// Parse reads an endpoint's string: see the package's comment for what there is. The error is an *UnknownSchemeError
// or a *SyntaxError.
func Parse(s string) (Endpoint, error) {
	var known []string
	for _, scheme := range schemes() {
		if rest, ok := strings.CutPrefix(s, scheme.name); ok {
			e, err := scheme.parse(rest)
			if err != nil {
				return nil, &SyntaxError{Endpoint: s, Reason: err.Error()}
			}
			return e, nil
		}
		known = append(known, scheme.name)
	}
	return nil, &UnknownSchemeError{Endpoint: s, Known: known}
}

// Dial connects to an endpoint given as a string. ctx limits that, not the connection's life. The errors are those of
// Parse, and what is wrong with the endpoint: an *StdioError, a *bufio.DescriptorError, or the system's.
func Dial(ctx context.Context, endpoint string, opts *pconn.Options) (*Conn, error) {
	e, err := Parse(endpoint)
	if err != nil {
		return nil, err
	}
	return e.Dial(ctx, opts)
}

// Serve serves an endpoint given as a string: unix: and tcp: by listening and serving every connection that comes,
// any other by connecting and serving that one connection.
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

// Listen listens at an endpoint given as a string, which must be one of unix: and tcp:; ErrNotListening says that it
// is none. ctx limits the listening's beginning only.
func Listen(ctx context.Context, endpoint string) (*Listener, error) {
	e, err := Parse(endpoint)
	if err != nil {
		return nil, err
	}
	l, ok := e.(interface {
		Listen(ctx context.Context) (*Listener, error)
	})
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrNotListening, e)
	}
	return l.Listen(ctx)
}
