package main

import "github.com/spf13/cobra"

func newRootCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "bench",
		Short:         "Measure packetstream beside other libraries and the bare system calls",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.AddCommand(newRunCommand(), newGoalsCommand(), newReportCommand(), newProfileCommand(), newListCommand(),
		newEventstreamCommand(), newStubsCommand(), newStreamsCommand(), newCallerCommand(), newAnswererCommand(), newIdleCommand(),
		newStubsAnswererCommand(), newStreamsChildCommand())
	return cmd
}
