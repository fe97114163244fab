package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/endpoint/ws"
	"github.com/packetstream/packetstream/pconn"
)

// schemes are the endpoints that the command understands.
func schemes() endpoint.Schemes { return append(endpoint.Builtin(), ws.Schemes()...) }

// endpointHelp is what the help says of endpoints.
func endpointHelp() string {
	var b strings.Builder
	b.WriteString("An ENDPOINT is one of the following; where serving it is something else, that is said too.\n")
	for _, s := range schemes() {
		fmt.Fprintf(&b, "  %s\n      %s\n", s.Syntax, s.Dialed)
		if s.Served != "the same" {
			fmt.Fprintf(&b, "      served: %s\n", s.Served)
		}
	}
	b.WriteString(`A command may also stand last, after --. With stdio: what would be printed to standard output goes to
standard error. What stands in brackets after a # may be left out.`)
	return b.String()
}

// hangUpTimeout bounds how long a peer is given to end in good order when we have done with it.
const hangUpTimeout = 5 * time.Second

// parsePeer returns the endpoint to connect to: the command after --, or the only argument.
func parsePeer(cmd *cobra.Command, args []string) (endpoint.Endpoint, error) {
	dash := cmd.ArgsLenAtDash()
	switch {
	case dash == 0 && len(args) > 0:
		return endpoint.Exec{Args: args}, nil
	case dash < 0 && len(args) == 1:
		return parseEndpoint(cmd, args[0])
	}
	return nil, usagef(cmd, "it takes one ENDPOINT, or -- and a command; got %q", args)
}

func parseEndpoint(cmd *cobra.Command, s string) (endpoint.Endpoint, error) {
	e, err := schemes().Parse(s)
	if err != nil {
		return nil, usagef(cmd, "%w", err)
	}
	return e, nil
}

// printPlan prints what a command would start or connect to, for --dry-run.
func printPlan(out io.Writer, peer endpoint.Endpoint) error {
	if command, starts := startedBy(peer); starts {
		_, err := fmt.Fprintln(out, "would start", command)
		return err
	}
	_, err := fmt.Fprintln(out, "would connect to", peer)
	return err
}

// startedBy returns the command that connecting to an endpoint starts, if it does.
func startedBy(e endpoint.Endpoint) (endpoint.Exec, bool) {
	switch e := e.(type) {
	case endpoint.Exec:
		return e, true
	case endpoint.SSH:
		return e.Exec(), true
	}
	return endpoint.Exec{}, false
}

// converse connects to the peer, does work on the connection and hangs up. ctx bounds all of it but the end of a child,
// which is bounded by itself or by a signal.
func converse(ctx context.Context, peer endpoint.Endpoint, opts *pconn.Options, work func(*endpoint.Conn) error) error {
	conn, err := peer.Dial(ctx, opts)
	if err != nil {
		return because(ctx, err)
	}
	defer killAtSignal(ctx, conn.Child())()
	err = because(ctx, work(conn))
	if text := conn.Text(); text != nil && err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w; the peer sent text instead of packets: %q", err, text)
	}
	return outcome(err, hangUp(ctx, conn))
}

// hangUp ends a connection that has done its work, and a child with it.
func hangUp(ctx context.Context, conn *endpoint.Conn) error {
	cause := fmt.Errorf("%w: the peer did not end the connection within %v", errTimeout, hangUpTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, hangUpTimeout, cause)
	defer cancel()
	err := conn.Shutdown(ctx)
	if err != nil && errors.Is(err, ctx.Err()) {
		err = context.Cause(ctx)
		_ = conn.Close() // that time was up says more
	}
	return err
}
