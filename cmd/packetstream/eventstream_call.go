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
	address        string
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
or uuid, and string if it is left out.`,
		Example: `  packetstream eventstream call tcp:127.0.0.1:8080 interop#Echo --payload hello
  packetstream eventstream call unix:/run/svc.sock svc#Watch --header topic=news --all --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("call takes an address and an operation, got %q", args)
			}
			call.address, call.operation = args[0], args[1]
			ctx, stop := untilInterrupted(cmd.Context())
			defer stop()
			err := call.run(ctx, cmd.InOrStdin(), cmd.OutOrStdout())
			if cause := context.Cause(ctx); err != nil && errors.Is(cause, errInterrupted) {
				return cause
			}
			return eventstreamExit(err)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&call.headers, "header", "H", nil, "header of the first message; may be repeated")
	f.StringVarP(&call.payload, "payload", "p", "", "payload of the first message")
	f.StringArrayVar(&call.connectHeaders, "connect-header", nil, "header of CONNECT; may be repeated")
	f.StringVar(&call.connectPayload, "connect-payload", "", "payload of CONNECT, such as an authentication token")
	f.StringVar(&call.caFile, "ca", "", "PEM file of the authorities to trust with tls:, instead of the system's")
	f.StringVar(&call.serverName, "server-name", "", "name to expect in the server's certificate with tls:")
	f.DurationVar(&call.timeout, "timeout", 0, "give up after this long; 0 means never")
	f.BoolVar(&call.all, "all", false, "print every message until the stream ends")
	f.BoolVar(&call.lines, "lines", false, "send the lines of standard input as messages; implies --all")
	f.DurationVar(&call.idle, "idle", time.Second, "with --lines, how long to wait for messages after the input has ended")
	f.BoolVar(&call.json, "json", false, "print messages as JSON lines, as decode does")
	return cmd
}

func (c *eventstreamCall) run(ctx context.Context, in io.Reader, out io.Writer) error {
	if c.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	headers, err := parseHeaders(c.headers)
	if err != nil {
		return err
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	request := &eventstream.Message{Headers: headers, Payload: []byte(c.payload)}
	if c.all || c.lines {
		return c.stream(ctx, conn, request, in, out)
	}
	reply, err := conn.Call(ctx, c.operation, request)
	if err != nil {
		return c.report(err, out)
	}
	return c.print(reply.Headers, reply.Payload, out)
}

func (c *eventstreamCall) dial(ctx context.Context) (*eventstream.ClientConn, error) {
	network, address, secure, err := splitAddress(c.address)
	if err != nil {
		return nil, err
	}
	headers, err := parseHeaders(c.connectHeaders)
	if err != nil {
		return nil, err
	}
	opts := &eventstream.Options{ConnectHeaders: headers, ConnectPayload: []byte(c.connectPayload)}
	if secure {
		opts.TLS = &tls.Config{ServerName: c.serverName}
		if c.caFile != "" {
			if opts.TLS.RootCAs, err = readPool(c.caFile); err != nil {
				return nil, err
			}
		}
	}
	return eventstream.Dial(ctx, network, address, opts)
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
func (c *eventstreamCall) stream(ctx context.Context, conn *eventstream.ClientConn, first *eventstream.Message, in io.Reader, out io.Writer) error {
	s, err := conn.OpenStream(ctx, c.operation, first)
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
