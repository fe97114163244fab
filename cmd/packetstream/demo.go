package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/testservice"
)

// demoRequests is how many calls the demonstration makes after its checks.
const demoRequests = 10000

func newDemoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show two processes calling each other over pipes",
		Long: `Demo starts this program again as a subprocess that serves the test service on its standard input and
output. Both ends make every kind of request, with ticks on standard error; then 10,000 calls are
made and each answer is checked. It exits with 1 if anything differs.`,
		Example: "  packetstream demo",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Minute)
			defer cancel()
			return demo(ctx, cmd)
		},
	}
}

// demo checks one child with ticks on, and then a second one at speed.
func demo(ctx context.Context, cmd *cobra.Command) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	fmt.Fprintln(out, "Every kind of request, both ways, with ticks: < received, > sent, F flushed")
	kinds := checkOptions{requests: 20, mode: "duplex", window: 4, out: out}
	if err := demoRun(ctx, self, &kinds, true); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%d calls, 64 in flight\n", demoRequests)
	calls := checkOptions{requests: demoRequests, mode: "pipelined", window: 64, out: out}
	if err := demoRun(ctx, self, &calls, false); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nall answers as expected")
	return nil
}

// demoRun runs the checks against a child of this very program.
func demoRun(ctx context.Context, self string, o *checkOptions, ticks bool) error {
	f := connFlags{tick: ticks}
	o.service = testservice.New(version())
	c, err := endpoint.Exec{Args: []string{self, "serve", "--handler", "test"}}.Dial(ctx, f.options(o.service))
	if err != nil {
		return err
	}
	err = o.run(ctx, c)
	if ticks {
		fmt.Fprintln(os.Stderr)
	}
	return errors.Join(err, hangUp(ctx, c))
}
