package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/testservice"
	"github.com/packetstream/packetstream/pconn"
)

func newServeCommand() *cobra.Command {
	var f connFlags
	var handler string
	cmd := &cobra.Command{
		Use:   "serve [flags] [ENDPOINT]",
		Short: "Serve requests, by default on standard input and output",
		Long: `Serve answers requests until the peer ends the connection, or on a listening endpoint until it is
told to stop; its address is then told on standard error, after LISTENING. The handler is one of
  echo      answers each request with its own flags and payload
  test      the test service: request types 0 to 9, including asking back (see packetstream check)
  exec:CMD  runs a shell command for each request: the payload is its standard input, its output the
            response, PACKETSTREAM_TYPE and PACKETSTREAM_FLAGS in its environment; a command that
            fails is a rejection with the end of its standard error

SIGTERM and SIGINT finish what is in flight and then end, a second one ends at once. SIGQUIT prints what
is in flight to standard error.`,
		Example: `  packetstream serve --handler test
  packetstream serve --handler 'exec:tr a-z A-Z' unix:/run/upper.sock`,
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := newHandler(handler)
			if err != nil {
				return err
			}
			at := "stdio:"
			switch len(args) {
			case 0:
			case 1:
				at = args[0]
			default:
				return usagef("serve takes one endpoint, got %q", args)
			}
			defer f.done()
			return serve(cmd.Context(), at, f.options(h), cmd.ErrOrStderr())
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&handler, "handler", "echo", "echo, test or exec:CMD")
	return cmd
}

func newHandler(name string) (pconn.Handler, error) {
	switch {
	case name == "echo":
		return pconn.HandlerFunc(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
			return pconn.FlagsBytes(req.Flags, req.Payload), nil
		}), nil
	case name == "test":
		return testservice.New(version()), nil
	case strings.HasPrefix(name, "exec:") && name != "exec:":
		return execHandler(strings.TrimPrefix(name, "exec:")), nil
	}
	return nil, usagef("--handler is echo, test or exec:CMD, not %q", name)
}

// execErrorText is how much of a failed command's standard error its rejection carries.
const execErrorText = 512

// execHandler runs a shell command for each request. The command ends with the request's context.
func execHandler(command string) pconn.Handler {
	return pconn.HandlerFunc(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
		cmd.Env = append(os.Environ(),
			fmt.Sprintf("PACKETSTREAM_TYPE=%d", req.Type), fmt.Sprintf("PACKETSTREAM_FLAGS=%d", req.Flags))
		cmd.Stdin = bytes.NewReader(req.Payload)
		var stdout, stderr limitedBuffer
		stdout.max, stderr.max = pconn.DefaultMaxPayload, execErrorText
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil {
			return pconn.Reply{}, pconn.Errorf("%w: %s", err, bytes.TrimSpace(stderr.buf))
		}
		if stdout.over {
			return pconn.Reply{}, pconn.Errorf("output of more than %d bytes", stdout.max)
		}
		return pconn.Bytes(stdout.buf), nil
	})
}

// limitedBuffer keeps the first max bytes and takes the rest away.
type limitedBuffer struct {
	buf  []byte
	max  int
	over bool
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	n := min(len(p), b.max-len(b.buf))
	b.buf = append(b.buf, p[:n]...)
	b.over = b.over || n < len(p)
	return len(p), nil
}

// serve serves one endpoint until its end or a signal.
func serve(ctx context.Context, at string, opts *pconn.Options, errOut io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conns := new(openConns)
	opts.Handler = conns.watch(opts.Handler)
	opts.OnRecvEOF = func(c *pconn.Conn) { conns.open.Delete(c) }

	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { conns.obey(signals, done, cancel, errOut) })
	defer wg.Wait()
	defer close(done)
	defer signal.Stop(signals)
	return listen(ctx, at, opts, errOut)
}

// listen serves the endpoint, and tells its address if it is one that listens.
func listen(ctx context.Context, at string, opts *pconn.Options, errOut io.Writer) error {
	l, err := endpoint.Listen(ctx, at)
	if errors.Is(err, endpoint.ErrNotListening) {
		return endpoint.Serve(ctx, at, opts)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(errOut, "LISTENING", l.Addr())
	return l.Serve(ctx, opts)
}

// openConns are the connections that have made requests and are open.
type openConns struct {
	open sync.Map // of *pconn.Conn
}

// watch returns h with an eye on the connections of its requests.
func (s *openConns) watch(h pconn.Handler) pconn.Handler {
	return pconn.HandlerFunc(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		if _, known := s.open.Load(req.Conn); !known {
			s.open.Store(req.Conn, true)
		}
		return h.ServePacket(ctx, req)
	})
}

// obey does what signals ask for, until done is closed: the first drains, a second closes, SIGQUIT
// prints what is in flight.
func (s *openConns) obey(signals <-chan os.Signal, done <-chan struct{}, drain func(), errOut io.Writer) {
	for n := 0; ; {
		select {
		case <-done:
			return
		case sig := <-signals:
			switch {
			case sig == syscall.SIGQUIT:
				s.print(errOut)
			case n == 0:
				n++
				drain()
			default:
				s.close()
			}
		}
	}
}

func (s *openConns) print(w io.Writer) {
	s.open.Range(func(c, _ any) bool {
		flight := c.(*pconn.Conn).InFlight()
		fmt.Fprintf(w, "packetstream: %d in flight\n", len(flight))
		for _, f := range flight {
			fmt.Fprintf(w, "  %v\n", f)
		}
		return true
	})
}

// close ends the connections at once.
func (s *openConns) close() {
	var wg sync.WaitGroup
	s.open.Range(func(c, _ any) bool {
		wg.Go(func() { _ = c.(*pconn.Conn).Close() }) // handlers that stay are told of by the end of serving
		return true
	})
	wg.Wait()
}
