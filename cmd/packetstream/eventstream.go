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
		Args:    knownCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newEventstreamDecodeCommand(), newEventstreamCallCommand(), newEventstreamServeCommand())
	return cmd
}

// refusedError is a failure that is still to be reported: the peer refused, or what was looked at is wrong.
type refusedError struct{ err error }

func (e *refusedError) Error() string        { return e.err.Error() }
func (e *refusedError) Unwrap() error        { return e.err }
func (e *refusedError) Is(target error) bool { return target == errFailed }

// refusal marks the errors of a call by which the peer refused it.
func refusal(err error) error {
	if errors.As(err, new(*eventstream.ApplicationError)) || errors.As(err, new(*eventstream.RejectedError)) {
		return &refusedError{err}
	}
	return err
}
