package endpoint

import (
	"context"
	"errors"

	"github.com/packetstream/packetstream/pconn"
)

// Stdio is this process's own standard input and output: what a helper serves that another program has
// started.
//
// The connection moves to descriptors of its own. From then on, and for good, descriptor 0 is the null device and
// descriptor 1 a copy of standard error, so that what is printed by mistake does no harm, and a broken
// pipe (SIGPIPE) does not end the process. The flags of what others share are not changed. There is one such
// connection in a process's life.
//
// A program that starts a helper may choose other descriptors, by StartOptions.Over, and says so in FDVariable. Then the
// connection goes over those, and standard input and output are left alone.
type Stdio struct{}

func parseStdio(rest string) (Endpoint, error) {
	if rest != "" {
		return nil, errors.New("stdio: takes nothing behind it")
	}
	return Stdio{}, nil
}

// String returns "stdio:".
func (Stdio) String() string { return "stdio:" }

// Dial makes a connection of standard input and output, for a process that calls rather than serves. The error is
// a *StdioError: ErrTerminal, ErrNoStream, or the system's. If there is one nothing was moved.
func (Stdio) Dial(ctx context.Context, opts *pconn.Options) (*Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	opts, err := greet(opts)
	if err != nil {
		return nil, err
	}
	e, given, err := givenFD()
	if err != nil {
		return nil, err
	}
	if given {
		return e.take(opts)
	}
	in, out, peer, err := takeStdio()
	if err != nil {
		return nil, err
	}
	return newDescriptorConn(in, out, options(opts, "stdio:", peer))
}

// Open gives the bytes of standard input and output: see Opener. They are taken as by Dial.
func (Stdio) Open(ctx context.Context) (Transport, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	in, out, _, err := takeStdio()
	if err != nil {
		return nil, err
	}
	return &descriptors{in: in, out: out}, nil
}

// Serve serves standard input and output: see ServeStdio.
func (s Stdio) Serve(ctx context.Context, opts *pconn.Options) error { return serveOne(ctx, s, opts) }

// ServeStdio serves the connection that standard input and output are, or the descriptors that the parent has chosen
// (see Stdio), until it ends. It is to be called before
// anything has read from standard input. It returns nil if the connection ended in good order, which a peer does that has
// no more to ask, so that the process may exit; a *StdioError if there is none; else what the connection
// ended with. When ctx ends the connection is shut down, and has Options.DrainTimeout to end; ErrNotDrained
// says that it did not.
func ServeStdio(ctx context.Context, opts *pconn.Options) error { return Stdio{}.Serve(ctx, opts) }
