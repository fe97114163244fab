package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/packetstream/packetstream/bench/report"
)

func newReportCommand() *cobra.Command {
	var from, format, out, into string
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Write the results of a run as tables, a page, a plot, or lines for benchstat",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			r, err := loadResults(from, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if into != "" {
				return replaceShort(r, into)
			}
			w := cmd.OutOrStdout()
			if out != "" {
				path, err := resultsPath(out)
				if err != nil {
					return err
				}
				f, err := os.Create(path)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, f.Close()) }()
				w = f
			}
			switch format {
			case "table":
				return writeAll(w, r, report.Plain)
			case "markdown":
				return writeAll(w, r, report.Markdown)
			case "page":
				return r.WritePage(w)
			case "svg":
				return r.WriteSVG(w)
			case "gobench":
				return r.WriteGoBench(w)
			}
			return fmt.Errorf("no format is called %q; there are table, markdown, page, svg and gobench", format)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", fromHelp)
	cmd.Flags().StringVar(&format, "format", "table", "table, markdown, page, svg or gobench")
	cmd.Flags().StringVar(&out, "out", "", "a file to write to instead of standard output, from the repository's root")
	cmd.Flags().StringVar(&into, "into", "", "a file, as README.md, to put the short form into, between the marks that it has")
	return cmd
}

// replaceShort puts the short form into a file that has a place for it.
func replaceShort(r *report.Results, path string) error {
	path, err := resultsPath(path)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err == nil {
		text, err = r.ReplaceShort(text)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, text, 0o644)
}

func newGoalsCommand() *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use:   "goals",
		Short: "Print the goals, what a run has seen, and whether each is met",
		Long:  "Print the goals, what a run has seen, and whether each is met. The exit status is 1 if one is not.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := loadResults(from, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			missed, err := r.WriteGoals(cmd.OutOrStdout(), report.Plain)
			if err != nil {
				return err
			}
			behind, err := r.WriteAhead(cmd.OutOrStdout(), report.Plain)
			if err == nil && missed+behind > 0 {
				err = fmt.Errorf("%d goals are not met, and in %d cells a rival is not behind", missed, behind)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&from, "from", "", fromHelp)
	return cmd
}

// writeAll writes every table.
func writeAll(w io.Writer, r *report.Results, f report.Format) error {
	err := errors.Join(r.WriteTables(w, f), r.WriteScale(w, f), r.WriteIdle(w, f))
	_, goalsErr := r.WriteGoals(w, f)
	_, aheadErr := r.WriteAhead(w, f)
	return errors.Join(err, goalsErr, aheadErr, r.WriteReference(w, f), r.WriteMissing(w, f))
}
