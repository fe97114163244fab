package main

import (
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
)

type counts struct{ passed, failed, skipped int }

func (c counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.passed, c.failed, c.skipped)
}

func count(results []result) counts {
	var c counts
	for _, r := range results {
		switch r.outcome {
		case passed:
			c.passed++
		case failed:
			c.failed++
		case skipped:
			c.skipped++
		}
	}
	return c
}

// readAllowed reads the patterns of peers that may be absent: one a line, # begins a comment.
func readAllowed(file string) ([]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var list []string
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if _, err := path.Match(line, ""); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", file, line, err)
		}
		list = append(list, line)
	}
	return list, nil
}

// failSkips turns skips that are not allowed into failures.
func failSkips(results []result, allowed []string) {
	for i := range results {
		r := &results[i]
		may := slices.ContainsFunc(allowed, func(pattern string) bool {
			ok, _ := path.Match(pattern, r.peer)
			return ok && r.peer != ""
		})
		if r.outcome == skipped && !may {
			r.outcome = failed
		}
	}
}

func summarize(out io.Writer, results []result) {
	fmt.Fprintln(out, count(results))
	var failures, skips []string
	peers := map[string][]result{}
	for _, r := range results {
		switch {
		case r.peer != "":
			peers[r.peer] = append(peers[r.peer], r)
		case r.outcome == failed && r.why != "":
			failures = append(failures, r.name()+": skipped: "+r.why)
		case r.outcome == failed:
			failures = append(failures, r.name())
		case r.outcome == skipped:
			skips = append(skips, r.name()+": "+r.why)
		}
	}
	printList(out, "failed", failures)
	printList(out, "skipped", skips)
	printPeers(out, peers)
}

func printList(out io.Writer, title string, list []string) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(out, "%s:\n", title)
	for _, line := range list {
		fmt.Fprintf(out, "  %s\n", line)
	}
}

func printPeers(out io.Writer, peers map[string][]result) {
	if len(peers) == 0 {
		fmt.Fprintln(out, "live peers absent: none")
		return
	}
	names := make([]string, 0, len(peers))
	for name := range peers {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprintln(out, "live peers absent:")
	for _, name := range names {
		list := peers[name]
		verdict := ""
		if list[0].outcome == failed {
			verdict = ", which is not allowed here"
		}
		fmt.Fprintf(out, "  %s: %s (%s%s)\n", name, list[0].why, tests(len(list)), verdict)
	}
}

func tests(n int) string {
	if n == 1 {
		return "1 test"
	}
	return fmt.Sprintf("%d tests", n)
}
