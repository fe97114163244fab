package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/packetstream/packetstream/bench/load"
	"github.com/packetstream/packetstream/bench/peer"
)

// goal is one row of the table of goals: what is to be reached in a cell by each of packetstream's modes.
type goal struct {
	cell   peer.Cell
	what   what
	wanted [3]float64 // any handler, non-blocking handler, and that into the caller's buffer; 0 for none
}

type what int

const (
	toBound        what = iota // ratio to the floor or ceiling
	receivingFloor             // ratio to the floor where the caller receives for itself
	toRival                    // multiple of the best rival
	callerAllocs
	answererAllocs
	systemCalls
)

var whatNames = [...]string{
	toBound:        "of the floor or ceiling",
	receivingFloor: "of the floor, the caller receiving",
	toRival:        "× the best rival",
	callerAllocs:   "allocations of the caller",
	answererAllocs: "allocations of the answerer",
	systemCalls:    "read and write calls",
}

// none is a goal of nothing, where 0 stands for no goal.
const none = -1

// allowance is how many allocations per call are the runtime's own: goroutines and their stacks, now and then.
const allowance = .1

var goals = []goal{
	{peer.Cell{Size: 16, InFlight: 1}, toBound, [3]float64{.28, .38}},
	// More is wanted where the caller receives for itself, as a caller of packetstream does that is alone.
	{peer.Cell{Size: 16, InFlight: 1}, receivingFloor, [3]float64{1: .55}},
	{peer.Cell{Size: 16, InFlight: 64}, toRival, [3]float64{2.7, 4.5}},
	{peer.Cell{Size: 16, InFlight: 1024}, toRival, [3]float64{2.4, 4}},
	{peer.Cell{Size: 1 << 10, InFlight: 64}, toRival, [3]float64{2, 3.3, 4.4}},
	{peer.Cell{Size: 64 << 10, InFlight: 1}, toBound, [3]float64{.27, .38, .55}},
	{peer.Cell{Size: 64 << 10, InFlight: 64}, toBound, [3]float64{.45, .52, .65}},
	{peer.Cell{Size: 1 << 20, InFlight: 1}, toBound, [3]float64{.58, .9, 1}},
	{peer.Cell{Size: 1 << 20, InFlight: 64}, toBound, [3]float64{.5, .53, .6}},
	{peer.Cell{Size: 16, InFlight: 64, Both: true}, toRival, [3]float64{3.3, 5}},
	{peer.Cell{Size: 16, InFlight: 64}, callerAllocs, [3]float64{1, 1, none}},
	{peer.Cell{Size: 16, InFlight: 64}, answererAllocs, [3]float64{2, none, none}},
	{peer.Cell{Size: 16, InFlight: 64}, systemCalls, [3]float64{.35, .3}},
}

// Goals of an idle connection pair.
const (
	idleKiB        = 18
	idleGoroutines = 4 // two an end
)

var goalModes = [3]string{peer.Default, peer.NonBlocking, peer.Into}

// Verdict is one goal checked.
type Verdict struct {
	Cell, Mode, What string
	Wanted, Seen     float64
	AtLeast          bool // rather than at most
	Measured, Met    bool

	// Untuned is the multiple of arpc as it comes, for a goal that is a multiple of the best rival.
	Untuned float64
}

// CheckGoals checks every goal.
func (r *Results) CheckGoals() []Verdict {
	var all []Verdict
	for i := range goals {
		g := &goals[i]
		for mode, wanted := range g.wanted {
			if wanted != 0 {
				all = append(all, r.check(g, goalModes[mode], max(0, wanted)))
			}
		}
	}
	for _, i := range r.Idle {
		if i.Peer == peer.Default && i.Pairs == IdlePairs && i.Err == "" {
			all = append(all,
				Verdict{Cell: "idle", Mode: i.Peer, What: "KiB per connection, both ends", Wanted: idleKiB, Seen: i.KiB,
					Measured: true, Met: i.KiB <= idleKiB},
				Verdict{Cell: "idle", Mode: i.Peer, What: "goroutines per connection, both ends", Wanted: idleGoroutines, Seen: i.Goroutines,
					Measured: true, Met: i.Goroutines <= idleGoroutines+allowance})
		}
	}
	return all
}

func (r *Results) check(g *goal, mode string, wanted float64) Verdict {
	v := Verdict{Cell: CellName(g.cell), Mode: mode, What: whatNames[g.what], Wanted: wanted}
	switch g.what {
	case toBound, receivingFloor, toRival:
		to := Bound(g.cell)
		if g.what == toRival {
			to = r.BestRival(g.cell)
			v.What += " (" + to + ")"
			if q, ok := r.Ratio(mode, peer.Untuned, g.cell); ok {
				v.Untuned = q.Median
			}
		}
		var q Ratio
		q, v.Measured = r.Ratio(mode, to, g.cell)
		v.Seen, v.AtLeast = q.Median, true
		v.Met = v.Measured && v.Seen >= wanted
	default:
		slack := allowance
		of := map[what]func(*load.Sample) float64{
			callerAllocs:   func(s *load.Sample) float64 { return s.AllocsCaller },
			answererAllocs: func(s *load.Sample) float64 { return s.AllocsAnswer },
			systemCalls:    func(s *load.Sample) float64 { return s.SystemCalls },
		}[g.what]
		if g.what == systemCalls {
			slack = 0
		}
		v.Seen, v.Measured = r.Median(mode, g.cell, of)
		v.Met = v.Measured && v.Seen <= wanted+slack
	}
	return v
}

// WriteGoals writes every goal, what was seen, and whether it is met. It returns how many are not.
func (r *Results) WriteGoals(w io.Writer, f Format) (missed int, err error) {
	t := newTable(table.Row{"cell", "mode", "what", "goal", "seen", "", "× " + peer.Untuned})
	for _, v := range r.CheckGoals() {
		sign := "≤"
		if v.AtLeast {
			sign = "≥"
		}
		seen, met := fmt.Sprintf("%.2f", v.Seen), "met"
		switch {
		case !v.Measured:
			seen, met = "", "not measured"
		case !v.Met:
			met = "not met"
			missed++
		}
		untuned := ""
		if v.Untuned > 0 {
			untuned = fmt.Sprintf("%.2f", v.Untuned)
		}
		t.AppendRow(table.Row{v.Cell, v.Mode, v.What, sign + " " + digits(v.Wanted), seen, met, untuned})
	}
	return missed, write(w, f, "Goals", t)
}

const (
	aheadBy     = 1.05 // the median ratio that counts as ahead
	aheadRounds = 6.0 / 7
	nearFloor   = .95 // within which of the bound nobody can be ahead by much
)

// isAhead says whether the first is faster by more than what two runs differ by.
func (q Ratio) isAhead() bool { return q.Median > aheadBy && most(q.Ahead, q.Rounds) }

// isBehind says whether the first is slower, by that much or in most rounds.
func (q Ratio) isBehind() bool { return q.Median < 1/aheadBy || most(q.Rounds-q.Ahead, q.Rounds) }

func most(n, rounds int) bool { return float64(n) >= aheadRounds*float64(rounds)-1e-9 }

// WriteAhead writes, for each cell, how packetstream with any handler stands to the nearest of the others: by DoInto to
// those that fill the caller's memory as well, and by Do to those that return memory of its own. Where it is not ahead of every one
// the row is of one that it is not ahead of. WriteAhead returns in how many cells that is so.
func (r *Results) WriteAhead(w io.Writer, f Format) (behind int, err error) {
	t := newTable(table.Row{"cell", "nearest", "by", "ratio", "rounds ahead", "", "nearest by Do", "ratio", "rounds ahead"})
	for _, c := range r.Cells() {
		all := r.compare(c, true)
		if len(all) == 0 {
			continue
		}
		b := slices.MinFunc(all, func(a, b comparison) int { return cmp.Or(cmp.Compare(b.standing, a.standing), nearer(a, b)) })
		if b.standing == notAhead {
			behind++
		}
		row := append(table.Row{CellName(c), b.rival, b.by()}, ratioCells(b.ratio)...)
		row = append(row, r.aheadVerdict(&b, c))
		if all := r.compare(c, false); len(all) > 0 {
			byDo := slices.MinFunc(all, nearer)
			row = append(append(row, byDo.rival), ratioCells(byDo.ratio)...)
		}
		t.AppendRow(row)
	}
	if t.Length() == 0 {
		return 0, nil
	}
	return behind, write(w, f, "Any handler beside the nearest rival", t)
}

func (r *Results) aheadVerdict(b *comparison, c peer.Cell) string {
	switch {
	case b.standing == notAhead:
		return "not ahead"
	case b.standing == rivalAtBound:
		return "the rival is within 5 % of the bound"
	case r.nearBound(b.mode, c):
		return "ahead, within 5 % of the bound or past it"
	}
	return "ahead"
}

func ratioCells(q Ratio) table.Row {
	shown := fmt.Sprintf("%.2f", q.Median)
	if shown == fmt.Sprintf("%.2f", aheadBy) {
		shown = fmt.Sprintf("%.4f", q.Median) // on which side it is
	}
	return table.Row{shown, fmt.Sprintf("%d of %d", q.Ahead, q.Rounds)}
}

// standing is how packetstream stands to a rival, the worst last.
type standing int

const (
	ahead        standing = iota
	rivalAtBound          // it is not ahead, but the rival leaves no room to be
	notAhead
)

// comparison is packetstream with any handler beside one rival in a cell.
type comparison struct {
	rival, mode string
	ratio       Ratio
	standing    standing
}

// by returns the method that is called.
func (b *comparison) by() string {
	if b.mode == peer.AnyInto {
		return "DoInto"
	}
	return "Do"
}

// nearer orders by how far packetstream is ahead by the median.
func nearer(a, b comparison) int { return cmp.Compare(a.ratio.Median, b.ratio.Median) }

// compare returns packetstream with any handler beside each rival. Alike is as in beside.
func (r *Results) compare(c peer.Cell, alike bool) []comparison {
	var all []comparison
	for _, name := range r.Rivals(c) {
		ours := r.beside(name, c, alike)
		ratio, ok := r.Ratio(ours, name, c)
		if !ok {
			continue
		}
		b := comparison{rival: name, mode: ours, ratio: ratio}
		switch {
		case ratio.isAhead():
		case r.nearBound(name, c):
			b.standing = rivalAtBound
		default:
			b.standing = notAhead
		}
		all = append(all, b)
	}
	return all
}

// nearBound says whether a peer is within 5 % of the floor or ceiling of a cell, or past it.
func (r *Results) nearBound(name string, c peer.Cell) bool {
	q, ok := r.Ratio(name, Bound(c), c)
	return ok && q.Median >= nearFloor
}

// beside returns the mode with any handler that a rival is compared with: if alike is set, the one that has the payload where the
// rival has it, if that was measured.
func (r *Results) beside(rival string, c peer.Cell, alike bool) string {
	if found, err := peer.Find(rival); alike && err == nil && found[0].Fills {
		if _, ok := r.Ratio(peer.AnyInto, rival, c); ok {
			return peer.AnyInto
		}
	}
	return peer.Default
}
