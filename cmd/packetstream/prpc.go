package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/internal/prpcjson"
	"github.com/packetstream/packetstream/rpc/prpc"
)

func newPRPCCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "prpc",
		Short: "Call and serve methods of pRpc, msgpack calls and streams",
		Long: `Call and serve methods of the protocol of the Python library pRpc 1.1.0, over a
WebSocket or over a subprocess's pipes.

Values are JSON. Binary is {"$bin": "00ff"}, a float without a fraction {"$float": "1"}, and a map whose
keys are not all text {"$map": [[1, "one"]]}.`,
		Example: "  packetstream prpc call ping -- packetstream prpc serve --stdio --handler test",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPRPCCallCommand(), newPRPCServeCommand())
	return cmd
}

// jsonFlag reads the value of a flag, nil if it was not given.
func jsonFlag(cmd *cobra.Command, name, text string) (any, error) {
	if text == "" {
		return nil, nil
	}
	v, err := prpcjson.Parse([]byte(text))
	if err != nil {
		return nil, usagef(cmd, "--%s: %w", name, err)
	}
	return v, nil
}

// jsonArgs reads positional arguments.
func jsonArgs(cmd *cobra.Command, texts []string) ([]any, error) {
	args := make([]any, len(texts))
	for i, text := range texts {
		v, err := prpcjson.Parse([]byte(text))
		if err != nil {
			return nil, usagef(cmd, "argument %d, %s: %w (text is quoted: '\"text\"')", i+1, text, err)
		}
		args[i] = v
	}
	return args, nil
}

// jsonKeywords reads NAME=JSON pairs.
func jsonKeywords(cmd *cobra.Command, pairs []string) (prpc.Keywords, error) {
	keywords := prpc.Keywords{}
	for _, pair := range pairs {
		name, text, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, usagef(cmd, "--keyword %s: not NAME=JSON", pair)
		}
		v, err := prpcjson.Parse([]byte(text))
		if err != nil {
			return nil, usagef(cmd, "--keyword %s: %w", name, err)
		}
		keywords[name] = v
	}
	return keywords, nil
}
