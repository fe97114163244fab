package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/prpctest"
	"github.com/packetstream/packetstream/rpc/prpc"
)

// prpcServe is one run of the command.
type prpcServe struct {
	listen, path     string
	handler          string
	data             string
	stdio            bool
	trace            bool
	readTimeout      time.Duration
	handshakeTimeout time.Duration

	errOut io.Writer
}

func newPRPCServeCommand() *cobra.Command {
	var s prpcServe
	cmd := &cobra.Command{
		Use:   "serve [flags]",
		Short: "Serve methods over WebSockets, or on standard input and output",
		Long: `Serve methods over WebSockets until interrupted. The URL is told on standard error, after LISTENING, when
connections are accepted. With --stdio, serve one connection on standard input and
output instead, until it ends.

The handler "test" offers the services of the pRpc interop kit: ping, echo, streams, util.

SIGTERM and SIGINT close the connections.

` + exitHelp,
		Example: `  packetstream prpc serve --listen localhost:8080 --handler test
  packetstream prpc serve --stdio --handler test`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s.errOut = cmd.ErrOrStderr()
			ctx, stop := untilInterrupted(cmd.Context())
			defer stop()
			return s.run(ctx, cmd)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&s.listen, "listen", "localhost:0", "`ADDRESS` to listen on, HOST:PORT; port 0 chooses one")
	flags.StringVar(&s.path, "path", "/", "`PATH` of the URL")
	flags.StringVar(&s.handler, "handler", "test", "what to serve: test")
	flags.StringVar(&s.data, "data", "", "user data of the handshake, in `JSON`")
	flags.BoolVar(&s.stdio, "stdio", false, "serve one connection on standard input and output")
	flags.BoolVar(&s.trace, "trace", false, "send the chain of errors of a failed method to its caller")
	flags.DurationVar(&s.readTimeout, "read-timeout", 0, "how long a stream's reader may stand still (default 5s)")
	flags.DurationVar(&s.handshakeTimeout, "handshake-timeout", 0, "time limit of the handshake (default 1m)")
	return cmd
}

func (s *prpcServe) run(ctx context.Context, cmd *cobra.Command) error {
	if s.handler != "test" {
		return usagef(cmd, "--handler %s: there is only test", s.handler)
	}
	data, err := jsonFlag(cmd, "data", s.data)
	if err != nil {
		return err
	}
	methods, err := prpctest.Services()
	if err != nil {
		return err
	}
	options := &prpc.Options{
		Methods: methods, Data: data, ServeTrace: s.trace,
		ReadTimeout: s.readTimeout, HandshakeTimeout: s.handshakeTimeout,
	}
	if s.stdio {
		return serveStdio(ctx, options)
	}
	return s.serve(ctx, options)
}

// serve accepts WebSockets until ctx ends.
func (s *prpcServe) serve(ctx context.Context, options *prpc.Options) error {
	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		return err
	}
	methods := prpc.NewServer(options)
	mux := http.NewServeMux()
	mux.Handle(s.path, methods)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Fprintf(s.errOut, "LISTENING ws://%s%s\n", listener.Addr(), s.path)
	select {
	case <-ctx.Done():
	case err = <-served:
	}
	return errors.Join(err, server.Close(), methods.Close())
}

// serveStdio serves the one connection on standard input and output.
func serveStdio(ctx context.Context, options *prpc.Options) error {
	stream, err := endpoint.Stdio{}.Open(ctx)
	if err != nil {
		return err
	}
	conn, err := prpc.Accept(ctx, prpc.NewByteStream(stream, 0), options)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	conn.Wait()
	var closed *prpc.CloseError
	if err := conn.Err(); ctx.Err() == nil && !errors.As(err, &closed) && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
