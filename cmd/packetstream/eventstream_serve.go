package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/internal/eventstreamtest"
	"github.com/packetstream/packetstream/rpc/eventstream"
)

// shutdownGrace is how long serve lets open streams finish after a signal.
const shutdownGrace = 5 * time.Second

func newEventstreamServeCommand() *cobra.Command {
	var listen, cert, key string
	var quiet bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the event-stream RPC test service",
		Long: `Serve the service that interop checks use: interop#Echo, #Chat, #Count, #Fail, #Sink, #Hold, #Drop, #Stats and
#Refuse. Its address is told on standard error, after LISTENING. SIGTERM and SIGINT end it once open streams
are done, within 5 seconds; a second one ends it at once.

` + exitHelp,
		Example: `  packetstream eventstream serve --listen tcp:127.0.0.1:8080
  packetstream eventstream serve --listen tls:127.0.0.1:8443 --cert server.pem --key server.key`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilInterrupted(cmd.Context())
			defer stop()
			l, err := listenEventstream(cmd, listen, cert, key)
			if err != nil {
				return err
			}
			s := eventstreamtest.New()
			if !quiet {
				s.Logger = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			}
			return serveEventstream(ctx, s, l, cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", "tcp:127.0.0.1:0", "`ADDRESS` to listen at: tcp:HOST:PORT, tls:HOST:PORT or unix:PATH")
	f.StringVar(&cert, "cert", "", "PEM `FILE` with the certificate for tls:")
	f.StringVar(&key, "key", "", "PEM `FILE` with the certificate's key for tls:")
	f.BoolVarP(&quiet, "quiet", "q", false, "say nothing of failed connections and handlers")
	return cmd
}

func listenEventstream(cmd *cobra.Command, where, cert, key string) (net.Listener, error) {
	network, address, secure, err := splitAddress(cmd, where)
	if err != nil {
		return nil, err
	}
	if !secure {
		return net.Listen(network, address)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, usagef(cmd, "--cert and --key: %w", err)
	}
	return tls.Listen(network, address, &tls.Config{Certificates: []tls.Certificate{pair}})
}

func serveEventstream(ctx context.Context, s *eventstream.Server, l net.Listener, errOut io.Writer) error {
	fmt.Fprintln(errOut, "LISTENING", l.Addr())
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	err := s.Shutdown(grace)
	if served := <-served; !errors.Is(served, eventstream.ErrServerClosed) {
		err = served
	}
	return err
}
