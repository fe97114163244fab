package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/endpoint/pool"
	"github.com/packetstream/packetstream/endpoint/share"
)

// execFlags are the flags of serve that have a command do the work.
type execFlags struct {
	command  string
	children int
	askBack  bool
	words    endpoint.Exec
}

func (x *execFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&x.command, "exec", "", "`CMD` is a command that serves, in place of a handler")
	cmd.Flags().BoolVar(&x.askBack, "ask-back", false, "with --children: requests and streams name their connections by metadata, for the processes to ask those")
	cmd.Flags().IntVar(&x.children, "children", 0, fmt.Sprintf("with --exec: processes that all connections share, at most %d, 0 for one for each connection", pool.MaxSize))
}

// check finds flags that make no sense.
func (x *execFlags) check(cmd *cobra.Command) error {
	switch {
	case x.command == "" && (x.children != 0 || cmd.Flags().Changed("exec")):
		return usagef(cmd, "--exec is a command")
	case x.askBack && x.children == 0:
		return usagef(cmd, "--ask-back is for --children: a process of one connection asks that")
	case x.command == "":
		return nil
	case cmd.Flags().Changed("handler"):
		return usagef(cmd, "--exec and --handler exclude each other")
	case x.children < 0 || x.children > pool.MaxSize:
		return usagef(cmd, "--children is within 0 and %d, not %d", pool.MaxSize, x.children)
	}
	e, err := endpoint.Parse("exec:" + x.command)
	if err != nil {
		return usagef(cmd, "--exec: %w", err)
	}
	x.words = e.(endpoint.Exec)
	return nil
}

// serve serves an endpoint with the command.
func (x *execFlags) serve(cmd *cobra.Command, e endpoint.Endpoint, f *connFlags, l *limitFlags) error {
	if x.children > 0 {
		return x.share(cmd, e, f, l)
	}
	if f.tick || f.progress || f.grace != 0 || l.requests != 0 || l.firstPacket != 0 {
		return usagef(cmd, "--tick, --progress, --grace, --max-requests and --first-packet are about packets, of which this process sees none without --children")
	}
	p := &proxy{b: x.words, limits: l.limits(), errOut: cmd.ErrOrStderr()}
	if at, listens := e.(endpoint.Listenable); listens {
		p.at = at
	} else {
		var err error
		if p.a, err = opener(cmd, e); err != nil {
			return err
		}
	}
	if f.dryRun {
		return p.plan(cmd.OutOrStdout())
	}
	return untilSignalled(cmd.Context(), p.run, nil, p.kill)
}

// share has all connections share some processes.
func (x *execFlags) share(cmd *cobra.Command, e endpoint.Endpoint, f *connFlags, l *limitFlags) error {
	if f.dryRun {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "would serve %v\nwould start %d of %v\n", e, x.children, x.words)
		return err
	}
	logger := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	sharing := &share.Options{Pool: pool.Options{Size: x.children}, AskBack: x.askBack}
	sharing.Pool.Start.Conn.Logger = logger
	command := func() *exec.Cmd { return exec.Command(x.words.Args[0], x.words.Args[1:]...) }
	opts := f.options(nil)
	defer f.done()
	opts.Logger = logger
	conns := newOpenConns()
	var shared atomic.Pointer[share.Children]
	return untilSignalled(cmd.Context(), func(ctx context.Context) error {
		children, err := share.Start(ctx, command, sharing)
		if err != nil && ctx.Err() != nil {
			return nil // nothing was begun
		}
		if err != nil {
			return err
		}
		shared.Store(children)
		err = conns.serve(ctx, e, l.limits(), children.Serving(opts), cmd.ErrOrStderr())
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hangUpTimeout)
		defer cancel()
		return errors.Join(err, children.Shutdown(ctx))
	}, func() { conns.print(cmd.ErrOrStderr()) }, func() {
		if children := shared.Load(); children != nil {
			killAll(children.Pool())
		}
		conns.close()
	})
}

// killAll kills the processes of a pool, each with its group.
func killAll(p *pool.Pool) {
	for _, s := range p.Status() {
		if s.Child != nil {
			_ = s.Child.Signal(syscall.SIGKILL) // if it has ended, so much the better
		}
	}
}
