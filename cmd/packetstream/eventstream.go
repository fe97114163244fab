package main

import (
	"github.com/spf13/cobra"
)

func newEventstreamCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "eventstream",
		Short: "Decode event-stream messages, call and serve the event-stream RPC protocol",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(newEventstreamDecodeCommand(), newEventstreamCallCommand(), newEventstreamServeCommand())
	return cmd
}
