package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/rpc/mushroom"
)

// mushroomCall is what the flags of "mushroom call" say.
type mushroomCall struct {
	transports []string
	auth       string
	timeout    time.Duration
	notify     bool
	follow     bool
	dryRun     bool
}

func newMushroomCallCommand() *cobra.Command {
	var c mushroomCall
	cmd := &cobra.Command{
		Use:   "call URL [METHOD [DATA]] | call [METHOD [DATA]] -- COMMAND [ARG...]",
		Short: "Call a method of a mushroom server, or follow its notifications",
		Long: `Call a method of the server at URL, or of the command, with DATA, which is JSON ("-" reads it from standard
input; without it, null), and print the answer as one line of JSON.

With --follow, notifications are printed as they come, one JSON object a line with "method" and "data", until
the session ends or the command is interrupted.

Exit codes are those of packetstream: 1 means that the method answered with an error, which is printed to
standard error.`,
		Example: `  packetstream mushroom call http://localhost:8080/ add '[1, 2]'
  packetstream mushroom call http://localhost:8080/ --follow --transport poll
  packetstream mushroom call echo '"hello"' -- packetstream mushroom serve --stdio`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := untilInterrupted(cmd.Context())
			defer stop()
			cmd.SetContext(ctx)
			return c.run(cmd, args, cmd.ArgsLenAtDash())
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&c.transports, "transport", nil, `transports to ask for, in order (default "ws,poll")`)
	flags.StringVar(&c.auth, "auth", "", "`JSON` to authenticate with")
	flags.DurationVar(&c.timeout, "timeout", 30*time.Second, "how long to wait for the answer")
	flags.BoolVar(&c.notify, "notify", false, "send a notification, which has no answer")
	flags.BoolVar(&c.follow, "follow", false, "print notifications as they come")
	flags.BoolVar(&c.dryRun, "dry-run", false, "print what would be started or connected to, and do nothing")
	return cmd
}

func (c *mushroomCall) run(cmd *cobra.Command, args []string, dash int) error {
	var command []string
	var url string
	if dash >= 0 {
		args, command = args[:dash], args[dash:]
		if len(command) == 0 {
			return usagef(cmd, "no command after --")
		}
	} else {
		if len(args) == 0 {
			return usagef(cmd, "no URL, and no command after --")
		}
		url, args = args[0], args[1:]
	}
	switch {
	case len(args) > 2:
		return usagef(cmd, "too many arguments: %q", args[2:])
	case len(args) == 0 && !c.follow:
		return usagef(cmd, "no method to call")
	}
	data, err := c.data(cmd, args)
	if err != nil {
		return err
	}
	if c.dryRun {
		if command != nil {
			return printPlan(dataWriter{cmd.OutOrStdout()}, endpoint.Exec{Args: command})
		}
		_, err := fmt.Fprintln(dataWriter{cmd.OutOrStdout()}, "would connect to", url)
		return err
	}
	printer := &notificationPrinter{out: dataWriter{cmd.OutOrStdout()}, quiet: !c.follow, failed: make(chan error, 1)}
	if command != nil {
		return c.runCommand(cmd, printer, command, args, data)
	}
	session, err := c.dial(cmd, printer, url)
	if err != nil {
		return interrupted(cmd.Context(), err)
	}
	return c.converse(cmd, session, printer, args, data)
}

// runCommand has the session with a command's standard input and output.
func (c *mushroomCall) runCommand(cmd *cobra.Command, printer *notificationPrinter, command, args []string, data json.RawMessage) error {
	pipes, err := endpoint.Exec{Args: command}.Open(cmd.Context())
	if err != nil {
		return interrupted(cmd.Context(), err)
	}
	session, err := mushroom.NewStream(stoppedApart{pipes}, &mushroom.StreamOptions{Dispatcher: printer})
	if err == nil {
		err = c.converse(cmd, session, printer, args, data)
	}
	// How a command ends that has answered is its own affair.
	if end := pipes.Close(); end != nil && errors.Is(err, mushroom.ErrDisconnected) {
		return fmt.Errorf("%w: %w", end, err)
	}
	return err
}

// stoppedApart lets a session close without waiting until its command has been stopped, which takes the time
// that the command takes. Closing the Transport, too, waits for it.
type stoppedApart struct{ endpoint.Transport }

func (s stoppedApart) Close() error {
	go func() { _ = s.Transport.Close() }() // runCommand waits for it and takes the error
	return nil
}

// converse makes the call and ends the session.
func (c *mushroomCall) converse(cmd *cobra.Command, session *mushroom.Session, printer *notificationPrinter, args []string, data json.RawMessage) error {
	err := c.talk(cmd, session, printer.failed, args, data)
	if closing := session.Close(); err == nil {
		err = closing
	}
	<-session.Done()
	return err
}

// data is the JSON to send.
func (c *mushroomCall) data(cmd *cobra.Command, args []string) (json.RawMessage, error) {
	if len(args) < 2 {
		return nil, nil
	}
	text := []byte(args[1])
	if args[1] == "-" {
		var err error
		if text, err = io.ReadAll(cmd.InOrStdin()); err != nil {
			return nil, fmt.Errorf("data: %w", err)
		}
	}
	if !json.Valid(text) {
		return nil, usagef(cmd, `data %.60q is no JSON; a text needs quotes: '"text"'`, text)
	}
	return text, nil
}

// dial begins the session with the server.
func (c *mushroomCall) dial(cmd *cobra.Command, printer *notificationPrinter, url string) (*mushroom.Session, error) {
	opts := &mushroom.DialOptions{Transports: c.transports, Dispatcher: printer}
	if c.auth != "" {
		if !json.Valid([]byte(c.auth)) {
			return nil, usagef(cmd, "auth %.60q is no JSON", c.auth)
		}
		opts.Auth = json.RawMessage(c.auth)
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), c.timeout)
	defer cancel()
	return mushroom.Dial(ctx, url, opts)
}

// talk makes the call and follows notifications, until one of them failed to be printed.
func (c *mushroomCall) talk(cmd *cobra.Command, session *mushroom.Session, failed <-chan error, args []string, data json.RawMessage) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), c.timeout)
	defer cancel()
	switch {
	case len(args) == 0:
	case c.notify:
		if err := session.Notify(args[0], data); err != nil {
			return err
		}
		if err := session.Flush(ctx); err != nil {
			return interrupted(ctx, err)
		}
	default:
		answer, err := session.Request(ctx, args[0], data)
		if errors.As(err, new(*mushroom.RequestError)) {
			return methodError{err}
		}
		if err != nil {
			return interrupted(ctx, err)
		}
		if _, err := fmt.Fprintf(dataWriter{cmd.OutOrStdout()}, "%s\n", answer); err != nil {
			return err
		}
	}
	if !c.follow {
		return nil
	}
	select {
	case <-session.Done():
		return session.Err()
	case err := <-failed:
		return err
	case <-cmd.Context().Done():
		return interrupted(cmd.Context(), nil)
	}
}

// interrupted is errInterrupted if a signal ended the context, else err.
func interrupted(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errInterrupted) {
		return cause
	}
	return err
}

// methodError is the answer of a method that failed.
type methodError struct{ error }

// Is tells it from a connection that failed.
func (methodError) Is(target error) bool { return target == errFailed }

// notificationPrinter prints notifications and refuses requests.
type notificationPrinter struct {
	out    io.Writer
	quiet  bool
	failed chan error // has room for the first failure to print
}

// Dispatch is called for one notification at a time.
func (p *notificationPrinter) Dispatch(_ context.Context, r *mushroom.Request) (any, error) {
	if r.Kind != mushroom.KindNotification {
		return nil, &mushroom.MethodNotFoundError{Name: r.Method}
	}
	if p.quiet {
		return nil, nil
	}
	err := json.NewEncoder(p.out).Encode(struct {
		Method string          `json:"method"`
		Data   json.RawMessage `json:"data"`
	}{r.Method, r.Data})
	if err != nil {
		select {
		case p.failed <- err:
		default:
		}
	}
	return nil, err
}
