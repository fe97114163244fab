package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

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

// run connects and runs what is to be done with the client and the arguments before the endpoint, of which there are own.
func (f *grpcFlags) run(cmd *cobra.Command, args []string, own int, do func(ctx context.Context, cc *grpclinks.ClientConn, args []string) error) error {
	ctx, stop := untilInterrupted(cmd.Context())
	defer stop()
	if f.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.timeout)
		defer cancel()
	}
	packets := links.NewPackets(f.channel)
	opts := f.conn.options(nil)
	opts.Channels = map[uint64]pconn.Handler{f.channel: packets}
	c, err := connectAfter(ctx, cmd, args, own, opts)
	if err != nil {
		return err
	}
	defer f.conn.done()
	packets.Bind(c.Conn)
	conn, err := links.NewConn(packets, &links.ConnOptions{Unordered: true})
	if err != nil {
		return errors.Join(err, hangUp(ctx, c))
	}
	cc := grpclinks.NewClientConn(conn, nil)
	err = do(ctx, cc, args[:own])
	err = errors.Join(grpcError(ctx, conn, err), cc.Close(), conn.Close())
	return errors.Join(err, hangUp(ctx, c))
}

// connectAfter connects as connect does, with so many arguments of the command's own before the endpoint.
func connectAfter(ctx context.Context, cmd *cobra.Command, args []string, own int, opts *pconn.Options) (*endpoint.Conn, error) {
	dash := cmd.ArgsLenAtDash()
	switch {
	case dash == own && len(args) > own:
		return endpoint.Exec{Args: args[own:]}.Dial(ctx, opts)
	case dash < 0 && len(args) == own+1:
		return endpoint.Dial(ctx, args[own], opts)
	}
	return nil, usagef("%s takes %d argument(s) and one ENDPOINT, or -- and a command; got %q", cmd.CommandPath(), own, args)
}

// statusError is a call that the peer answered with a status other than OK.
type statusError struct{ error }

func (statusError) ExitCode() int   { return exitFailed }
func (e statusError) Unwrap() error { return e.error }

// grpcError tells what the peer answered from the end of the connection and of the time.
func grpcError(ctx context.Context, conn *links.Conn, err error) error {
	var refused statusError
	_, ok := status.FromError(err)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case ok && conn.Err() == nil && !errors.As(err, &refused):
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
				s, err := newSchema(ctx, cc)
				if err != nil {
					return err
				}
				names, err := s.services()
				if err != nil {
					return err
				}
				for _, name := range names {
					fmt.Fprintln(cmd.OutOrStdout(), name)
				}
				return s.close()
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
				s, err := newSchema(ctx, cc)
				if err != nil {
					return err
				}
				descriptor, _, err := s.find(strings.ReplaceAll(args[0], "/", "."))
				if err != nil {
					return err
				}
				describe(cmd.OutOrStdout(), descriptor)
				return s.close()
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
				ctx, err := withHeaders(ctx, headers)
				if err != nil {
					return err
				}
				return callMethod(ctx, cc, args[0], in, cmd.OutOrStdout())
			})
		},
	}
	f.add(cmd)
	cmd.Flags().StringVarP(&data, "data", "d", "", "messages as JSON; - reads standard input")
	cmd.Flags().StringArrayVarP(&headers, "header", "H", nil, "metadata as KEY:VALUE, may be repeated")
	return cmd
}

func withHeaders(ctx context.Context, headers []string) (context.Context, error) {
	for _, header := range headers {
		key, value, ok := strings.Cut(header, ":")
		if !ok {
			return nil, usagef("--header takes KEY:VALUE, got %q", header)
		}
		ctx = metadata.AppendToOutgoingContext(ctx, strings.TrimSpace(key), strings.TrimSpace(value))
	}
	return ctx, nil
}

// callMethod finds the method and runs it as a stream, which all kinds of methods are.
func callMethod(ctx context.Context, cc *grpclinks.ClientConn, path string, in io.Reader, out io.Writer) error {
	s, err := newSchema(ctx, cc)
	if err != nil {
		return err
	}
	path = strings.TrimPrefix(path, "/")
	descriptor, files, err := s.find(strings.ReplaceAll(path, "/", "."))
	if err != nil {
		return err
	}
	method, ok := descriptor.(protoreflect.MethodDescriptor)
	if !ok {
		return usagef("%s is no method", path)
	}
	if err := s.close(); err != nil {
		return err
	}
	types := dynamicpb.NewTypes(files)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	desc := &grpc.StreamDesc{ClientStreams: method.IsStreamingClient(), ServerStreams: method.IsStreamingServer()}
	stream, err := cc.NewStream(ctx, desc, fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name()))
	if err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() { // ends with the input or the call; what it says counts only if the call does not say more
		err := sendJSON(stream, method, types, in)
		if err != nil {
			cancel()
		}
		sent <- err
	}()
	err = receiveJSON(stream, method, types, out)
	select {
	case sendErr := <-sent:
		if sendErr != nil {
			return sendErr
		}
	default: // it still waits for input that nobody needs any more
	}
	return err
}

func sendJSON(stream grpc.ClientStream, method protoreflect.MethodDescriptor, types *dynamicpb.Types, in io.Reader) error {
	decoder := json.NewDecoder(in)
	for n := 0; ; n++ {
		var object json.RawMessage
		err := decoder.Decode(&object)
		switch {
		case err == io.EOF && (n > 0 || method.IsStreamingClient()):
			return stream.CloseSend()
		case err == io.EOF:
			object = json.RawMessage("{}")
		case err != nil:
			return usagef("the messages are not JSON: %v", err)
		case n > 0 && !method.IsStreamingClient():
			return usagef("%s takes one message", method.FullName())
		}
		message := dynamicpb.NewMessage(method.Input())
		if err := (protojson.UnmarshalOptions{Resolver: types}).Unmarshal(object, message); err != nil {
			return usagef("message %d is no %s: %v", n, method.Input().FullName(), err)
		}
		if err := stream.SendMsg(message); err != nil {
			return nil // receiving tells why
		}
	}
}

func receiveJSON(stream grpc.ClientStream, method protoreflect.MethodDescriptor, types *dynamicpb.Types, w io.Writer) error {
	out := bufio.NewWriter(w)
	for {
		message := dynamicpb.NewMessage(method.Output())
		if err := stream.RecvMsg(message); err != nil {
			if err == io.EOF {
				err = nil
			}
			return err
		}
		text, err := protojson.MarshalOptions{Resolver: types}.Marshal(message)
		if err != nil {
			return err
		}
		// protojson varies its spaces on purpose; a line of output should not.
		var line bytes.Buffer
		if err := json.Compact(&line, text); err != nil {
			return err
		}
		line.WriteByte('\n')
		if _, err := out.Write(line.Bytes()); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
		if !method.IsStreamingServer() {
			return nil
		}
	}
}
