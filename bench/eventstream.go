package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"
)

func newEventstreamCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "eventstream",
		Short: "Measure rpc/eventstream beside other codecs and servers",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newEventstreamCodecCommand(), newEventstreamServersCommand())
	return cmd
}

// spread is how a figure varied from round to round.
type spread struct{ median, least, most float64 }

func spreadOf(values []float64) spread {
	s := slices.Sorted(slices.Values(values))
	return spread{(s[(len(s)-1)/2] + s[len(s)/2]) / 2, s[0], s[len(s)-1]}
}

// String returns the median, and the range behind it.
func (s spread) String() string {
	return fmt.Sprintf("%.2f (%.2f to %.2f)", s.median, s.least, s.most)
}
