package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/packetstream/packetstream/internal/prpcjson"
	"github.com/packetstream/packetstream/rpc/prpc"
	"github.com/spf13/cobra"
)

func newPRPCCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "prpc",
		Short: "Call and serve methods of pRpc, msgpack calls and streams",
		Long: `Call and serve methods of the protocol of the Python library pRpc 1.1.0, over a
WebSocket or over a subprocess's pipes.

Values are JSON. Binary is {"$bin": "00ff"}, a float without a fraction {"$float": "1"}, and a map whose
keys are not all text {"$map": [[1, "one"]]}.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPRPCCallCommand(), newPRPCServeCommand())
	return cmd
}

// jsonFlag reads the value of a flag, nil if it was not given.
func jsonFlag(name, text string) (any, error) {
	if text == "" {
		return nil, nil
	}
	v, err := prpcjson.Parse([]byte(text))
	if err != nil {
		return nil, usagef("--%s: %v", name, err)
	}
	return v, nil
}

// jsonArgs reads positional arguments.
func jsonArgs(texts []string) ([]any, error) {
	args := make([]any, len(texts))
	for i, text := range texts {
		v, err := prpcjson.Parse([]byte(text))
		if err != nil {
			return nil, usagef("argument %d, %s: %v (text is quoted: '\"text\"')", i+1, text, err)
		}
		args[i] = v
	}
	return args, nil
}

// jsonKeywords reads NAME=JSON pairs.
func jsonKeywords(pairs []string) (prpc.Keywords, error) {
	keywords := prpc.Keywords{}
	for _, pair := range pairs {
		name, text, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, usagef("--keyword %s: not NAME=JSON", pair)
		}
		v, err := prpcjson.Parse([]byte(text))
		if err != nil {
			return nil, usagef("--keyword %s: %v", name, err)
		}
		keywords[name] = v
	}
	return keywords, nil
}

// pipes joins two one-way files to a byte stream.
type pipes struct {
	io.ReadCloser
	out io.WriteCloser
}

func (p pipes) Write(b []byte) (int, error) { return p.out.Write(b) }

func (p pipes) Close() error { return errors.Join(p.out.Close(), p.ReadCloser.Close()) }

// startPeer starts a command whose standard input and output are the connection.
func startPeer(argv []string) (*exec.Cmd, prpc.Carrier, error) {
	child := exec.Command(argv[0], argv[1:]...)
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := child.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := child.Start(); err != nil {
		return nil, nil, err
	}
	return child, prpc.NewByteStream(pipes{out, in}, 0), nil
}
