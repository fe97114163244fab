package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

// serveFlags are the flags of serve.
type serveFlags struct {
	conn    connFlags
	limits  limitFlags
	forward forwardFlags
	exec    execFlags
	handler string
}

func newServeCommand() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve [flags] [ENDPOINT]",
		Short: "Serve requests, by default on standard input and output",
		Long: `Serve answers requests until the peer ends the connection, or on a listening endpoint (a socket) until it
is told to stop; its address is then told on standard error, after LISTENING. The handler is one of
  echo      answers each request with its own flags, payload and metadata
  test      the test service: request types 0 to 9, including asking back (see packetstream check)
  exec:CMD  runs a shell command for each request: the payload is its standard input, its output the
            response, PACKETSTREAM_TYPE and PACKETSTREAM_FLAGS are in its environment. A command that
            fails is a rejection with the end of its standard error. One that is at work when the
            connection closes, or its caller gives up, is killed with what it started.

With --exec the requests are those of a command, whose words are those of exec:. Each connection has a process
of its own, to which it is joined byte by byte, so that nothing is lost on the way and either may ask the other. With
--children N all connections share N processes, restarted when they end: requests go to the least busy one
and carry tags of their own there, on the same channels, and streams are joined to streams. What a process asks is rejected, since
it cannot say whom. With --ask-back each request and stream has a field in its metadata, packetstream-connection, and what
a process asks or opens with that field goes to the connection it came from; this takes processes with the extensions.

With --forward and --forward-listen the peer may have sockets forwarded, see packetstream forward; nothing else is allowed.

SIGTERM, SIGINT and SIGHUP (unless it is ignored, as by nohup) finish what is in flight, within 5 seconds, and then end; a
second one ends at once, with the processes of --exec.
SIGQUIT prints what is in flight to standard error.

` + exitHelp,
		Example: `  packetstream serve --handler test
  packetstream serve --handler 'exec:tr a-z A-Z' unix:/run/upper.sock
  packetstream serve --exec 'helper --verbose' --children 4 unix:/run/helper.sock
  packetstream serve --max-conns 10 'tls:0.0.0.0:7000#cert=me.pem&key=me.key&ca=clients.pem'
  packetstream serve --forward localhost:80 --forward '*:443'`,
		RunE: f.run,
	}
	f.conn.add(cmd)
	f.limits.add(cmd)
	f.exec.add(cmd)
	f.forward.add(cmd)
	cmd.Flags().StringVar(&f.handler, "handler", "echo", "echo, test or exec:CMD")
	return cmd
}

func (f *serveFlags) run(cmd *cobra.Command, args []string) error {
	at := "stdio:"
	if len(args) > 1 {
		return usagef(cmd, "it takes one ENDPOINT, got %q", args)
	}
	if len(args) == 1 {
		at = args[0]
	}
	e, err := parseEndpoint(cmd, at)
	if err == nil {
		err = errors.Join(f.conn.check(cmd), f.limits.check(cmd), f.exec.check(cmd), f.forward.check(cmd))
	}
	if err != nil {
		return err
	}
	if f.exec.command != "" {
		return f.exec.serve(cmd, e, &f.conn, &f.limits)
	}
	h, err := newHandler(cmd, f.handler)
	if err != nil {
		return err
	}
	if f.conn.dryRun {
		return printServePlan(cmd.OutOrStdout(), e, f.handler)
	}
	opts := f.conn.options(h)
	opts.StreamHandler = f.forward.handler()
	defer f.conn.done()
	return serve(cmd.Context(), e, f.limits.limits(), opts, cmd.ErrOrStderr())
}

func printServePlan(out io.Writer, e endpoint.Endpoint, handler string) error {
	if _, err := fmt.Fprintln(out, "would serve", e); err != nil {
		return err
	}
	if command, starts := startedBy(e); starts {
		if _, err := fmt.Fprintln(out, "would start", command); err != nil {
			return err
		}
	}
	if command, runs := execCommand(handler); runs {
		words := endpoint.Exec{Args: shellCommand(command)}
		if _, err := fmt.Fprintln(out, "would start for each request", words); err != nil {
			return err
		}
	}
	return nil
}

// serve serves one endpoint until its end or a signal.
func serve(ctx context.Context, e endpoint.Endpoint, limits endpoint.Limits, opts *pconn.Options, errOut io.Writer) error {
	conns := newOpenConns()
	return untilSignalled(ctx, func(ctx context.Context) error {
		return conns.serve(ctx, e, limits, opts, errOut)
	}, func() { conns.print(errOut) }, conns.close)
}

// serve serves one endpoint until its end or that of ctx.
func (s *openConns) serve(ctx context.Context, e endpoint.Endpoint, limits endpoint.Limits, opts *pconn.Options, errOut io.Writer) error {
	opts.Handler = s.watch(opts.Handler)
	if opts.OtherChannels != nil {
		opts.OtherChannels = s.watch(opts.OtherChannels)
	}
	err := listen(ctx, e, limits, opts, errOut)
	s.wait()
	return err
}

// untilSignalled runs what serves until its end or a signal: the first ends its context, at a second it is left, after
// abort, to end with the process. SIGQUIT calls show. Both may be nil.
func untilSignalled(ctx context.Context, run func(context.Context) error, show, abort func()) error {
	ctx, drain := context.WithCancel(ctx)
	defer drain()
	signals := make(chan os.Signal, 4)
	notifyEndings(signals)
	if show != nil {
		signal.Notify(signals, syscall.SIGQUIT)
	}
	defer signal.Stop(signals)
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }() // left behind only where the process ends at once
	for draining := false; ; {
		select {
		case err := <-ended:
			return err
		case sig := <-signals:
			switch {
			case sig == syscall.SIGQUIT:
				show()
			case draining:
				if abort != nil {
					abort()
				}
				return errInterrupted
			default:
				draining = true
				drain()
			}
		}
	}
}

// listen serves the endpoint, and tells its address if it is one that listens.
func listen(ctx context.Context, e endpoint.Endpoint, limits endpoint.Limits, opts *pconn.Options, errOut io.Writer) error {
	at, listens := e.(endpoint.Listenable)
	if !listens {
		return e.Serve(ctx, opts)
	}
	l, err := at.Listen(ctx)
	if errors.Is(err, endpoint.ErrNotListening) {
		return e.Serve(ctx, opts) // the connection that a service manager has passed
	}
	if err != nil {
		return err
	}
	l.Limits = limits
	fmt.Fprintln(errOut, "LISTENING", l.Addr())
	return l.Serve(ctx, opts)
}
