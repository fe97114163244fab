package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/endpoint"
)

func newProxyCommand() *cobra.Command {
	var l limitFlags
	var connect, dryRun bool
	cmd := &cobra.Command{
		Use:   "proxy [flags] A B | A -- CMD ARGS...",
		Short: "Join two endpoints",
		Long: `Proxy joins the endpoints A and B by copying bytes both ways, so that whatever the two sides speak goes
through. If A is an endpoint to listen at (a socket), each connection that comes is joined to a B of its
own; with --connect, and if A is any other, the two are connected to and joined once. The end of one
direction is passed on, and the other goes on; between sockets for as long as it takes, and where one of the two is
none it may be silent for half a minute.

SIGTERM, SIGINT and SIGHUP (unless it is ignored, as by nohup) take nothing more from A, tell B the end, let pass
for 5 seconds what B still says, and end; a command that does not end by itself gets SIGTERM after 3 seconds more,
and SIGKILL after another 2. A second signal kills commands, and ends at once. How connections end that did not end well is told on standard error.

` + exitHelp,
		Example: `  packetstream proxy tcp:127.0.0.1:7000 -- helper --verbose
  packetstream proxy stdio: unix:/run/helper.sock
  packetstream proxy 'tls:0.0.0.0:7000#cert=me.pem&ca=clients.pem' 'ssh:host//packetstream proxy stdio: unix:/run/helper.sock'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			a, b, err := parseProxy(cmd, args)
			if err == nil {
				err = l.check(cmd)
			}
			if err != nil {
				return err
			}
			p := &proxy{b: b, limits: l.limits(), errOut: cmd.ErrOrStderr()}
			if at, listens := a.(endpoint.Listenable); listens && !connect {
				p.at = at
			} else if p.a, err = opener(cmd, a); err != nil {
				return err
			}
			if dryRun {
				return p.plan(cmd.OutOrStdout())
			}
			return untilSignalled(cmd.Context(), p.run, nil, p.kill)
		},
	}
	l.addConns(cmd)
	cmd.Flags().BoolVar(&connect, "connect", false, "connect to A too, rather than listen at it")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what would be started, listened at or connected to, and do nothing")
	return cmd
}

// parseProxy returns the two endpoints of a command line.
func parseProxy(cmd *cobra.Command, args []string) (endpoint.Endpoint, endpoint.Opener, error) {
	dash := cmd.ArgsLenAtDash()
	if !(dash < 0 && len(args) == 2 || dash == 1 && len(args) > 1) {
		return nil, nil, usagef(cmd, "it takes two ENDPOINTs, or one, -- and a command; got %q", args)
	}
	a, err := parseEndpoint(cmd, args[0])
	if err != nil {
		return nil, nil, err
	}
	if dash == 1 {
		return a, endpoint.Exec{Args: args[1:]}, nil
	}
	to, err := parseEndpoint(cmd, args[1])
	if err != nil {
		return nil, nil, err
	}
	_, taken := a.(endpoint.Stdio)
	if _, again := to.(endpoint.Stdio); again && taken {
		return nil, nil, usagef(cmd, "standard input and output cannot be both endpoints")
	}
	b, err := opener(cmd, to)
	return a, b, err
}

func opener(cmd *cobra.Command, e endpoint.Endpoint) (endpoint.Opener, error) {
	o, opens := e.(endpoint.Opener)
	if !opens {
		return nil, usagef(cmd, "%v has no bytes to be joined", e)
	}
	return o, nil
}

// proxy joins whoever comes at an endpoint, or one connection, to connections to another.
type proxy struct {
	at     endpoint.Listenable // nil if a is connected to
	a, b   endpoint.Opener
	limits endpoint.Limits
	errOut io.Writer

	// mu guards the map.
	mu       sync.Mutex
	commands map[signalled]struct{} // those that run
}

// signalled is a command that was opened.
type signalled interface {
	Signal(sig syscall.Signal) error
}

// watch has kill know of a transport, until forget.
func (p *proxy) watch(t endpoint.Transport) (forget func()) {
	command, runs := t.(signalled)
	if !runs {
		return func() {}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.commands == nil {
		p.commands = make(map[signalled]struct{})
	}
	p.commands[command] = struct{}{}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.commands, command)
	}
}

// kill kills the commands that run, each with its process group.
func (p *proxy) kill() {
	p.mu.Lock()
	running := slices.Collect(maps.Keys(p.commands))
	p.mu.Unlock()
	for _, command := range running {
		_ = command.Signal(syscall.SIGKILL) // if it has ended, so much the better
	}
}

// plan prints what would be done, for --dry-run.
func (p *proxy) plan(out io.Writer) error {
	if p.at == nil {
		return errors.Join(printPlan(out, p.a), printPlan(out, p.b))
	}
	if _, err := fmt.Fprintln(out, "would listen at", p.at); err != nil {
		return err
	}
	if command, starts := startedBy(p.b); starts {
		_, err := fmt.Fprintln(out, "would start for each connection", command)
		return err
	}
	_, err := fmt.Fprintln(out, "would connect for each connection to", p.b)
	return err
}

// run joins until ctx ends.
func (p *proxy) run(ctx context.Context) error {
	if p.at == nil {
		return p.joinOnce(ctx, p.a)
	}
	l, err := p.at.Listen(ctx)
	if activated, ok := p.at.(endpoint.Opener); ok && errors.Is(err, endpoint.ErrNotListening) {
		return p.joinOnce(ctx, activated) // the connection that a service manager has passed
	}
	if err != nil {
		return err
	}
	l.Limits = p.limits
	fmt.Fprintln(p.errOut, "LISTENING", l.Addr())
	return l.ServeBytes(ctx, slog.New(slog.NewTextHandler(p.errOut, nil)), p.join)
}

// joinOnce joins the two endpoints. The second is connected to first: what is passed may be taken once only.
func (p *proxy) joinOnce(ctx context.Context, e endpoint.Opener) error {
	b, err := p.b.Open(ctx)
	if err != nil {
		return err
	}
	defer p.watch(b)()
	a, err := e.Open(ctx)
	if err != nil {
		return errors.Join(err, b.Close())
	}
	defer p.watch(a)()
	return endpoint.Join(ctx, a, b, joinOptions(e, p.b))
}

// join joins one connection that came.
func (p *proxy) join(ctx context.Context, a endpoint.Transport) error {
	b, err := p.b.Open(ctx)
	if err != nil {
		return err
	}
	defer p.watch(b)()
	return endpoint.Join(ctx, a, b, joinOptions(p.at, p.b))
}

// joinOptions are those of joining two endpoints. A socket whose peer is gone says so; a command need not heed the end
// of its input, and who holds standard input or a descriptor need not notice the end of its reader.
func joinOptions(a, b endpoint.Endpoint) *endpoint.JoinOptions {
	_, aListens := a.(endpoint.Listenable)
	_, bListens := b.(endpoint.Listenable)
	if aListens && bListens {
		return &endpoint.JoinOptions{HalfOpen: -1}
	}
	return nil
}
