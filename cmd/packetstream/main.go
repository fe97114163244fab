// Command packetstream calls and serves packet connections from the shell.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/pconn"
)

// Exit codes, as the help of the root command documents them.
const (
	exitOK       = 0
	exitFailed   = 1 // the peer rejected a request, or a check found a difference
	exitUsage    = 2
	exitLost     = 3 // no connection, or it ended in the middle
	exitTimeout  = 4
	exitSignaled = 130
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:]))
}

// run runs one command line and returns its exit code.
func run(ctx context.Context, args []string) int {
	root := newRootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !errors.Is(err, errQuiet) && !errors.Is(err, syscall.EPIPE) {
		fmt.Fprintln(os.Stderr, "packetstream:", err)
	}
	return exitCode(err)
}

// errQuiet is a failure that was reported already.
var errQuiet = errors.New("failed")

// usageError is a command line that cannot be meant.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func exitCode(err error) int {
	var usage usageError
	var remote *pconn.RemoteError
	var coded interface{ ExitCode() int }
	switch {
	case err == nil, errors.Is(err, syscall.EPIPE):
		// A reader of our standard output that has had enough is no failure.
		return exitOK
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, errQuiet), errors.As(err, &remote):
		return exitFailed
	case errors.Is(err, errInterrupted):
		return exitSignaled
	case errors.Is(err, context.DeadlineExceeded):
		return exitTimeout
	case errors.As(err, &coded):
		return coded.ExitCode()
	}
	return exitLost
}

const rootHelp = `Packet connections carry many requests at a time, both ways, over one pair of byte streams:
a subprocess's standard input and output, descriptors, a socket.

An ENDPOINT is one of
  exec:COMMAND ARGS...  a subprocess, split as a shell does without expansions; or put -- CMD ARGS... last
  stdio:                this process's standard input and output
  fd:R,W                descriptors to read and write, or fd:N for a socket
  unix:PATH             a unix socket
  tcp:HOST:PORT         a TCP socket

Exit codes: 0 all well; 1 the peer rejected a request, or a check found a difference; 2 usage;
3 no connection, or it ended in the middle; 4 time was up; 130 interrupted.

PACKETSTREAM_TRACE=FILE (or stderr) logs the header of every packet.`

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "packetstream",
		Short:         "Call and serve packet connections",
		Long:          rootHelp,
		Example:       "  packetstream call --type 1 --flags 5 -- packetstream serve --handler test\n  packetstream demo",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		newCallCommand(),
		newServeCommand(),
		newCheckCommand(),
		newDemoCommand(),
		newVersionCommand(),
	)
	return root
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  packetstream version",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "packetstream", version())
			return err
		},
	}
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments, got %q", cmd.CommandPath(), args)
	}
	return nil
}

// version returns what the go command knows of the build.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// errInterrupted is the cause of a context that a signal ended.
var errInterrupted = errors.New("interrupted")

// untilInterrupted returns a context that SIGINT and SIGTERM end.
func untilInterrupted(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() { // ends by the returned func
		select {
		case <-signals:
			cancel(errInterrupted)
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}
