package endpoint

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/pconn"
)

// FD is two open descriptors, or a socket that is both. They stay their owner's: a connection works on descriptors of its
// own, and leaves these open and as they are. A peer that waits for the end of the stream, rather than for EOF,
// sees it when their owner has closed them too.
type FD struct {
	// R is read from, W written to. Both may be one socket.
	R, W int
}

func parseFD(rest string) (Endpoint, error) {
	r, w, two := strings.Cut(rest, ",")
	if !two {
		w = r
	}
	var e FD
	for _, part := range []struct {
		text string
		to   *int
	}{{r, &e.R}, {w, &e.W}} {
		n, err := strconv.ParseUint(part.text, 10, 31)
		if err != nil {
			return nil, fmt.Errorf("%q is no descriptor; write fd:R,W or fd:N", part.text)
		}
		*part.to = int(n)
	}
	return e, nil
}

// String returns the descriptors as Parse reads them.
func (e FD) String() string {
	if e.R == e.W {
		return fmt.Sprintf("fd:%d", e.R)
	}
	return fmt.Sprintf("fd:%d,%d", e.R, e.W)
}

// Dial makes a connection of the descriptors. The error is a *bufio.DescriptorError.
func (e FD) Dial(ctx context.Context, opts *pconn.Options) (*Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	in, out, err := openDescriptors(e.R, e.W)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %s: %w", e, err)
	}
	return newDescriptorConn(in, out, options(opts, e.String(), peerOfFD(e.R)))
}

// Open gives the bytes of the descriptors: see Opener.
func (e FD) Open(ctx context.Context) (Transport, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	in, out, err := openDescriptors(e.R, e.W)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %s: %w", e, err)
	}
	return &descriptors{in: in, out: out}, nil
}

// Serve serves the one connection that the descriptors are: see the function Serve.
func (e FD) Serve(ctx context.Context, opts *pconn.Options) error { return serveOne(ctx, e, opts) }

// take makes a connection of descriptors that were passed to this process for that, and closes them: the peer has to
// see the end of the stream when the connection has ended.
func (e FD) take(opts *pconn.Options) (*Conn, error) {
	in, out, err := openDescriptors(e.R, e.W)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %s=%s: %w", FDVariable, strings.TrimPrefix(e.String(), "fd:"), err)
	}
	peer := peerOfFD(e.R)
	closeDescriptors(e.R, e.W)
	return newDescriptorConn(in, out, options(opts, e.String(), peer))
}

func openDescriptors(r, w int) (*bufio.Input, *bufio.Output, error) {
	in, inErr := bufio.InputFD(r)
	out, outErr := bufio.OutputFD(w)
	if err := errors.Join(inErr, outErr); err != nil {
		if inErr == nil {
			_ = in.Close()
		}
		if outErr == nil {
			_ = out.Close()
		}
		return nil, nil, err
	}
	return in, out, nil
}
