// Command packetstream calls and serves packet connections from the shell.
package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:]))
}

func run(ctx context.Context, args []string) int {
	root := newRootCommand()
	root.SetArgs(args)
	if err := root.ExecuteContext(ctx); err != nil {
		return 1
	}
	return 0
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "packetstream",
		Short:         "Call and serve packet connections",
		SilenceUsage:  true,
		SilenceErrors: false,
	}
	return root
}
