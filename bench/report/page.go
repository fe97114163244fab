package report

import (
	_ "embed"
	"fmt"
	"io"
	"strings"
	"text/template"

	"github.com/packetstream/packetstream/bench/peer"
)

//go:embed page.md.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// WritePage writes docs/PERFORMANCE.md.
func (r *Results) WritePage(w io.Writer) error {
	var b strings.Builder
	parts := map[string]string{}
	for name, f := range map[string]func(io.Writer, Format) error{
		"Tables": r.WriteTables, "Scale": r.WriteScale, "Idle": r.WriteIdle, "Missing": r.WriteMissing, "Reference": r.WriteReference,
		"Goals": func(w io.Writer, f Format) error { _, err := r.WriteGoals(w, f); return err },
		"Ahead": func(w io.Writer, f Format) error { _, err := r.WriteAhead(w, f); return err },
	} {
		b.Reset()
		if err := f(&b, Markdown); err != nil {
			return err
		}
		parts[name] = strings.TrimSpace(b.String())
	}
	parts["Command"] = "make bench-" + r.Set
	if r.Set == "headline" {
		parts["Command"] = "make bench"
	}
	parts["Measured"] = fmt.Sprintf("%s, %s, %d cores, %s; %d rounds of %v after %v of warming up, %v in all",
		r.Started.Format("2 January 2006"), r.Go, r.CPUs, r.System, r.Rounds, r.Times.Time, r.Times.Warm, r.Took)
	parts["Versions"] = r.versions() + ", Python package " + peer.PythonRelease
	return pageTemplate.Execute(w, parts)
}

func (r *Results) versions() string {
	var all []string
	for _, p := range peer.All() {
		if v := r.Versions[p.Name]; v != "" && p.Kind == peer.Rival {
			all = append(all, p.Name+" "+v)
		}
	}
	return strings.Join(all, ", ")
}
