package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/packetstream/packetstream/bench/load"
	"github.com/packetstream/packetstream/bench/peer"
	"github.com/packetstream/packetstream/bench/report"
)

func newRunCommand() *cobra.Command {
	var name, out string
	var rounds int
	var only, cells []string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Measure, keep the results, and write tables",
		Example: `  bench run --set quick
  bench run --set headline --peers packetstream,arpc --cells 16x64,65536x1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := findSet(name)
			if err == nil {
				err = s.narrow(rounds, only, cells)
			}
			if err != nil {
				return err
			}
			r := &runner{ctx: cmd.Context(), log: cmd.ErrOrStderr(), results: newResults(name, s)}
			r.run(s)
			if err := save(out, r.results); err != nil {
				return err
			}
			if err := writeAll(cmd.OutOrStdout(), r.results, report.Plain); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "The run took %v.\n", r.results.Took)
			return err
		},
	}
	cmd.Flags().StringVar(&name, "set", "headline", "quick, headline or full")
	cmd.Flags().StringVar(&out, "out", defaultResults, "where the results are kept")
	cmd.Flags().IntVar(&rounds, "rounds", 0, "how many rounds, instead of the set's")
	cmd.Flags().StringSliceVar(&only, "peers", nil, "these peers only")
	cmd.Flags().StringSliceVar(&cells, "cells", nil, "these cells instead of the set's, as in 16x64,16x64both")
	return cmd
}

func newListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Print the names and versions of the peers",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, p := range peer.All() {
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), strings.TrimSpace(p.Name+" "+p.Version())); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// narrow changes a set to what flags ask for.
func (s *set) narrow(rounds int, only, cells []string) error {
	if rounds > 0 {
		s.rounds = rounds
	}
	if len(only) > 0 {
		if _, err := peer.Find(only...); err != nil {
			return err
		}
		s.peers, s.idle, s.scale, s.idleScale = only, nil, nil, nil
	}
	if len(cells) > 0 {
		s.cells, s.idle, s.scale, s.idleScale = nil, nil, nil, nil
	}
	for _, text := range cells {
		c, err := parseCell(text)
		if err != nil {
			return err
		}
		s.cells = append(s.cells, c)
	}
	return nil
}

func newResults(name string, s *set) *report.Results {
	r := &report.Results{
		Set: name, Started: time.Now().UTC().Truncate(time.Second), Rounds: s.rounds, Times: s.times,
		Go: runtime.Version(), CPUs: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH, Versions: make(map[string]string),
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		release, _, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
		r.System += ", " + unix.ByteSliceToString(u.Sysname[:]) + " " + release
	}
	for _, p := range peer.All() {
		if v := p.Version(); v != "" {
			r.Versions[p.Name] = v
		}
	}
	return r
}

// runner measures.
type runner struct {
	ctx     context.Context
	log     io.Writer
	results *report.Results
}

func (r *runner) run(s *set) {
	began := time.Now()
	for _, c := range s.cells {
		r.cell(c, s.peers, s.rounds, s.times)
	}
	for _, c := range s.scale {
		r.cell(c, s.scalePeers, s.rounds, s.times)
	}
	for _, name := range s.idle {
		r.idle(name, report.IdlePairs)
	}
	for _, name := range s.idleScale {
		for _, n := range []int{1, 10, 1000} {
			r.idle(name, n)
		}
	}
	r.results.Took = time.Since(began).Round(time.Second)
}

// cell measures the peers in a cell in all rounds. Who begins is another one in each.
func (r *runner) cell(c peer.Cell, names []string, rounds int, t load.Times) {
	fmt.Fprintf(r.log, "%s:", report.CellName(c))
	fit := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		found, err := peer.Find(name)
		if err != nil {
			return true
		}
		why := found[0].WhyNot(c)
		if why != "" {
			r.results.Absent = append(r.results.Absent, report.Absent{Peer: name, Cell: c, Why: why})
		}
		return why != ""
	})
	for round := range rounds {
		for i := range fit {
			name := fit[(i+round)%len(fit)]
			times := t
			switch {
			case strings.Contains(name, "python"):
				// It has a pause of its own before each flush, takes longer to start, and its rate changes from one half second to the next.
				times.Warm, times.Time = 2*t.Warm, 4*t.Time
			case c.Conns >= 100:
				// What cold memory costs changes within seconds by more than the peers differ.
				times.Time = 3 * t.Time
			}
			s := measureApart(r.ctx, &spec{Peer: name, Cell: c, Times: times})
			s.Round = round
			if strings.Contains(s.Err, peer.ErrNoPython.Error()) {
				r.results.Absent = append(r.results.Absent, report.Absent{Peer: name, Cell: c, Why: s.Err})
				continue
			}
			r.results.Samples = append(r.results.Samples, s)
		}
		fmt.Fprintf(r.log, " %d", round+1)
	}
	fmt.Fprintln(r.log)
}

// apartLimit is how long a pair of processes may take.
const apartLimit = 40 * time.Second

// measureApart measures in a pair of processes of its own.
func measureApart(ctx context.Context, s *spec) load.Sample {
	sample := load.Sample{Peer: s.Peer, Cell: s.Cell}
	if err := apart(ctx, &sample, "caller", s.argument()); err != nil {
		sample.Err = err.Error()
	}
	return sample
}

// apart runs this program with other arguments and decodes what it prints into v.
func apart(ctx context.Context, v any, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, apartLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.WaitDelay = time.Second
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, v)
	}
	if err != nil {
		const most = 300
		text := strings.TrimSpace(stderr.String())
		return errors.Join(err, ctx.Err(), errors.New(text[max(0, len(text)-most):]))
	}
	return nil
}

// idle measures idle connections some times over and keeps the median, since now and then a stack or two have grown.
func (r *runner) idle(name string, pairs int) {
	var all []report.Idle
	for range report.IdleRounds {
		i := report.Idle{Peer: name, Pairs: pairs}
		if err := apart(r.ctx, &i, "idle", name, strconv.Itoa(pairs)); err != nil {
			i.Err = err.Error()
		}
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b report.Idle) int { return cmp.Or(cmp.Compare(a.Err, b.Err), cmp.Compare(a.KiB, b.KiB)) })
	r.results.Idle = append(r.results.Idle, all[report.IdleRounds/2])
}
