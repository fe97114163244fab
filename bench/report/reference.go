package report

import (
	"fmt"
	"io"
	"math"

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
// neither may be slower. What is a little slower in some rounds is level.
func (r *Results) WriteReference(w io.Writer, f Format) error {
	t := newTable(table.Row{"cell", "Python at", "Python with itself, calls/s", "× Go calls it", "× it calls Go", "× Go with itself", ""})
	for _, c := range r.plainCells() {
		for _, g := range graces {
			itself := "python" + g.suffix
			rate, ok := r.Median(itself, c, PerSec)
			if !ok {
				continue
			}
			row := table.Row{CellName(c), g.name, digits(rate)}
			verdict := "never slower"
			for _, name := range []string{"go-to-python" + g.suffix, "python-to-go" + g.suffix, peer.Default} {
				q, ok := r.Ratio(name, itself, c)
				shown := fmt.Sprintf("%.2f", q.Median)
				switch {
				case !ok:
					row, verdict = append(row, ""), "not measured"
					continue
				case math.Round(q.Median*100) < 100: // as shown: who waits for the same grace is as slow
					shown += fmt.Sprintf(" (ahead in %d of %d)", q.Ahead, q.Rounds)
					if q.isBehind() {
						verdict = "slower"
					} else if verdict == "never slower" {
						verdict = "level"
					}
				case name == peer.Default && c == referenceCell && g.suffix == "-g0" && q.Median < referenceMultiple:
					verdict = fmt.Sprintf("less than %d times", referenceMultiple)
				}
				row = append(row, shown)
			}
			t.AppendRow(append(row, verdict))
		}
	}
	if t.Length() == 0 {
		return nil
	}
	return write(w, f, "Beside the Python reference", t)
}
