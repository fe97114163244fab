package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/prpcjson"
	"github.com/packetstream/packetstream/rpc/prpc"
)

// maxInputLine is the longest line of standard input, in bytes: the JSON of a message of the default limit is not
// longer, but for one that is all control characters.
const maxInputLine = 16 << 20

// prpcCall is one run of the command.
type prpcCall struct {
	kind     string
	keywords []string
	data     string
	timeout  time.Duration
	json     bool
	dryRun   bool

	in  io.Reader
	out io.Writer
}

func newPRPCCallCommand() *cobra.Command {
	var c prpcCall
	cmd := &cobra.Command{
		Use:   "call [flags] (URL METHOD [ARG...] | METHOD [ARG...] -- COMMAND [ARG...])",
		Short: "Call a method and print its result",
		Long: `Call a method of a pRpc server and print its result on standard output, one JSON value a line.
The server is a WebSocket's URL, or a command behind "--" that speaks the protocol on its
standard input and output.

With --type istream, what the method sends is printed before the result. With ostream, each
line of standard input is sent as a message. With bistream, each line is sent and one
reply is awaited and printed, until input ends or the method closes the stream.

Why a call fails is said on standard error.

` + exitHelp,
		Example: `  packetstream prpc call ws://localhost:8080/ echo.args 1 '"two"' '{"$bin": "33"}'
  packetstream prpc call --type istream -k count=3 ws://localhost:8080/ streams.emit
  packetstream prpc call ping -- packetstream prpc serve --stdio --handler test`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.in, c.out = cmd.InOrStdin(), cmd.OutOrStdout()
			var peer []string
			if dash := cmd.ArgsLenAtDash(); dash >= 0 {
				args, peer = args[:dash], args[dash:]
			}
			return c.run(cmd, args, peer)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.kind, "type", "unary", "call type: unary, istream, ostream or bistream")
	flags.StringArrayVarP(&c.keywords, "keyword", "k", nil, "keyword argument, `NAME=JSON`; may be repeated")
	flags.StringVar(&c.data, "data", "", "user data of the handshake, in `JSON`")
	flags.DurationVar(&c.timeout, "timeout", 0, "time limit of the whole call, such as 5s; 0 means none")
	flags.BoolVar(&c.json, "json", false, `print objects: {"message": …} and {"result": …}`)
	flags.BoolVar(&c.dryRun, "dry-run", false, "print what would be started or connected to, and do nothing")
	return cmd
}

var callTypes = map[string]prpc.CallType{
	"unary": prpc.Unary, "istream": prpc.IStream, "ostream": prpc.OStream, "bistream": prpc.BiStream,
}

func (c *prpcCall) run(cmd *cobra.Command, args, peer []string) error {
	kind, ok := callTypes[c.kind]
	if !ok {
		return usagef(cmd, "--type %s: not unary, istream, ostream or bistream", c.kind)
	}
	data, err := jsonFlag(cmd, "data", c.data)
	if err != nil {
		return err
	}
	keywords, err := jsonKeywords(cmd, c.keywords)
	if err != nil {
		return err
	}
	url := ""
	if len(peer) == 0 {
		url, args = args[0], args[1:]
	}
	if len(args) == 0 {
		return usagef(cmd, "no METHOD given")
	}
	values, err := jsonArgs(cmd, args[1:])
	if err != nil {
		return err
	}
	if c.timeout < 0 {
		return usagef(cmd, "--timeout is a time from 0 up, not %v", c.timeout)
	}
	if c.dryRun {
		if len(peer) == 0 {
			_, err = fmt.Fprintln(c.out, "would connect to", url)
			return err
		}
		return printPlan(c.out, endpoint.Exec{Args: peer})
	}
	ctx, stop := untilInterrupted(cmd.Context())
	defer stop()
	ctx, cancel := withTimeout(ctx, c.timeout)
	defer cancel()
	return c.converse(ctx, url, peer, &prpc.Options{Data: data}, func(conn *prpc.Conn) error {
		return c.call(ctx, conn, kind, args[0], append(values, keywords))
	})
}

// converse connects to a URL or to a command, does work on the connection and closes it. ctx bounds all of it.
func (c *prpcCall) converse(ctx context.Context, url string, peer []string, options *prpc.Options, work func(*prpc.Conn) error) error {
	if len(peer) == 0 {
		conn, err := prpc.Dial(ctx, url, options)
		if err == nil {
			err = work(conn)
			_ = conn.Close()
		}
		return because(ctx, err)
	}
	command, err := endpoint.Exec{Args: peer}.Open(ctx)
	if err != nil {
		return because(ctx, err)
	}
	conn, err := prpc.Connect(ctx, prpc.NewByteStream(command, 0), options)
	if err == nil {
		err = work(conn)
		_ = conn.Close()
	}
	return outcome(because(ctx, err), command.Close())
}

// call makes the call and prints what comes back.
func (c *prpcCall) call(ctx context.Context, conn *prpc.Conn, kind prpc.CallType, method string, args []any) error {
	call, err := conn.Start(ctx, kind, method, args...)
	if err != nil {
		return err
	}
	defer call.Cancel()
	switch kind {
	case prpc.IStream:
		err = c.receiveAll(ctx, call.Stream())
	case prpc.OStream, prpc.BiStream:
		err = c.sendLines(ctx, call)
	}
	if err != nil {
		return err
	}
	result, err := call.Result(ctx)
	if err != nil {
		return err
	}
	return c.print("result", result)
}

func (c *prpcCall) receiveAll(ctx context.Context, stream *prpc.Stream) error {
	for message, err := range stream.All(ctx) {
		if err != nil {
			return err
		}
		if err := c.print("message", message); err != nil {
			return err
		}
	}
	return nil
}

// sendLines sends the lines of the input, and prints one reply for each if the
// stream has any. A stream that the method closed is no error here: the result tells.
func (c *prpcCall) sendLines(ctx context.Context, call *prpc.Call) error {
	lines := make(chan inputLine)
	go readLines(ctx, c.in, lines) // left behind only where the input does not end, and the process does
	for {
		var line inputLine
		more := false
		select {
		case line, more = <-lines:
		case <-ctx.Done():
			return ctx.Err()
		}
		if !more || line.err != nil {
			return line.err
		}
		if err := call.Stream().Send(ctx, line.message); err != nil {
			return ended(err)
		}
		if call.Type() == prpc.OStream {
			continue
		}
		reply, err := call.Stream().Recv(ctx)
		if err != nil {
			return ended(err)
		}
		if err := c.print("message", reply); err != nil {
			return err
		}
	}
}

// inputLine is a line of the input, or what is wrong with it.
type inputLine struct {
	message any
	err     error
}

// readLines reads the input to its end, or until ctx ends.
func readLines(ctx context.Context, in io.Reader, lines chan<- inputLine) {
	defer close(lines)
	scanner := bufio.NewScanner(in)
	scanner.Buffer(nil, maxInputLine)
	for more := true; more; {
		var line inputLine
		if more = scanner.Scan(); more {
			line.message, line.err = prpcjson.Parse(scanner.Bytes())
		} else if line.err = scanner.Err(); line.err == nil {
			return
		}
		if line.err != nil {
			line.err = &usageError{"packetstream prpc call", fmt.Errorf("standard input: %w", line.err)}
		}
		select {
		case lines <- line:
		case <-ctx.Done():
			return
		}
	}
}

// ended forgives the ends of a stream that the method chose.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, prpc.ErrStreamClosed) {
		return nil
	}
	return err
}

func (c *prpcCall) print(kind string, v any) error {
	if c.json {
		v = map[string]any{kind: v}
	}
	text, err := prpcjson.Format(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "%s\n", text)
	return err
}
