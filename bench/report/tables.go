package report

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/packetstream/packetstream/bench/load"
	"github.com/packetstream/packetstream/bench/peer"
)

// Format is how tables are written.
type Format int

const (
	Plain Format = iota
	Markdown
)

// figure is one thing that is measured, for a table of peers and cells.
type figure struct {
	title string
	of    func(*load.Sample) float64
	show  func(float64) string
	ratio bool // beside the floor or ceiling
	skip  func(*load.Sample) bool
}

func noUsage(s *load.Sample) bool   { return s.NoUsage }
func noAllocs(s *load.Sample) bool  { return s.NoUsage || s.NoAllocs }
func noLatency(s *load.Sample) bool { return s.NoLatency }

var figures = []figure{
	{"Thousand calls per second (and the ratio to the floor or ceiling in the same round)", func(s *load.Sample) float64 { return s.PerSec / 1e3 }, digits, true, nil},
	{"MB per second of payload, each way", func(s *load.Sample) float64 { return s.MBs }, digits, false, nil},
	{"Half of the calls take at most, µs", func(s *load.Sample) float64 { return s.P50 }, digits, false, noLatency},
	{"99 of 100 calls take at most, µs", func(s *load.Sample) float64 { return s.P99 }, digits, false, noLatency},
	{"CPU of both processes, µs per call", func(s *load.Sample) float64 { return s.CPU }, digits, false, noUsage},
	{"Allocations per call of the caller", func(s *load.Sample) float64 { return s.AllocsCaller }, short, false, noAllocs},
	{"Allocations per call of the answerer", func(s *load.Sample) float64 { return s.AllocsAnswer }, short, false, noAllocs},
	{"Read and write calls per call, both processes", func(s *load.Sample) float64 { return s.SystemCalls }, digits, false, noUsage},
}

// digits shows three significant digits, or more of large figures.
func digits(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= .1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.2g", v)
}

// short shows one decimal: what is less is the runtime's own, now and then.
func short(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") }

// WriteTables writes a table for each figure.
func (r *Results) WriteTables(w io.Writer, f Format) error {
	return r.writeFigures(w, f, "", r.plainCells(), figures)
}

// writeFigures writes a table of peers and cells for each of the figures, whose titles begin with a text.
func (r *Results) writeFigures(w io.Writer, f Format, begin string, cells []peer.Cell, figures []figure) error {
	peers := r.Peers(cells)
	for i := range figures {
		t := newTable(append(table.Row{""}, cellNames(cells)...))
		for _, name := range peers {
			row, blank := table.Row{name}, true
			for _, c := range cells {
				entry := r.entry(&figures[i], name, c)
				row, blank = append(row, entry), blank && entry == ""
			}
			if !blank {
				t.AppendRow(row)
			}
		}
		if err := write(w, f, begin+figures[i].title, t); err != nil {
			return err
		}
	}
	return nil
}

// plainCells returns the cells that are not about many connections.
func (r *Results) plainCells() []peer.Cell {
	var cells []peer.Cell
	for _, c := range r.Cells() {
		if c.Conns == 0 && !isScale(c) {
			cells = append(cells, c)
		}
	}
	return cells
}

// isScale says that a cell is in the scaling table only.
func isScale(c peer.Cell) bool { return c.InFlight != 1 && c.InFlight != 64 && c.InFlight != 1024 }

func (r *Results) entry(fig *figure, name string, c peer.Cell) string {
	for i := range r.Samples {
		s := &r.Samples[i]
		if s.Peer == name && s.Cell == c && s.Err == "" && fig.skip != nil && fig.skip(s) {
			return ""
		}
	}
	v, ok := r.Median(name, c, fig.of)
	if !ok {
		return ""
	}
	text := fig.show(v)
	if bound := Bound(c); fig.ratio && bound != "" && bound != name {
		if q, ok := r.Ratio(name, bound, c); ok {
			text += fmt.Sprintf(" (%s)", ratioText(q.Median))
		}
	}
	return text
}

func cellNames(cells []peer.Cell) []any {
	names := make([]any, len(cells))
	for i, c := range cells {
		names[i] = CellName(c)
	}
	return names
}

func newTable(header table.Row) table.Writer {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(header)
	t.SuppressTrailingSpaces()
	return t
}

func write(w io.Writer, f Format, title string, t table.Writer) error {
	heading := title + "\n"
	body := t.Render()
	if f == Markdown {
		heading, body = "### "+title+"\n\n", t.RenderMarkdown()
	}
	_, err := fmt.Fprintf(w, "%s%s\n\n", heading, body)
	return err
}

// WriteScale writes how the cost grows with calls in flight and with connections.
func (r *Results) WriteScale(w io.Writer, f Format) error {
	var cells []peer.Cell
	for _, c := range r.Cells() {
		if c.Conns > 0 {
			cells = append(cells, c)
		}
	}
	if len(cells) == 0 {
		return nil
	}
	chosen := []figure{figures[0], figures[2], figures[3], figures[4]} // rates, times and CPU
	return r.writeFigures(w, f, "As calls or connections grow: ", cells, chosen)
}

// WriteIdle writes what idle connections cost.
func (r *Results) WriteIdle(w io.Writer, f Format) error {
	names, pairs := r.idleTable()
	if len(names) == 0 {
		return nil
	}
	head := table.Row{""}
	for _, n := range pairs {
		head = append(head, fmt.Sprintf("KiB each, of %d", n))
	}
	t := newTable(append(head, "goroutines each"))
	for _, name := range names {
		row := table.Row{name}
		for _, n := range pairs {
			row = append(row, r.idleOf(name, n, func(i *Idle) string { return digits(i.KiB) }))
		}
		t.AppendRow(append(row, r.idleOf(name, IdlePairs, func(i *Idle) string { return short(i.Goroutines) })))
	}
	return write(w, f, fmt.Sprintf("Idle connections, both ends in one process, the median of %d times", IdleRounds), t)
}

// idleTable returns the peers whose idle connections were measured, and how many connections there were.
func (r *Results) idleTable() (names []string, pairs []int) {
	for _, i := range r.Idle {
		if i.Err != "" {
			continue
		}
		if !slices.Contains(names, i.Peer) {
			names = append(names, i.Peer)
		}
		if !slices.Contains(pairs, i.Pairs) {
			pairs = append(pairs, i.Pairs)
		}
	}
	slices.Sort(pairs)
	return names, pairs
}

func (r *Results) idleOf(name string, pairs int, show func(*Idle) string) string {
	for n := range r.Idle {
		if i := &r.Idle[n]; i.Peer == name && i.Pairs == pairs && i.Err == "" {
			return show(i)
		}
	}
	return ""
}

// IdlePairs is how many idle connections the cost of one is taken from, and IdleRounds how often.
const (
	IdlePairs  = 100
	IdleRounds = 3
)

// WriteMissing writes what failed and what was not measured.
func (r *Results) WriteMissing(w io.Writer, f Format) error {
	t := newTable(table.Row{"peers", "cells", "why not"})
	for _, m := range append(r.missing(), r.missingIdle()...) {
		t.AppendRow(table.Row{strings.Join(m.peers, ", "), m.cellNames(), m.why})
	}
	for _, s := range r.Samples {
		if s.Err != "" {
			t.AppendRow(table.Row{s.Peer, CellName(s.Cell), fmt.Sprintf("round %d failed: %s", s.Round, s.Err)})
		}
	}
	for _, i := range r.Idle {
		if i.Err != "" {
			t.AppendRow(table.Row{i.Peer, "idle", i.Err})
		}
	}
	if t.Length() == 0 {
		return nil
	}
	return write(w, f, "Not measured", t)
}

// missing are cells that some peers were not measured in, for one reason.
type missing struct {
	peers, cells []string
	why          string
	scale        bool // they are cells of the scaling table
}

// cellNames returns the names of the cells. Those of cells of connections have commas.
func (m *missing) cellNames() string {
	if m.scale {
		return strings.Join(m.cells, "; ")
	}
	return strings.Join(m.cells, ", ")
}

// missing returns those of a run, peers that lack the same cells of a table for the same reason together.
func (r *Results) missing() []missing {
	var of []missing // one peer each
	for _, a := range r.Absent {
		scale := a.Cell.Conns > 0
		i := slices.IndexFunc(of, func(m missing) bool { return m.peers[0] == a.Peer && m.why == a.Why && m.scale == scale })
		if i < 0 {
			i = len(of)
			of = append(of, missing{peers: []string{a.Peer}, why: a.Why, scale: scale})
		}
		if cell := CellName(a.Cell); !slices.Contains(of[i].cells, cell) {
			of[i].cells = append(of[i].cells, cell)
		}
	}
	return together(of)
}

// missingIdle returns the blanks of the table of idle connections. Only a set leaves something out there, since every peer can be
// idle; what failed is not among them.
func (r *Results) missingIdle() []missing {
	var of []missing // one peer each
	names, pairs := r.idleTable()
	for _, name := range names {
		var lacks []string
		for _, n := range pairs {
			if !slices.ContainsFunc(r.Idle, func(i Idle) bool { return i.Peer == name && i.Pairs == n }) {
				lacks = append(lacks, strconv.Itoa(n))
			}
		}
		if len(lacks) > 0 {
			cells := []string{"idle connections: " + strings.Join(lacks, ", ")}
			of = append(of, missing{peers: []string{name}, cells: cells, why: "left out, to keep the run short"})
		}
	}
	return together(of)
}

// together makes one of those that lack the same cells for the same reason.
func together(of []missing) []missing {
	var all []missing
	for _, m := range of {
		i := slices.IndexFunc(all, func(b missing) bool { return b.why == m.why && slices.Equal(b.cells, m.cells) })
		if i < 0 {
			all = append(all, m)
		} else {
			all[i].peers = append(all[i].peers, m.peers...)
		}
	}
	return all
}

// ratioText shows a ratio as .52 or 1.3, and with two digits at least.
func ratioText(v float64) string {
	if v < .095 {
		return strings.TrimPrefix(fmt.Sprintf("%.3f", v), "0")
	}
	return strings.TrimPrefix(fmt.Sprintf("%.2f", v), "0")
}
