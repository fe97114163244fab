package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
	"github.com/packetstream/packetstream/rpc/prpc"
)

// Exit codes. exitHelp is what the help says of them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitLost        = 3
	exitTimeout     = 4
	exitInterrupted = 130
)

const exitHelp = `Exit codes:
  0    all well; serve: the peer ended it, or a signal after which all that was in flight was finished
  1    the peer rejected a request or a stream, an answer could not be taken, or a check found a difference
  2    the command line makes no sense, or standard input or output is a terminal
  3    no connection, or it ended in the middle, or not in good order
  4    time was up
  130  interrupted; serve: by a second signal
A closed standard output is no failure: the rest is not done, and the exit code is 0.`

var (
	// errFailed is a failure that was reported already.
	errFailed = errors.New("failed")

	// errInterrupted is the cause of a context that a signal ended.
	errInterrupted = errors.New("interrupted")

	// errTimeout is the cause of a context whose time was up.
	errTimeout = errors.New("time was up")
)

// usageError is a command line that makes no sense.
type usageError struct {
	command string
	err     error
}

func usagef(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{cmd.CommandPath(), fmt.Errorf(format, args...)}
}

func (e *usageError) Error() string {
	return fmt.Sprintf("%v (see %s --help)", e.err, e.command)
}

func (e *usageError) Unwrap() error { return e.err }

// outputError is a failure to write to standard output.
type outputError struct{ err error }

func (e *outputError) Error() string { return "standard output: " + e.err.Error() }
func (e *outputError) Unwrap() error { return e.err }

// dataWriter is standard output, whose errors are to be told from those of connections.
type dataWriter struct{ w io.Writer }

func (d dataWriter) Write(p []byte) (int, error) {
	n, err := d.w.Write(p)
	if err != nil {
		err = &outputError{err}
	}
	return n, err
}

// hadEnough reports whether err is a closed standard output.
func hadEnough(err error) bool {
	var out *outputError
	return errors.As(err, &out) && errors.Is(out.err, syscall.EPIPE)
}

// outcomeError is what a command's work failed with, and how its connection ended besides.
type outcomeError struct{ work, end error }

func (e *outcomeError) Error() string   { return errors.Join(e.work, e.end).Error() }
func (e *outcomeError) Unwrap() []error { return []error{e.work, e.end} }

// outcome makes one error of how the work went and how the connection ended. The end counts where the work
// does not explain it.
func outcome(work, end error) error {
	switch {
	case work == nil:
		return end
	case end == nil || work != errFailed:
		return work
	}
	return &outcomeError{work, end}
}

// errorText is what is said of an error, "" for nothing.
func errorText(err error) string {
	var both *outcomeError
	switch {
	case err == nil, err == errFailed, hadEnough(err):
		return ""
	case errors.As(err, &both):
		return both.end.Error()
	}
	return err.Error()
}

func exitCode(err error) int {
	switch {
	case err == nil, hadEnough(err):
		return exitOK
	case isUsage(err):
		return exitUsage
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.Is(err, errFailed), errors.As(err, new(*outputError)), errors.As(err, new(*prpc.RemoteError)),
		errors.Is(err, pconn.ErrStreamRefused):
		return exitFailed
	case errors.Is(err, errTimeout), errors.Is(err, context.DeadlineExceeded):
		return exitTimeout
	}
	return exitLost
}

// isUsage reports whether err is a mistake in the command line or in how the program was started.
func isUsage(err error) bool {
	return errors.As(err, new(*usageError)) ||
		errors.As(err, new(*endpoint.SyntaxError)) ||
		errors.As(err, new(*endpoint.UnknownSchemeError)) ||
		errors.Is(err, endpoint.ErrTerminal)
}
