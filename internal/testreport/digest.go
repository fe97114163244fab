package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// event is a line of go test -json; see go doc test2json.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Elapsed    float64
	Output     string
}

type outcome int

const (
	running outcome = iota
	passed
	failed
	skipped
)

// result is what became of one test, or of a package that failed by itself (then test is empty).
type result struct {
	pkg, test string
	outcome   outcome
	peer, why string   // of a skip: the absent peer, or only the reason
	output    []string // of a failed test, with that of the tests above it
}

func (r result) name() string { return strings.TrimSpace(r.pkg + " " + r.test) }

// run is the state of one package's tests while events arrive.
type run struct {
	pkg     string
	order   []string
	tests   map[string]*testState
	settled []result // of tests that were run again since, as by -count
	output  []string
	elapsed float64
}

type testState struct {
	outcome outcome
	parent  bool // has subtests
	seen    bool // something was said of it, as there is not of a part of a name that has a slash in it
	output  []string
}

// digest turns the events of any number of packages into results.
type digest struct {
	open    map[string]*run
	results []result
	// finished is called with each package that has ended, stray with text that belongs to no test.
	finished func(r *run, outcome outcome, results []result)
	stray    func(text string)
}

func newDigest() *digest {
	return &digest{
		open:     map[string]*run{},
		finished: func(*run, outcome, []result) {},
		stray:    func(string) {},
	}
}

// read takes events until in ends. Packages that have not ended by then have failed.
func (d *digest) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			d.line(line)
		}
		if err == io.EOF {
			d.abandon()
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading test events: %w", err)
		}
	}
}

func (d *digest) line(line []byte) {
	var e event
	if err := json.Unmarshal(line, &e); err != nil || e.Action == "" {
		d.stray(string(line))
		return
	}
	if e.Action == "build-output" {
		d.stray(e.Output)
	}
	if e.Package != "" {
		d.take(e)
	}
}

func (d *digest) take(e event) {
	r := d.open[e.Package]
	if r == nil {
		r = &run{pkg: e.Package, tests: map[string]*testState{}}
		d.open[e.Package] = r
	}
	if e.Test != "" {
		r.take(e)
		return
	}
	switch e.Action {
	case "output":
		r.output = append(r.output, e.Output)
	case "pass", "skip":
		r.elapsed = e.Elapsed
		d.end(r, passed)
	case "fail":
		r.elapsed = e.Elapsed
		d.end(r, failed)
	}
}

// abandon ends the packages whose end was not seen, as when the whole run was stopped.
func (d *digest) abandon() {
	names := make([]string, 0, len(d.open))
	for name := range d.open {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		d.end(d.open[name], failed)
	}
}

func (d *digest) end(r *run, o outcome) {
	delete(d.open, r.pkg)
	results := r.results(o)
	d.results = append(d.results, results...)
	d.finished(r, o, results)
}

func (r *run) take(e event) {
	if e.Action == "run" && !strings.Contains(e.Test, "/") {
		r.settle(e.Test)
	}
	t := r.test(e.Test)
	t.seen = true
	switch e.Action {
	case "output":
		t.output = append(t.output, e.Output)
	case "pass":
		t.outcome = passed
	case "fail":
		t.outcome = failed
	case "skip":
		t.outcome = skipped
	}
}

// settle puts away what became of a test that begins again, so that one good run hides no bad one.
func (r *run) settle(top string) {
	if r.tests[top] == nil {
		return
	}
	var names, others []string
	for _, name := range r.order {
		if name == top || strings.HasPrefix(name, top+"/") {
			names = append(names, name)
		} else {
			others = append(others, name)
		}
	}
	r.settled = append(r.settled, r.judge(names, failed)...)
	r.order = others
	for _, name := range names {
		delete(r.tests, name)
	}
}

func (r *run) test(name string) *testState {
	t := r.tests[name]
	if t == nil {
		t = &testState{}
		r.tests[name] = t
		r.order = append(r.order, name)
		for i, c := range name {
			if c == '/' {
				r.test(name[:i]).parent = true
			}
		}
	}
	return t
}

// results lists what is counted of an ended package; see the package comment.
func (r *run) results(o outcome) []result {
	list := append(r.settled, r.judge(r.order, o)...)
	if o == failed && count(list).failed == 0 {
		list = append(list, result{pkg: r.pkg, outcome: failed})
	}
	return list
}

// judge lists what is counted of the named tests once their package ended with outcome o.
func (r *run) judge(names []string, o outcome) []result {
	var list []result
	bad := map[string]bool{} // tests that failed, and those above them
	for _, name := range leavesFirst(names) {
		t := r.tests[name]
		got := t.outcome
		if got == running {
			if o == passed && t.parent {
				continue
			}
			got = failed
		}
		if !t.seen {
			continue
		}
		if t.parent && (got == passed || got == failed && bad[name]) {
			continue
		}
		res := result{pkg: r.pkg, test: name, outcome: got}
		switch got {
		case skipped:
			res.peer, res.why = reason(t.output)
		case failed:
			markBad(bad, name)
			res.output = r.explain(name)
		}
		list = append(list, res)
	}
	return list
}

// explain returns a failed test's output, and that of the tests above it, where some of its lines may stand.
func (r *run) explain(test string) []string {
	var lines []string
	if r.tests[test].outcome == running {
		lines = append(lines, "    did not finish\n")
	}
	for name := test; name != ""; name = name[:max(strings.LastIndexByte(name, '/'), 0)] {
		lines = append(lines, r.tests[name].output...)
	}
	return lines
}

func markBad(bad map[string]bool, name string) {
	bad[name] = true
	for i, c := range name {
		if c == '/' {
			bad[name[:i]] = true
		}
	}
}

// leavesFirst orders the tests so that each one comes before those above it.
func leavesFirst(names []string) []string {
	names = slices.Clone(names)
	slices.SortStableFunc(names, func(a, b string) int {
		return strings.Count(b, "/") - strings.Count(a, "/")
	})
	return names
}

var (
	absentPeer = regexp.MustCompile(`live peer absent: ([^:\s]+): *(.*)`)
	skipPlace  = regexp.MustCompile(`^\s+[^\s:]+\.go:\d+: (.*)`)
)

// reason finds in a skipped test's output the absent peer, if one is named, and why.
func reason(output []string) (peer, why string) {
	for _, line := range output {
		if m := absentPeer.FindStringSubmatch(line); m != nil {
			return m[1], strings.TrimSpace(m[2])
		}
		if m := skipPlace.FindStringSubmatch(line); m != nil {
			why = strings.TrimSpace(m[1])
		}
	}
	return "", why
}
