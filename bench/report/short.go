package report

import (
	"bytes"
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/packetstream/packetstream/bench/peer"
)

// shortCells are the cells of the short form.
var shortCells = []peer.Cell{
	{Size: 16, InFlight: 1}, {Size: 16, InFlight: 64}, {Size: 1 << 10, InFlight: 64},
	{Size: 64 << 10, InFlight: 1}, {Size: 64 << 10, InFlight: 64},
}

// WriteShort writes the short form of the results, for the README: calls per second of packetstream and its rivals.
func (r *Results) WriteShort(w io.Writer) error {
	t := newTable(append(table.Row{"thousand calls a second"}, cellNames(shortCells)...))
	names := append([]string{peer.Default, peer.NonBlocking, peer.Into}, r.Rivals(shortCells[1])...)
	for _, name := range names {
		row := table.Row{name}
		for _, c := range shortCells {
			text := ""
			if v, ok := r.Median(name, c, PerSec); ok {
				text = digits(v / 1e3)
			}
			row = append(row, text)
		}
		t.AppendRow(row)
	}
	_, err := fmt.Fprintf(w, "%s\n\nMedians of %d rounds, %s, %d cores, %s. [docs/PERFORMANCE.md](docs/PERFORMANCE.md) has the rest: latency, CPU,\n"+
		"allocations, memory, how it grows.\n\n![Calls per second beside other libraries](docs/performance.svg)\n",
		t.RenderMarkdown(), r.Rounds, r.Go, r.CPUs, r.Started.Format("2 January 2006"))
	return err
}

// The lines between which a file has the short form.
const (
	shortBegin = "<!-- written by make bench-full -->\n"
	shortEnd   = "<!-- end -->\n"
)

// ReplaceShort returns a text with what is between its two marks replaced by the short form.
func (r *Results) ReplaceShort(text []byte) ([]byte, error) {
	before, rest, ok := bytes.Cut(text, []byte(shortBegin))
	_, after, ok2 := bytes.Cut(rest, []byte(shortEnd))
	if !ok || !ok2 {
		return nil, fmt.Errorf("there is no place between %q and %q", shortBegin, shortEnd)
	}
	var b bytes.Buffer
	b.Write(before)
	b.WriteString(shortBegin)
	if err := r.WriteShort(&b); err != nil {
		return nil, err
	}
	b.WriteString(shortEnd)
	b.Write(after)
	return b.Bytes(), nil
}
