package report

import (
	_ "embed"
	"io"
	"text/template"

	"github.com/packetstream/packetstream/bench/peer"
)

//go:embed plot.svg.tmpl
var plotText string

var plotTemplate = template.Must(template.New("plot").Parse(plotText))

// Sizes of the plot, in pixels.
const (
	plotColumns = 3
	panelWidth  = 300
	panelGap    = 20
	labelWidth  = 112
	barHeight   = 15
	barGap      = 5
	titleHeight = 28
	valueWidth  = 46
)

type plotBar struct {
	Y, Text, Width float64
	Name, Value    string
	Class          string
}

type plotPanel struct {
	X, Y  float64
	Title string
	Bars  []plotBar
}

type plot struct {
	Width, Height, BarHeight, LabelWidth float64
	Panels                               []plotPanel
}

// WriteSVG draws the calls per second of packetstream and its rivals, a panel for each cell. It is readable on a light
// and on a dark page.
func (r *Results) WriteSVG(w io.Writer) error {
	var cells []peer.Cell
	for _, c := range r.plainCells() {
		if !c.Both && (c.InFlight == 64 || c.InFlight == 1) && c.Size != 1<<20 {
			cells = append(cells, c)
		}
	}
	p := plot{BarHeight: barHeight, LabelWidth: labelWidth - 6}
	y, tallest := 0.0, 0.0
	for i, c := range cells {
		if i%plotColumns == 0 {
			y += tallest
			tallest = 0
		}
		panel := r.panel(c)
		panel.X, panel.Y = float64(i%plotColumns*(panelWidth+panelGap)), y
		tallest = max(tallest, titleHeight+float64(len(panel.Bars))*(barHeight+barGap)+panelGap)
		p.Panels = append(p.Panels, panel)
	}
	p.Width = plotColumns*(panelWidth+panelGap) - panelGap
	p.Height = y + tallest
	return plotTemplate.Execute(w, p)
}

func (r *Results) panel(c peer.Cell) plotPanel {
	panel := plotPanel{Title: CellName(c) + ": thousand calls per second"}
	names := append(r.Peers([]peer.Cell{c})[:0:0], peer.Default, peer.NonBlocking, peer.Into)
	names = append(names, r.Rivals(c)...)
	top := 0.0
	for _, name := range names {
		if v, ok := r.Median(name, c, PerSec); ok {
			top = max(top, v)
		}
	}
	for _, name := range names {
		v, ok := r.Median(name, c, PerSec)
		if !ok {
			continue
		}
		class := "rival"
		if found, err := peer.Find(name); err == nil && found[0].Kind == peer.Ours {
			class = "ours"
		}
		y := titleHeight + float64(len(panel.Bars))*(barHeight+barGap)
		width := max(1, v/top*(panelWidth-labelWidth-valueWidth))
		panel.Bars = append(panel.Bars, plotBar{Y: y, Text: y + barHeight - 3, Width: width, Name: name, Value: digits(v / 1e3), Class: class})
	}
	return panel
}
