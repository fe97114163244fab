package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func newMushroomCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mushroom",
		Short: "JSON messages over websocket, HTTP long poll or pipes",
		Long: `JSON requests and notifications in both directions, over websocket, HTTP long poll, or the pipes of a
subprocess, as the Python package mushroom and its browser client speak them.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_ = cmd.Usage() // to standard error
			return errors.New("say what to do: call or serve")
		},
	}
	cmd.AddCommand(newMushroomCallCommand(), newMushroomServeCommand())
	return cmd
}
