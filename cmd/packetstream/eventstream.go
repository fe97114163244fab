package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/rpc/eventstream"
)

func newEventstreamCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "eventstream",
		Short:   "Decode event-stream messages, call and serve the event-stream RPC protocol",
		Example: "  packetstream eventstream serve\n  packetstream eventstream call tcp:127.0.0.1:8080 interop#Echo --payload hello",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newEventstreamDecodeCommand(), newEventstreamCallCommand(), newEventstreamServeCommand())
	return cmd
}

// answeredError is an error that exits with 1: the peer refused, or what was looked at is wrong.
type answeredError struct{ error }

func (answeredError) ExitCode() int   { return exitFailed }
func (e answeredError) Unwrap() error { return e.error }

// eventstreamExit gives the errors of a call the exit code that they have.
func eventstreamExit(err error) error {
	var failure *eventstream.ApplicationError
	var rejected *eventstream.RejectedError
	if errors.As(err, &failure) || errors.As(err, &rejected) {
		return answeredError{err}
	}
	return err
}
