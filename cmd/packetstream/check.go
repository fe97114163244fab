package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/testservice"
)

// checkOptions are the flags of check.
type checkOptions struct {
	requests int
	mode     string
	window   int
	timeout  time.Duration
}

func newCheckCommand() *cobra.Command {
	var f connFlags
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check [flags] ENDPOINT | -- CMD ARGS...",
		Short: "Check a peer that serves the test service",
		Long: `Check calls a peer that offers the test service (packetstream serve --handler test, or another
implementation of it), offers the same service to it, and compares every answer. It prints a line for
each check, "ok" or "FAIL" and its name, and exits with 1 if one found a difference.

` + signalHelp + "\n\n" + exitHelp,
		Example: `  packetstream check -- packetstream serve --handler test
  packetstream check --mode duplex --requests 2000 -- python3 server.py`,
		RunE: func(cmd *cobra.Command, args []string) error {
			peer, err := parsePeer(cmd, args)
			if err == nil {
				err = f.check(cmd)
			}
			if err == nil {
				err = o.check(cmd)
			}
			if err != nil {
				return err
			}
			if f.dryRun {
				return printPlan(cmd.OutOrStdout(), peer)
			}
			ctx, stop := untilInterrupted(cmd.Context())
			defer stop()
			ctx, cancel := withTimeout(ctx, o.timeout)
			defer cancel()
			return check(ctx, peer, &f, &o, cmd.OutOrStdout())
		},
	}
	f.add(cmd)
	cmd.Flags().IntVar(&o.requests, "requests", 1000, "requests of the bulk check")
	cmd.Flags().StringVar(&o.mode, "mode", "pipelined", "of the bulk check: seq, pipelined, or duplex, where each request makes the peer ask back")
	cmd.Flags().IntVar(&o.window, "window", 64, fmt.Sprintf("requests in flight in the bulk check, at most %d", maxInFlight))
	cmd.Flags().DurationVar(&o.timeout, "timeout", time.Minute, "time for everything, 0 for no limit")
	return cmd
}

// check finds flags that make no sense.
func (o *checkOptions) check(cmd *cobra.Command) error {
	switch {
	case o.mode != "seq" && o.mode != "pipelined" && o.mode != "duplex":
		return usagef(cmd, "--mode is seq, pipelined or duplex, not %q", o.mode)
	case o.requests < 0:
		return usagef(cmd, "--requests is a number from 0 up, not %d", o.requests)
	case o.window < 1 || o.window > maxInFlight:
		return usagef(cmd, "--window is within 1 and %d, not %d", maxInFlight, o.window)
	case o.timeout < 0:
		return usagef(cmd, "--timeout is a time from 0 up, not %v", o.timeout)
	}
	return nil
}

// check connects to the peer and makes all checks. The error is errFailed if they found differences.
func check(ctx context.Context, peer endpoint.Endpoint, f *connFlags, o *checkOptions, out io.Writer) error {
	service := testservice.New(version())
	opts := f.options(service)
	defer f.done()
	return converse(ctx, peer, opts, func(conn *endpoint.Conn) error {
		run := &checkRun{checkOptions: *o, conn: conn, service: service, out: out}
		return run.all(ctx)
	})
}
