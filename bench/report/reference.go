package report

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/packetstream/packetstream/bench/peer"
)

// referenceMultiple is what packetstream with itself is to reach of the reference's rate with itself, without its
// pause before each write, in referenceCell.
const referenceMultiple = 300

var referenceCell = peer.Cell{Size: 16, InFlight: 64}

// graces are the endings of the names of the reference's peers, for each way to run it, and how they read.
var graces = []struct{ suffix, name string }{
	{"-g10", "default grace"}, {"-g0", "grace 0"}, {"-g0-apart", "grace 0, a processor each"},
}

// WriteReference writes how packetstream on one end or both stands to the Python reference with itself, round by round:
// by the median neither may be slower. What is a little slower in some rounds is level.
func (r *Results) WriteReference(w io.Writer, f Format) error {
	t := newTable(table.Row{"cell", "Python at", "Python with itself, calls/s", "× Go calls it", "× it calls Go", "× Go with itself", ""})
	for _, c := range r.plainCells() {
		for _, g := range graces {
			rate, ok := r.Median("python"+g.suffix, c, PerSec)
			if !ok {
				continue
			}
			ratios, verdict := r.besideReference(c, g.suffix)
			row := append(table.Row{CellName(c), g.name, digits(rate)}, ratios...)
			t.AppendRow(append(row, verdict.String()))
		}
	}
	if t.Length() == 0 {
		return nil
	}
	return write(w, f, "Beside the Python reference", t)
}

// besideReference returns what the reference's table shows of packetstream at one end, at the other and at both, in a cell
// and with the reference run in one way, and what that comes to.
func (r *Results) besideReference(c peer.Cell, suffix string) (ratios table.Row, v referenceVerdict) {
	for _, name := range []string{"go-to-python" + suffix, "python-to-go" + suffix, peer.Default} {
		q, ok := r.Ratio(name, "python"+suffix, c)
		if !ok {
			ratios, v.blank = append(ratios, ""), true
			continue
		}
		shown := fmt.Sprintf("%.2f", q.Median)
		if math.Round(q.Median*100) < 100 { // as shown: who waits for the same grace is as slow
			shown += fmt.Sprintf(" (ahead in %d of %d)", q.Ahead, q.Rounds)
			v.slower = v.slower || q.isBehind()
			v.level = true
		}
		if name == peer.Default && c == referenceCell && suffix == "-g0" {
			v.few = q.Median < referenceMultiple
		}
		ratios = append(ratios, shown)
	}
	return ratios, v
}

// referenceVerdict is what a row of the reference's table comes to.
type referenceVerdict struct {
	slower bool // at one end or more
	level  bool // if it is not slower: a little slower in some rounds
	few    bool // fewer than referenceMultiple times as many calls, where that is wanted
	blank  bool // something was not measured
}

// String names everything that is amiss, since nothing of it excuses another.
func (v referenceVerdict) String() string {
	var all []string
	switch {
	case v.slower:
		all = append(all, "slower")
	case v.level:
		all = append(all, "level")
	}
	if v.few {
		all = append(all, fmt.Sprintf("less than %d times", referenceMultiple))
	}
	if v.blank {
		all = append(all, "not measured")
	}
	if len(all) == 0 {
		return "not slower"
	}
	return strings.Join(all, "; ")
}
