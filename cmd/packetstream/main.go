// Command packetstream calls and serves packet connections from the shell. Its help is the manual.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	// A write to a broken pipe becomes an error, which outcomes tell apart: a reader of our output that has had
	// enough, or a peer that is gone. What is caught, unlike what is ignored, is not inherited. Nobody reads the channel.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	os.Exit(run(context.Background(), os.Args[1:]))
}

// run runs one command line and returns its exit code.
func run(ctx context.Context, args []string) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(dataWriter{os.Stdout})
	err := root.ExecuteContext(ctx)
	if text := errorText(err); text != "" {
		fmt.Fprintln(os.Stderr, "packetstream:", text)
	}
	return exitCode(err)
}

func rootHelp() string {
	return `Packet connections carry many requests at a time, both ways, over one pair of byte streams:
a subprocess's standard input and output, descriptors, a socket.

` + endpointHelp() + `

` + signalHelp + `

` + exitHelp + `

Standard output is data, standard error everything else. With PACKETSTREAM_TRACE=FILE (or stderr) in the
environment the header of every packet is logged.`
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "packetstream",
		Short:         "Call and serve packet connections",
		Long:          rootHelp(),
		Example:       "  packetstream call --type 1 --flags 5 -- packetstream serve --handler test\n  packetstream demo",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usagef(cmd, "%w", err) })
	root.AddCommand(
		newCallCommand(),
		newServeCommand(),
		newProxyCommand(),
		newForwardCommand(),
		newCheckCommand(),
		newDemoCommand(),
		newMushroomCommand(),
		newEventstreamCommand(),
		newPRPCCommand(),
		newGRPCCommand(),
		newVersionCommand(),
		newCompletionCommand(),
	)
	root.SetHelpCommand(newHelpCommand())
	return root
}

// knownCommand refuses what the root command is left with: an argument that is no command.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf(", did you mean %q?", near[0])
	}
	return usagef(cmd, "unknown command %q%s", args[0], hint)
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef(cmd, "it takes no arguments, got %q", args)
	}
	return nil
}
