package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/rpc/eventstream"
)

// eventstreamCall is one run of the call command.
type eventstreamCall struct {
	operation      string
	headers        []string
	payload        string
	connectHeaders []string
	connectPayload string
	caFile         string
	serverName     string
	timeout        time.Duration
	all            bool
	lines          bool
	idle           time.Duration
	json           bool

	network, address string
	request          eventstream.Message
	opts             eventstream.Options
}

func newEventstreamCallCommand() *cobra.Command {
	var call eventstreamCall
	cmd := &cobra.Command{
		Use:   "call ADDRESS OPERATION",
		Short: "Call an operation of an event-stream RPC server",
		Long: `Connect to ADDRESS (tcp:HOST:PORT, tls:HOST:PORT or unix:PATH), open a stream for OPERATION and print the
payload of the reply, followed by a newline. With --all every message is printed, a line each, until the server
ends the stream; with --lines each line of standard input is sent as a further message. The protocol has no way to
say that one side is done, so once the input has ended the stream is ended when nothing has come for --idle.
An application error is printed to standard error and exits with 1, as does a server that rejects the connection.

Headers are NAME[:TYPE]=VALUE. TYPE is bool, byte, int16, int32, int64, byte_buf (in base64), string, timestamp
or uuid, and string if it is left out.

` + exitHelp,
		Example: `  packetstream eventstream call tcp:127.0.0.1:8080 interop#Echo --payload hello
  packetstream eventstream call unix:/run/svc.sock svc#Watch --header topic=news --all --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef(cmd, "it takes an ADDRESS and an OPERATION, got %q", args)
			}
			call.operation = args[1]
			if err := call.parse(cmd, args[0]); err != nil {
				return err
			}
			ctx, stop := untilInterrupted(cmd.Context())
			defer stop()
			ctx, cancel := withTimeout(ctx, call.timeout)
			defer cancel()
			return refusal(because(ctx, call.run(ctx, cmd.InOrStdin(), cmd.OutOrStdout())))
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&call.headers, "header", "H", nil, "header of the first message, `NAME[:TYPE]=VALUE`; may be repeated")
	f.StringVarP(&call.payload, "payload", "p", "", "payload of the first message")
	f.StringArrayVar(&call.connectHeaders, "connect-header", nil, "header of CONNECT, `NAME[:TYPE]=VALUE`; may be repeated")
	f.StringVar(&call.connectPayload, "connect-payload", "", "payload of CONNECT, such as an authentication token")
	f.StringVar(&call.caFile, "ca", "", "PEM `FILE` of the authorities to trust with tls:, instead of the system's")
	f.StringVar(&call.serverName, "server-name", "", "`NAME` to expect in the server's certificate with tls:")
	f.DurationVar(&call.timeout, "timeout", 0, "give up after this long; 0 means never")
	f.BoolVar(&call.all, "all", false, "print every message until the stream ends")
	f.BoolVar(&call.lines, "lines", false, "send the lines of standard input as messages; implies --all")
	f.DurationVar(&call.idle, "idle", time.Second, "with --lines, how long to wait for messages after the input has ended")
	f.BoolVar(&call.json, "json", false, "print messages as JSON lines, as decode does")
	return cmd
}

// parse understands the address and the flags.
func (c *eventstreamCall) parse(cmd *cobra.Command, address string) error {
	var secure bool
	var err error
	if c.network, c.address, secure, err = splitAddress(cmd, address); err != nil {
		return err
	}
	if c.timeout < 0 || c.idle < 0 {
		return usagef(cmd, "--timeout and --idle are times from 0 up, not %v and %v", c.timeout, c.idle)
	}
	c.request.Payload, c.opts.ConnectPayload = []byte(c.payload), []byte(c.connectPayload)
	if c.request.Headers, err = parseHeaders(cmd, c.headers); err != nil {
		return err
	}
	if c.opts.ConnectHeaders, err = parseHeaders(cmd, c.connectHeaders); err != nil || !secure {
		return err
	}
	c.opts.TLS = &tls.Config{ServerName: c.serverName}
	if c.caFile != "" {
		if c.opts.TLS.RootCAs, err = readPool(c.caFile); err != nil {
			return usagef(cmd, "--ca: %w", err)
		}
	}
	return nil
}

func (c *eventstreamCall) run(ctx context.Context, in io.Reader, out io.Writer) error {
	conn, err := eventstream.Dial(ctx, c.network, c.address, &c.opts)
	if err != nil {
		return err
	}
	defer conn.Close()
	if c.all || c.lines {
		return c.stream(ctx, conn, in, out)
	}
	reply, err := conn.Call(ctx, c.operation, &c.request)
	if err != nil {
		return c.report(err, out)
	}
	return c.print(reply.Headers, reply.Payload, out)
}

func readPool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", file)
	}
	return pool, nil
}

// stream prints the stream's messages while the lines of in are sent.
func (c *eventstreamCall) stream(ctx context.Context, conn *eventstream.ClientConn, in io.Reader, out io.Writer) error {
	s, err := conn.OpenStream(ctx, c.operation, &c.request)
	if err != nil {
		return err
	}
	defer s.Close()
	input, inputEnded := context.WithCancelCause(ctx)
	defer inputEnded(nil)
	if c.lines {
		// A read of a terminal or pipe cannot be called off: this goroutine ends with the process.
		go func() { inputEnded(sendLines(ctx, s, in)) }()
	}
	for {
		m, err := c.recv(ctx, input, s)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return c.report(err, out)
		}
		if err := c.print(m.Headers, m.Payload, out); err != nil {
			return err
		}
	}
}

// recv returns the stream's next message. Once the input has ended it returns io.EOF when none comes for a while.
func (c *eventstreamCall) recv(ctx, input context.Context, s *eventstream.Stream) (*eventstream.Message, error) {
	if input.Err() == nil {
		m, err := s.Recv(input)
		if err == nil || input.Err() == nil || ctx.Err() != nil {
			return m, err
		}
	}
	if err := context.Cause(input); !errors.Is(err, context.Canceled) && !errors.Is(err, eventstream.ErrStreamClosed) {
		return nil, err
	}
	idle, cancel := context.WithTimeout(ctx, c.idle)
	defer cancel()
	m, err := s.Recv(idle)
	if err != nil && idle.Err() != nil && ctx.Err() == nil {
		return nil, io.EOF
	}
	return m, err
}

func sendLines(ctx context.Context, s *eventstream.Stream, in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, eventstream.MaxMessageLen)
	for lines.Scan() {
		if err := s.Send(ctx, &eventstream.Message{Payload: lines.Bytes()}); err != nil {
			return err
		}
	}
	return lines.Err()
}

// report prints an application error's message as the replies are printed, if that is JSON.
func (c *eventstreamCall) report(err error, out io.Writer) error {
	var failure *eventstream.ApplicationError
	if c.json && errors.As(err, &failure) {
		if err := c.print(failure.Headers, failure.Payload, out); err != nil {
			return err
		}
	}
	return err
}

func (c *eventstreamCall) print(headers eventstream.Headers, payload []byte, out io.Writer) error {
	if c.json {
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		return enc.Encode(eventstreamJSON(headers, payload))
	}
	_, err := out.Write(append(payload, '\n'))
	return err
}
