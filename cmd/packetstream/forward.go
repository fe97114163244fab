package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/endpoint/forward"
	"github.com/packetstream/packetstream/pconn"
)

// forwardOptions are the flags of forward.
type forwardOptions struct {
	local, remote, dynamic []string
	verbose                bool
}

func newForwardCommand() *cobra.Command {
	var f connFlags
	var o forwardOptions
	cmd := &cobra.Command{
		Use:   "forward [-L SPEC] [-R SPEC] [-D SPEC] [flags] ENDPOINT | -- CMD ARGS...",
		Short: "Forward sockets over one connection, as ssh does",
		Long: `Forward carries connections of sockets over one packet connection, such as a command's standard input and
output. At its other end is packetstream serve with --forward, which says what it allows. Each of the flags may stand any
number of times:

  -L [HOST:]PORT:HOST:PORT   who connects here to PORT talks to HOST:PORT there
  -R [HOST:]PORT:HOST:PORT   who connects there to PORT talks to HOST:PORT here
  -D [HOST:]PORT             a SOCKS5 proxy here: each client says where it wants to go from there

A path with a slash may stand for a Unix socket on either side: -L /tmp/db.sock:/run/postgresql/.s.PGSQL.5432.
Without a HOST it listens on localhost, with * on every address, and with PORT 0 at a port of the system's choice.

Where it listens is told on standard error, a line each: LISTENING -L ADDRESS. It ends with the connection.

` + signalHelp + "\n\n" + exitHelp,
		Example: `  packetstream forward -L 8080:localhost:80 -- ssh host packetstream serve --forward localhost:80
  packetstream forward -D 1080 -- ssh host packetstream serve --forward '*:*'
  packetstream forward -R 2222:localhost:22 -- ssh host packetstream serve --forward-listen localhost:2222`,
		RunE: func(cmd *cobra.Command, args []string) error {
			peer, err := parsePeer(cmd, args)
			var forwards []forwarding
			if err == nil {
				forwards, err = o.forwards(cmd)
			}
			if err = errors.Join(err, f.check(cmd)); err != nil {
				return err
			}
			if f.dryRun {
				return printForwardPlan(cmd.OutOrStdout(), peer, forwards)
			}
			opts := f.options(nil)
			defer f.done()
			return runForwards(cmd, peer, opts, forwards, o.logger(cmd.ErrOrStderr()))
		},
	}
	f.add(cmd)
	cmd.Flags().StringArrayVarP(&o.local, "local", "L", nil, "listen here, connect there, as `SPEC` says")
	cmd.Flags().StringArrayVarP(&o.remote, "remote", "R", nil, "listen there, connect here, as `SPEC` says")
	cmd.Flags().StringArrayVarP(&o.dynamic, "dynamic", "D", nil, "be a SOCKS5 proxy here, where `SPEC` says")
	cmd.Flags().BoolVar(&o.verbose, "verbose", false, "tell of each connection that fails on standard error")
	return cmd
}

func (o *forwardOptions) logger(w io.Writer) *slog.Logger {
	if !o.verbose {
		return nil
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

// forwarding is one of the things that forward does.
type forwarding struct {
	flag, plan string
	run        func(context.Context, forward.Conn, *forward.Options) error
}

// forwards returns what the flags ask for.
func (o *forwardOptions) forwards(cmd *cobra.Command) ([]forwarding, error) {
	var all []forwarding
	for _, spec := range o.local {
		from, to, err := forward.ParseForward(spec)
		if err != nil {
			return nil, usagef(cmd, "-L: %w", err)
		}
		all = append(all, forwarding{"-L", fmt.Sprintf("would listen on %v, and connect to %v there", from, to),
			func(ctx context.Context, c forward.Conn, opts *forward.Options) error {
				return forward.Local(ctx, c, from, to, opts)
			}})
	}
	for _, spec := range o.remote {
		on, to, err := forward.ParseForward(spec)
		if err != nil {
			return nil, usagef(cmd, "-R: %w", err)
		}
		all = append(all, forwarding{"-R", fmt.Sprintf("would listen on %v there, and connect to %v", on, to),
			func(ctx context.Context, c forward.Conn, opts *forward.Options) error {
				return forward.Remote(ctx, c, on, to, opts)
			}})
	}
	for _, spec := range o.dynamic {
		at, err := forward.ParseListen(spec)
		if err != nil {
			return nil, usagef(cmd, "-D: %w", err)
		}
		all = append(all, forwarding{"-D", fmt.Sprintf("would be a SOCKS5 proxy on %v", at),
			func(ctx context.Context, c forward.Conn, opts *forward.Options) error {
				return forward.Socks(ctx, c, at, opts)
			}})
	}
	if len(all) == 0 {
		return nil, usagef(cmd, "nothing is to be forwarded: -L, -R or -D is missing")
	}
	return all, nil
}

func printForwardPlan(out io.Writer, peer endpoint.Endpoint, forwards []forwarding) error {
	err := printPlan(out, peer)
	for _, f := range forwards {
		if err == nil {
			_, err = fmt.Fprintln(out, f.plan)
		}
	}
	return err
}

// runForwards connects to the peer and forwards until a signal, which is its end in good order, or until one of the
// forwards cannot go on.
func runForwards(cmd *cobra.Command, peer endpoint.Endpoint, opts *pconn.Options, forwards []forwarding, logger *slog.Logger) error {
	ctx, stop := untilInterrupted(cmd.Context())
	defer stop()
	opts.Extensions = pconn.ExtensionsRequired
	err := converse(ctx, peer, opts, func(conn *endpoint.Conn) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		var telling sync.Mutex // one line at a time
		var running sync.WaitGroup
		for _, f := range forwards {
			running.Go(func() {
				err := f.run(ctx, conn, &forward.Options{Logger: logger, Listening: func(address string) {
					telling.Lock()
					defer telling.Unlock()
					fmt.Fprintln(cmd.ErrOrStderr(), "LISTENING", f.flag, address)
				}})
				cancel(err) // if it is nil, ctx has ended
			})
		}
		running.Wait()
		if errors.Is(context.Cause(ctx), errInterrupted) {
			return nil
		}
		return context.Cause(ctx)
	})
	if errors.Is(err, errInterrupted) {
		return nil
	}
	return err
}

// forwardFlags are those of serve that allow forwarding.
type forwardFlags struct{ dial, listen []string }

func (f *forwardFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.dial, "forward", nil, "let the peer connect to this `HOST:PORT` (either may be *) or socket's path, see packetstream forward")
	cmd.Flags().StringArrayVar(&f.listen, "forward-listen", nil, "let the peer listen on this `HOST:PORT` or path")
}

func (f *forwardFlags) check(cmd *cobra.Command) error {
	for _, rules := range []forward.Rules{f.dial, f.listen} {
		if err := rules.Check(); err != nil {
			return usagef(cmd, "%w", err)
		}
	}
	return nil
}

// handler returns what takes the peer's streams, or nil if nothing is allowed.
func (f *forwardFlags) handler() pconn.StreamHandler {
	if len(f.dial)+len(f.listen) == 0 {
		return nil
	}
	return &forward.Server{Dial: f.dial, Listen: f.listen}
}
