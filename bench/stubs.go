package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/bench/stubs"
)

// stubsFlags choose what is measured.
type stubsFlags struct {
	rounds  int
	times   stubs.Times
	systems []string
	cells   []string
	layouts []string
	out     string
}

func newStubsCommand() *cobra.Command {
	var f stubsFlags
	cmd := &cobra.Command{
		Use:   "stubs",
		Short: "Measure generated gRPC stubs over pipes beside grpc-go and ttrpc",
		Example: `  bench stubs
  bench stubs --rounds 9 --layouts apart --cells ping-pong`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			results, err := f.run(cmd)
			if err != nil {
				return err
			}
			if f.out != "" {
				b, err := json.Marshal(results)
				if err != nil {
					return err
				}
				if err := os.WriteFile(f.out, append(b, '\n'), 0o644); err != nil {
					return err
				}
			}
			return results.Write(cmd.OutOrStdout())
		},
	}
	cmd.Flags().IntVar(&f.rounds, "rounds", 5, "how many rounds")
	cmd.Flags().DurationVar(&f.times.Warm, "warm", 100*time.Millisecond, "time before the clock runs")
	cmd.Flags().DurationVar(&f.times.Time, "time", 250*time.Millisecond, "time measured")
	cmd.Flags().StringArrayVar(&f.systems, "system", nil, "this system only, may be repeated")
	cmd.Flags().StringSliceVar(&f.cells, "cells", nil, "cells whose names contain one of these")
	cmd.Flags().StringSliceVar(&f.layouts, "layouts", []string{"together", "apart"}, "both ends in one process, or the answering one in a child")
	cmd.Flags().StringVar(&f.out, "out", "", "file for all samples, as JSON")
	return cmd
}

func newStubsAnswererCommand() *cobra.Command {
	return &cobra.Command{
		Use:    stubs.AnswererCommand + " SYSTEM",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE:   func(_ *cobra.Command, args []string) error { return stubs.Answer(args[0]) },
	}
}

func (f *stubsFlags) run(cmd *cobra.Command) (stubs.Results, error) {
	systems, err := stubs.Find(f.systems...)
	if err != nil {
		return nil, err
	}
	cells, err := stubs.FindCells(f.cells...)
	if err != nil {
		return nil, err
	}
	var results stubs.Results
	for _, layout := range f.layouts {
		if !slices.Contains([]string{"together", "apart"}, layout) {
			return nil, fmt.Errorf("no layout is called %q; there are together and apart", layout)
		}
		for _, cell := range cells {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s, %s:", cell.Name, layout)
			for round := range f.rounds {
				for i := range systems {
					// Who begins is another one in each round.
					system := systems[(i+round)%len(systems)]
					if !system.Fits(cell) {
						continue
					}
					s, err := stubs.Measure(cmd.Context(), system, cell, layout == "apart", f.times)
					if err != nil {
						return nil, fmt.Errorf("%s: %s: %w", cell.Name, s.System, err)
					}
					s.Round = round
					results = append(results, s)
				}
				fmt.Fprintf(cmd.ErrOrStderr(), " %d", round+1)
			}
			fmt.Fprintln(cmd.ErrOrStderr())
		}
	}
	return results, nil
}
