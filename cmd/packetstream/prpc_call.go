package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/packetstream/packetstream/internal/prpcjson"
	"github.com/packetstream/packetstream/rpc/prpc"
	"github.com/spf13/cobra"
)

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

Why a call fails is said on standard error; the exit codes are those of packetstream.`,
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
			return c.run(cmd.Context(), args, peer)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.kind, "type", "unary", "call type: unary, istream, ostream or bistream")
	flags.StringArrayVarP(&c.keywords, "keyword", "k", nil, "keyword argument, NAME=JSON; may be repeated")
	flags.StringVar(&c.data, "data", "", "user data of the handshake, in JSON")
	flags.DurationVar(&c.timeout, "timeout", 0, "time limit of the whole call, such as 5s; 0 means none")
	flags.BoolVar(&c.json, "json", false, `print objects: {"message": …} and {"result": …}`)
	flags.BoolVar(&c.dryRun, "dry-run", false, "print the command that would be started, and start nothing")
	return cmd
}

var callTypes = map[string]prpc.CallType{
	"unary": prpc.Unary, "istream": prpc.IStream, "ostream": prpc.OStream, "bistream": prpc.BiStream,
}

func (c *prpcCall) run(ctx context.Context, args, peer []string) error {
	kind, ok := callTypes[c.kind]
	if !ok {
		return usagef("--type %s: not unary, istream, ostream or bistream", c.kind)
	}
	data, err := jsonFlag("data", c.data)
	if err != nil {
		return err
	}
	keywords, err := jsonKeywords(c.keywords)
	if err != nil {
		return err
	}
	url := ""
	if len(peer) == 0 {
		url, args = args[0], args[1:]
	}
	if len(args) == 0 {
		return usagef("no METHOD given")
	}
	values, err := jsonArgs(args[1:])
	if err != nil {
		return err
	}
	if c.dryRun {
		_, err := fmt.Fprintln(c.out, strings.Join(peer, " "))
		return err
	}
	if c.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	conn, child, err := connectPRPC(ctx, url, peer, &prpc.Options{Data: data})
	if err != nil {
		return err
	}
	err = c.call(ctx, conn, kind, args[0], append(values, keywords))
	_ = conn.Close()
	if child != nil {
		err = errors.Join(err, child.Wait())
	}
	return err
}

// connectPRPC connects to a URL or to a command.
func connectPRPC(ctx context.Context, url string, peer []string, options *prpc.Options) (*prpc.Conn, *exec.Cmd, error) {
	if len(peer) == 0 {
		conn, err := prpc.Dial(ctx, url, options)
		return conn, nil, err
	}
	child, carrier, err := startPeer(peer)
	if err != nil {
		return nil, nil, err
	}
	conn, err := prpc.Connect(ctx, carrier, options)
	if err != nil {
		return nil, nil, errors.Join(err, child.Wait())
	}
	return conn, child, nil
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
	lines := bufio.NewScanner(c.in)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		message, err := prpcjson.Parse(lines.Bytes())
		if err != nil {
			return err
		}
		if err := call.Stream().Send(ctx, message); err != nil {
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
	return lines.Err()
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
