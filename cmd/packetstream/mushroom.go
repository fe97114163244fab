package main

import "github.com/spf13/cobra"

func newMushroomCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mushroom",
		Short: "JSON messages over websocket, HTTP long poll or pipes",
		Long: `JSON requests and notifications in both directions, over websocket, HTTP long poll, or the pipes of a
subprocess, as the Python package mushroom and its browser client speak them.`,
		Example: "  packetstream mushroom serve --demo\n  packetstream mushroom call http://localhost:8080/rpc/ ping",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newMushroomCallCommand(), newMushroomServeCommand())
	return cmd
}
