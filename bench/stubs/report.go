package stubs

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// Results are the samples of a run.
type Results []Sample

// figure is a sample's.
type figure func(*Sample) float64

func micros(s *Sample) float64 { return s.Micros }
func allocs(s *Sample) float64 { return s.Allocs }

// spread is the median of some figures and the range they lie in.
type spread struct{ median, low, high float64 }

func spreadOf(v []float64) spread {
	slices.Sort(v)
	mid := len(v) / 2
	s := spread{v[mid], v[0], v[len(v)-1]}
	if len(v)%2 == 0 {
		s.median = (v[mid-1] + v[mid]) / 2
	}
	return s
}

// of returns a figure of a system in a cell, by round.
func (r Results) of(system, cell string, apart bool, f figure) map[int]float64 {
	by := make(map[int]float64)
	for i := range r {
		if s := &r[i]; s.System == system && s.Cell == cell && s.Apart == apart {
			by[s.Round] = f(s)
		}
	}
	return by
}

// ratio compares two systems, round by round.
func (r Results) ratio(system, to, cell string, apart bool, f figure) (spread, bool) {
	ours, theirs := r.of(system, cell, apart, f), r.of(to, cell, apart, f)
	var ratios []float64
	for round, v := range ours {
		if w, ok := theirs[round]; ok && w > 0 {
			ratios = append(ratios, v/w)
		}
	}
	if len(ratios) == 0 {
		return spread{}, false
	}
	return spreadOf(ratios), true
}

func layout(apart bool) string {
	if apart {
		return "two processes"
	}
	return "one process"
}

// Write writes a table for each cell and layout, and the goals.
func (r Results) Write(w io.Writer) error {
	for _, apart := range []bool{false, true} {
		for _, cell := range Cells() {
			if err := r.writeCell(w, cell, apart); err != nil {
				return err
			}
		}
	}
	return r.writeGoals(w)
}

func (r Results) writeCell(w io.Writer, cell Cell, apart bool) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	begun := false
	for _, system := range All() {
		times := values(r.of(system.Name, cell.Name, apart, micros))
		if len(times) == 0 {
			continue
		}
		if !begun {
			begun = true
			fmt.Fprintf(tw, "\n%s, %s\tµs\trange\tMB/s\tallocs\tCPU µs\tof %s\trange\n", cell.Name, layout(apart), GRPCPipe)
		}
		t := spreadOf(times)
		mbs := spreadOf(values(r.of(system.Name, cell.Name, apart, func(s *Sample) float64 { return s.MBs })))
		objects := spreadOf(values(r.of(system.Name, cell.Name, apart, allocs)))
		cpu := spreadOf(values(r.of(system.Name, cell.Name, apart, func(s *Sample) float64 { return s.CPU })))
		q, _ := r.ratio(system.Name, GRPCPipe, cell.Name, apart, micros)
		fmt.Fprintf(tw, "%s\t%.1f\t%.1f to %.1f\t%.0f\t%.0f\t%.1f\t%.2f\t%.2f to %.2f\n", system.Name, t.median, t.low, t.high,
			mbs.median, objects.median, cpu.median, q.median, q.low, q.high)
	}
	return tw.Flush()
}

func values(by map[int]float64) []float64 {
	v := make([]float64, 0, len(by))
	for _, x := range by {
		v = append(v, x)
	}
	return v
}

// goal is what our figure should be at most, as a share of a rival's.
type goal struct {
	cell, rival string
	figure      figure
	what        string
	most        float64
}

func goals() []goal {
	cells := Cells()
	return []goal{
		{cells[0].Name, GRPCPipe, micros, "time", 1.0 / 2},
		{cells[0].Name, GRPCPipe, allocs, "allocations", 1.0 / 3},
		{cells[1].Name, GRPCPipe, micros, "time", 1.0 / 2},
		{cells[2].Name, GRPCPipe, micros, "time", 1.0 / 2},
		{cells[3].Name, GRPCSock, micros, "time", 1},
	}
}

func (r Results) writeGoals(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "\ngoal\tlayout\tat most\tseen\trange\t\n")
	for _, apart := range []bool{false, true} {
		for _, g := range goals() {
			q, ok := r.ratio(Ours, g.rival, g.cell, apart, g.figure)
			if !ok {
				continue
			}
			verdict := "met"
			if q.median > g.most {
				verdict = "not met"
			}
			fmt.Fprintf(tw, "%s: %s of %s\t%s\t%.2f\t%.2f\t%.2f to %.2f\t%s\n", g.cell, g.what, g.rival, layout(apart), g.most, q.median, q.low, q.high, verdict)
		}
	}
	return tw.Flush()
}
