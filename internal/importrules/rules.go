// Package importrules holds the module to its layout: which package may import which, and who may
// import what from outside. Its test checks the module itself.
//
// Imports point one way, cmd → rpc, endpoint → pconn → bufio, tick, packet; internal packages stand
// beside them, and whoever imports one is held to what that one imports. The core (packet, bufio,
// tick, pconn, and what they use of internal) imports only the standard library, golang.org/x/sys and github.com/djherbis/buffer, so that
// whoever builds on it takes nothing else in.
package importrules

import (
	"fmt"
	"slices"
	"strings"
)

// Module is the module's path.
const Module = "github.com/packetstream/packetstream"

// Package is what the rules need to know of a package; paths below the module are relative to it.
type Package struct {
	Path string
	// Imports are those of its own files, TestImports those of its test files, whatever the build tags.
	Imports, TestImports []string
}

// inside returns the path below the module, and whether it is below it.
func inside(imported string) (rel string, ok bool) {
	if imported == Module {
		return "", true
	}
	return strings.CutPrefix(imported, Module+"/")
}

// under reports whether p is the package named or below it.
func under(p string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(root string) bool {
		return p == root || strings.HasPrefix(p, root+"/")
	})
}

// standard reports whether an import is of the standard library, C included.
func standard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

// mayImport says for each part of the module which others it may import, beside itself and internal. The longest
// name that fits a package counts. What is missing here is refused, so a new part has to be thought about.
var mayImport = map[string][]string{
	"packet":        {},
	"tick":          {},
	"bufio":         {"packet"},
	"pconn":         {"packet", "bufio", "tick"},
	"endpoint":      {"packet", "bufio", "tick", "pconn"},
	"rpc":           {"packet", "bufio", "tick", "pconn"},
	"rpc/grpclinks": {"packet", "bufio", "tick", "pconn", "rpc/links"},
	"cmd":           {"packet", "bufio", "tick", "pconn", "endpoint", "rpc"},
	"examples":      {"packet", "bufio", "tick", "pconn", "endpoint", "rpc"},
	"internal":      {"packet", "bufio", "tick", "pconn", "endpoint", "rpc"},
}

// siblings are the parts whose packages are apart from one another.
var siblings = []string{"rpc"}

func partOf(p string) string {
	best := ""
	for part := range mayImport {
		if under(p, part) && len(part) > len(best) {
			best = part
		}
	}
	return best
}

// own reports whether two packages are of the same part and may know each other.
func own(p, imported string) bool {
	part := partOf(p)
	if part == "" || !under(imported, part) {
		return false
	}
	return !slices.Contains(siblings, part) || under(imported, firstTwo(p))
}

func firstTwo(p string) string {
	parts := strings.SplitN(p, "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}

var (
	core = []string{"packet", "bufio", "tick", "pconn"}
	// coreOutside are the modules from outside that the core may import.
	coreOutside = []string{"golang.org/x/sys", "github.com/djherbis/buffer"}
	// cliOutside are those for commands only: libraries take an interface or a *slog.Logger.
	cliOutside = []string{"github.com/spf13", "github.com/alecthomas/kong", "github.com/sirupsen/logrus", "go.uber.org/zap", "github.com/rs/zerolog"}
)

// Check returns a line for each import that breaks a rule.
func Check(packages []Package) []string {
	g := newGraph(packages)
	var broken []string
	complain := func(p Package, imported, why string) {
		if why != "" {
			broken = append(broken, fmt.Sprintf("%q imports %s: %s", p.Path, imported, why))
		}
	}
	for _, p := range packages {
		for _, imported := range p.Imports {
			complain(p, imported, refuse(p.Path, imported, g.core[p.Path]))
		}
		for _, hidden := range g.behindInternal(p) {
			complain(p, hidden.internal, hidden.why)
		}
		for _, imported := range p.TestImports {
			complain(p, imported, refuseAnywhere(p.Path, imported))
		}
	}
	slices.Sort(broken)
	return slices.Compact(broken)
}

// graph knows who imports which internal package.
type graph struct {
	byPath map[string]Package
	core   map[string]bool // the core, and what it reaches in internal
}

func newGraph(packages []Package) *graph {
	g := &graph{byPath: map[string]Package{}, core: map[string]bool{}}
	for _, p := range packages {
		g.byPath[p.Path] = p
	}
	for _, p := range packages {
		if slices.Contains(core, p.Path) {
			g.core[p.Path] = true
			for _, name := range g.internals(p) {
				g.core[name] = true
			}
		}
	}
	return g
}

// internals returns the internal packages that p imports, directly or through one another.
func (g *graph) internals(p Package) []string {
	var list []string
	var add func(Package)
	add = func(p Package) {
		for _, imported := range p.Imports {
			rel, ok := inside(imported)
			if ok && under(rel, "internal") && !slices.Contains(list, rel) {
				list = append(list, rel)
				add(g.byPath[rel])
			}
		}
	}
	add(p)
	return list
}

type hiddenImport struct{ internal, why string }

// behindInternal returns what p must not import and gets through an internal package.
func (g *graph) behindInternal(p Package) []hiddenImport {
	if under(p.Path, "internal") {
		return nil
	}
	var list []hiddenImport
	for _, name := range g.internals(p) {
		for _, imported := range g.byPath[name].Imports {
			if rel, ok := inside(imported); ok {
				if why := refuseInside(p.Path, rel); why != "" {
					list = append(list, hiddenImport{Module + "/" + name, "which imports " + rel + ", and " + why})
				}
			}
		}
	}
	return list
}

// refuse says why a package may not import something in its own files; empty if it may.
func refuse(p, imported string, inCore bool) string {
	if why := refuseAnywhere(p, imported); why != "" {
		return why
	}
	if rel, ok := inside(imported); ok {
		return refuseInside(p, rel)
	}
	if inCore && !standard(imported) && !under(imported, coreOutside...) {
		return "the core imports only the standard library, " + strings.Join(coreOutside, " and ")
	}
	if under(p, "cmd", "examples") {
		return ""
	}
	if under(imported, cliOutside...) {
		return "libraries import no command line or logging library"
	}
	if imported == "log" && !under(p, "internal") {
		return "libraries log through a *slog.Logger that they are given"
	}
	return ""
}

// refuseAnywhere holds test files as well.
func refuseAnywhere(p, imported string) string {
	if under(imported, "google.golang.org/grpc") && !under(p, "rpc/grpclinks", "examples") {
		return "only rpc/grpclinks imports grpc"
	}
	if rel, ok := inside(imported); ok && under(rel, "cmd") && !under(p, "cmd") {
		return "nobody imports a command"
	}
	return ""
}

func refuseInside(p, rel string) string {
	if own(p, rel) || under(rel, "internal") {
		return ""
	}
	part := partOf(p)
	allowed, known := mayImport[part]
	if !known {
		return "it is in no part of the module that the rules know"
	}
	if under(rel, allowed...) {
		return ""
	}
	if len(allowed) == 0 {
		return part + " imports no other part of the module"
	}
	return part + " may import " + strings.Join(allowed, ", ") + " and nothing else of the module"
}
