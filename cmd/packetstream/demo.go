package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/endpoint"
)

// demoTimeout bounds the demonstration, which takes a second.
const demoTimeout = 2 * time.Minute

// demoRequests is how many calls the demonstration makes after its checks.
const demoRequests = 10000

func newDemoCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show two processes calling each other over pipes",
		Long: `Demo starts this program again as a subprocess that serves the test service on its standard input and
output. Both ends make every kind of request, with ticks on standard error; then 10,000 calls are
made and each answer is checked. It exits with 1 if anything differs.`,
		Example: "  packetstream demo",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			peer := endpoint.Exec{Args: []string{self, "serve", "--handler", "test"}}
			if dryRun {
				return printPlan(cmd.OutOrStdout(), peer)
			}
			ctx, stop := untilInterrupted(cmd.Context())
			defer stop()
			ctx, cancel := withTimeout(ctx, demoTimeout)
			defer cancel()
			return demo(ctx, peer, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what would be started, and do nothing")
	return cmd
}

// demo checks a peer with ticks on, and then, by a second connection, at speed.
func demo(ctx context.Context, peer endpoint.Endpoint, out io.Writer) error {
	fmt.Fprintln(out, "Every kind of request, both ways, with ticks: < received, > sent, F flushed")
	kinds := checkOptions{requests: 20, mode: "duplex", window: 4}
	err := check(ctx, peer, &connFlags{tick: true}, &kinds, out)
	fmt.Fprintln(os.Stderr) // after the ticks
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%d calls, 64 in flight\n", demoRequests)
	calls := checkOptions{requests: demoRequests, mode: "pipelined", window: 64}
	if err := check(ctx, peer, &connFlags{}, &calls, out); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, "\nall answers as expected")
	return err
}
