package report

import (
	"fmt"
	"slices"
	"time"

	"github.com/packetstream/packetstream/bench/load"
	"github.com/packetstream/packetstream/bench/peer"
)

// Results are a run's, as they are kept in JSON.
type Results struct {
	Set      string            `json:"set"`
	Started  time.Time         `json:"started"`
	Took     time.Duration     `json:"took"`
	Go       string            `json:"go"`
	System   string            `json:"system"`
	CPUs     int               `json:"cpus"`
	Rounds   int               `json:"rounds"`
	Times    load.Times        `json:"times"`
	Versions map[string]string `json:"versions"` // by peer
	Samples  []load.Sample     `json:"samples"`
	Idle     []Idle            `json:"idle,omitempty"`
	Absent   []Absent          `json:"absent,omitempty"`
}

// Idle is what idle connections cost, both ends in one process.
type Idle struct {
	Peer       string  `json:"peer"`
	Pairs      int     `json:"pairs"`
	KiB        float64 `json:"kib_per_pair"` // heap and stacks
	Goroutines float64 `json:"goroutines_per_pair"`
	Err        string  `json:"error,omitempty"`
}

// Absent is a peer that was not measured in a cell.
type Absent struct {
	Peer string    `json:"peer"`
	Cell peer.Cell `json:"cell"`
	Why  string    `json:"why"`
}

// CellName returns a cell's short name: "16 B ×64".
func CellName(c peer.Cell) string {
	name := fmt.Sprintf("%s ×%d", SizeName(c.Size), c.InFlight)
	if c.Both {
		name = fmt.Sprintf("%s both ways ×%d", SizeName(c.Size), c.InFlight)
	}
	switch {
	case c.Conns == 1:
		name += ", 1 connection"
	case c.Conns > 1:
		name += fmt.Sprintf(", %d connections", c.Conns)
	}
	return name
}

// SizeName returns a number of bytes: "64 KiB".
func SizeName(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

// Cells returns the cells that were measured, in order of their first samples.
func (r *Results) Cells() []peer.Cell {
	var cells []peer.Cell
	for _, s := range r.Samples {
		if !slices.Contains(cells, s.Cell) {
			cells = append(cells, s.Cell)
		}
	}
	return cells
}

// Peers returns the names of the peers measured in any of the cells, as peer.All orders them.
func (r *Results) Peers(cells []peer.Cell) []string {
	var names []string
	for _, p := range peer.All() {
		if slices.ContainsFunc(r.Samples, func(s load.Sample) bool {
			return s.Peer == p.Name && slices.Contains(cells, s.Cell)
		}) {
			names = append(names, p.Name)
		}
	}
	return names
}

// ByRound returns a figure of a peer in a cell by round.
func (r *Results) ByRound(name string, cell peer.Cell, figure func(*load.Sample) float64) map[int]float64 {
	by := make(map[int]float64)
	for i := range r.Samples {
		s := &r.Samples[i]
		if s.Peer == name && s.Cell == cell && s.Err == "" {
			by[s.Round] = figure(s)
		}
	}
	return by
}

// Median returns the median of a figure over the rounds, and false if there is none.
func (r *Results) Median(name string, cell peer.Cell, figure func(*load.Sample) float64) (float64, bool) {
	var all []float64
	for _, v := range r.ByRound(name, cell, figure) {
		all = append(all, v)
	}
	return median(all)
}

// PerSec is the figure that most is about.
func PerSec(s *load.Sample) float64 { return s.PerSec }

// Ratio is one peer's rate beside another's.
type Ratio struct {
	Median float64
	Ahead  int // rounds in which it is above 1
	Rounds int
}

// Ratio compares the rates of two peers, round by round.
func (r *Results) Ratio(name, to string, cell peer.Cell) (Ratio, bool) {
	ours, theirs := r.ByRound(name, cell, PerSec), r.ByRound(to, cell, PerSec)
	var ratios []float64
	var q Ratio
	for round, v := range ours {
		if w, ok := theirs[round]; ok && w > 0 {
			ratios = append(ratios, v/w)
			q.Rounds++
			if v > w {
				q.Ahead++
			}
		}
	}
	var ok bool
	q.Median, ok = median(ratios)
	return q, ok
}

// Bound returns the name of the floor or ceiling of a cell, or "" where there is none.
func Bound(c peer.Cell) string {
	switch {
	case c.Both:
		return ""
	case c.Conns > 1:
		return peer.Polled
	case c.InFlight == 1:
		return peer.Floor
	}
	return peer.Ceiling
}

// BestRival returns the rival with the highest median rate in a cell, or "".
func (r *Results) BestRival(cell peer.Cell) string {
	best, top := "", 0.0
	for _, name := range r.Rivals(cell) {
		if v, ok := r.Median(name, cell, PerSec); ok && v > top {
			best, top = name, v
		}
	}
	return best
}

// Rivals returns the rivals measured in a cell.
func (r *Results) Rivals(cell peer.Cell) []string {
	return slices.DeleteFunc(r.Peers([]peer.Cell{cell}), func(name string) bool {
		found, err := peer.Find(name)
		return err != nil || found[0].Kind != peer.Rival
	})
}

func median(v []float64) (float64, bool) {
	if len(v) == 0 {
		return 0, false
	}
	v = slices.Sorted(slices.Values(v))
	mid := len(v) / 2
	if len(v)%2 == 1 {
		return v[mid], true
	}
	return (v[mid-1] + v[mid]) / 2, true
}
