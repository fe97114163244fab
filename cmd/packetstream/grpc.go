package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
	"github.com/packetstream/packetstream/rpc/grpclinks"
	"github.com/packetstream/packetstream/rpc/links"
)

func newGRPCCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "grpc",
		Short: "Call gRPC services over a packet connection",
		Long: `Grpc calls what a program serves with grpclinks on a channel of its packet connection. The program's
reflection service says what there is.

A status that is not OK exits with 1.`,
		Example: "  packetstream grpc list -- ./plugin",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newGRPCListCommand(), newGRPCDescribeCommand(), newGRPCCallCommand())
	return cmd
}

// grpcFlags are what the commands below grpc have in common.
type grpcFlags struct {
	conn    connFlags
	channel uint64
	timeout time.Duration
}

func (f *grpcFlags) add(cmd *cobra.Command) {
	f.conn.add(cmd)
	cmd.Flags().Uint64Var(&f.channel, "channel", links.PacketChannel, "channel that carries the calls")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 0, "time for everything, 0 for no limit")
}

// run connects and does with the client what is to be done; own arguments of the command stand before the endpoint.
func (f *grpcFlags) run(cmd *cobra.Command, args []string, own int, do func(ctx context.Context, cc *grpclinks.ClientConn, args []string) error) error {
	peer, err := parsePeerAfter(cmd, args, own)
	if err == nil {
		err = f.conn.check(cmd)
	}
	if err != nil {
		return err
	}
	if f.conn.dryRun {
		return printPlan(cmd.OutOrStdout(), peer)
	}
	ctx, stop := untilInterrupted(cmd.Context())
	defer stop()
	ctx, cancel := withTimeout(ctx, f.timeout)
	defer cancel()
	packets := links.NewPackets(f.channel)
	opts := f.conn.options(nil)
	defer f.conn.done()
	opts.Channels = map[uint64]pconn.Handler{f.channel: packets}
	return converse(ctx, peer, opts, func(c *endpoint.Conn) error {
		packets.Bind(c.Conn)
		conn, err := links.NewConn(packets, &links.ConnOptions{Unordered: true})
		if err != nil {
			return err
		}
		cc := grpclinks.NewClientConn(conn, nil)
		err = grpcError(ctx, cmd, conn, do(ctx, cc, args[:own]))
		return errors.Join(err, cc.Close(), conn.Close())
	})
}

// parsePeerAfter is parsePeer with so many arguments of the command's own before the endpoint.
func parsePeerAfter(cmd *cobra.Command, args []string, own int) (endpoint.Endpoint, error) {
	dash := cmd.ArgsLenAtDash()
	switch {
	case dash == own && len(args) > own:
		return endpoint.Exec{Args: args[own:]}, nil
	case dash < 0 && len(args) == own+1:
		return parseEndpoint(cmd, args[own])
	}
	return nil, usagef(cmd, "it takes %d argument(s) and one ENDPOINT, or -- and a command; got %q", own, args)
}

// statusError is a call that the peer answered with a status other than OK.
type statusError struct{ error }

// Is makes it a failure of the peer's for the exit code.
func (statusError) Is(target error) bool { return target == errFailed }

func (e statusError) Unwrap() error { return e.error }

// grpcError tells what the peer answered from the end of the connection, of the time, and from input that does not fit.
func grpcError(ctx context.Context, cmd *cobra.Command, conn *links.Conn, err error) error {
	var input *grpclinks.InputError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &input):
		return usagef(cmd, "%w", err)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case conn.Err() == nil && grpclinks.Refused(err):
		return statusError{err}
	default:
		return err
	}
}

func newGRPCListCommand() *cobra.Command {
	var f grpcFlags
	cmd := &cobra.Command{
		Use:     "list [flags] ENDPOINT | -- CMD ARGS...",
		Short:   "List the services",
		Example: "  packetstream grpc list -- ./plugin",
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd, args, 0, func(ctx context.Context, cc *grpclinks.ClientConn, _ []string) error {
				names, err := grpclinks.NewExplorer(cc).Services(ctx)
				for _, name := range names {
					fmt.Fprintln(cmd.OutOrStdout(), name)
				}
				return err
			})
		},
	}
	f.add(cmd)
	return cmd
}

func newGRPCDescribeCommand() *cobra.Command {
	var f grpcFlags
	cmd := &cobra.Command{
		Use:     "describe [flags] NAME ENDPOINT | NAME -- CMD ARGS...",
		Short:   "Print a service, method, message or enum",
		Example: "  packetstream grpc describe words.Explainer -- ./plugin",
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd, args, 1, func(ctx context.Context, cc *grpclinks.ClientConn, args []string) error {
				return grpclinks.NewExplorer(cc).Describe(ctx, cmd.OutOrStdout(), args[0])
			})
		},
	}
	f.add(cmd)
	return cmd
}

func newGRPCCallCommand() *cobra.Command {
	var f grpcFlags
	var data string
	var headers []string
	cmd := &cobra.Command{
		Use:   "call [flags] SERVICE/METHOD ENDPOINT | SERVICE/METHOD -- CMD ARGS...",
		Short: "Call a method, with JSON in and out",
		Long: `Call sends each JSON object of --data, or of standard input for "-", as a message, and prints each
message that comes back as one line of JSON. A method that takes one message is sent an empty one
if there is none.`,
		Example: `  packetstream grpc call --data '{"text":"pipe"}' words.Explainer/Explain -- ./plugin`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in := io.Reader(strings.NewReader(data))
			if data == "-" {
				in = cmd.InOrStdin()
			}
			return f.run(cmd, args, 1, func(ctx context.Context, cc *grpclinks.ClientConn, args []string) error {
				ctx, err := grpclinks.WithHeaders(ctx, headers)
				if err != nil {
					return err
				}
				return grpclinks.NewExplorer(cc).Call(ctx, args[0], in, cmd.OutOrStdout())
			})
		},
	}
	f.add(cmd)
	cmd.Flags().StringVarP(&data, "data", "d", "", "messages as `JSON`; - reads standard input")
	cmd.Flags().StringArrayVarP(&headers, "header", "H", nil, "metadata, `KEY:VALUE`; may be repeated")
	return cmd
}
