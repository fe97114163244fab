package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/mushroomdemo"
	"github.com/packetstream/packetstream/internal/mushroomtest"
	"github.com/packetstream/packetstream/rpc/mushroom"
)

// mushroomServe is what the flags of "mushroom serve" say.
type mushroomServe struct {
	listen      string
	path        string
	baseURL     string
	origins     []string
	transports  []string
	auth        string
	pollTimeout time.Duration
	demo        bool
	stdio       bool
	verbose     bool
}

func newMushroomServeCommand() *cobra.Command {
	var s mushroomServe
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve test methods, or a demo page, over mushroom",
		Long: `Serve methods to test clients with: ping, echo, slow, note and notes, push, ask, broadcast, the fail_... methods
and others. With --demo, serve a page with a chat and a ticker for the browser instead.

The address is told on standard error, after LISTENING. SIGINT and SIGTERM end all sessions and the server.`,
		Example: `  packetstream mushroom serve --listen localhost:8080
  packetstream mushroom serve --demo
  packetstream mushroom call ping -- packetstream mushroom serve --stdio`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&s.listen, "listen", "localhost:8080", "`ADDRESS` to listen on, HOST:PORT; port 0 chooses one")
	flags.StringVar(&s.path, "path", "/", "`PATH` to serve")
	flags.StringVar(&s.baseURL, "base-url", "", "public `URL`, behind a proxy")
	flags.StringSliceVar(&s.origins, "origin", nil, "web origins whose pages may use the server (default all)")
	flags.StringSliceVar(&s.transports, "transport", nil, `transports to offer (default "ws,poll")`)
	flags.StringVar(&s.auth, "auth", "", "`JSON` that clients must authenticate with")
	flags.DurationVar(&s.pollTimeout, "poll-timeout", 40*time.Second, "how long a poll waits")
	flags.BoolVar(&s.demo, "demo", false, "serve the demo page")
	flags.BoolVar(&s.stdio, "stdio", false, "serve one session on standard input and output, one message a line")
	flags.BoolVar(&s.verbose, "verbose", false, "log what handlers and clients do wrong to standard error")
	cmd.MarkFlagsMutuallyExclusive("demo", "stdio")
	// What would have no effect is refused, above all what is there to keep others out.
	for _, flag := range []string{"path", "base-url", "origin", "transport", "auth", "poll-timeout"} {
		cmd.MarkFlagsMutuallyExclusive("demo", flag)
		cmd.MarkFlagsMutuallyExclusive("stdio", flag)
	}
	cmd.MarkFlagsMutuallyExclusive("stdio", "listen")
	return cmd
}

func (s *mushroomServe) run(cmd *cobra.Command) error {
	ctx, stop := untilInterrupted(cmd.Context())
	defer stop()
	log := slog.New(slog.DiscardHandler)
	if s.verbose {
		log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if s.demo {
		demo, err := mushroomdemo.New(log)
		if err != nil {
			return err
		}
		return s.serveHTTP(ctx, cmd, demo, demo.Close)
	}
	service, server, err := s.service(cmd, log)
	if err != nil {
		return err
	}
	defer service.Wait()
	if s.stdio {
		return s.serveStdio(ctx, service, log)
	}
	return s.serveHTTP(ctx, cmd, server, server.Shutdown)
}

func (s *mushroomServe) service(cmd *cobra.Command, log *slog.Logger) (*mushroomtest.Service, *mushroom.Server, error) {
	var auth any
	if s.auth != "" {
		if err := json.Unmarshal([]byte(s.auth), &auth); err != nil {
			return nil, nil, usagef(cmd, "auth: %w", err)
		}
	}
	return mushroomtest.New(auth, mushroom.ServerOptions{
		Path: s.path, BaseURL: s.baseURL, Origins: s.origins, Transports: s.transports,
		PollTimeout: s.pollTimeout, Log: log,
	})
}

// serveHTTP serves until the context ends, and then ends sessions before the server, which waits for
// their polls.
func (s *mushroomServe) serveHTTP(ctx context.Context, cmd *cobra.Command, handler http.Handler,
	shutdown func(context.Context) error) error {
	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		return errors.Join(err, shutdown(ctx))
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "LISTENING http://%s/%s\n", listener.Addr(), strings.TrimLeft(s.path, "/"))
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	failed := make(chan error, 1)
	// It ends with the server's Shutdown below.
	go func() { failed <- server.Serve(listener) }()
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(err, shutdown(limited), server.Shutdown(limited))
}

// serveStdio serves one session until it or the context ends.
func (s *mushroomServe) serveStdio(ctx context.Context, service *mushroomtest.Service, log *slog.Logger) error {
	pipes, err := endpoint.Stdio{}.Open(ctx)
	if err != nil {
		return err
	}
	session, err := mushroom.NewStream(pipes, &mushroom.StreamOptions{Dispatcher: service.Dispatcher(), Log: log})
	if err != nil {
		return errors.Join(err, pipes.Close())
	}
	select {
	case <-session.Done():
	case <-ctx.Done():
		err := session.Close()
		<-session.Done()
		return err
	}
	err = session.Err()
	if errors.Is(err, mushroom.ErrDisconnected) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err // a line that was cut off is not the end that it should be
}
