package main

import (
	"fmt"
	"io"
)

// follow prints packages as they end, and the whole output of what failed.
func follow(in io.Reader, out io.Writer) (ok bool, err error) {
	d := newDigest()
	d.stray = func(text string) { fmt.Fprint(out, text) }
	d.finished = func(r *run, o outcome, results []result) { printPackage(out, r, o, results) }
	if err := d.read(in); err != nil {
		return false, err
	}
	return count(d.results).failed == 0, nil
}

func printPackage(out io.Writer, r *run, o outcome, results []result) {
	n := count(results)
	if o == failed {
		printFailures(out, r, results)
	}
	if n.passed+n.failed+n.skipped == 0 {
		return
	}
	word := "ok  "
	if n.failed > 0 {
		word = "FAIL"
	}
	fmt.Fprintf(out, "%s %7.1fs  %s: %s\n", word, r.elapsed, r.pkg, n)
}

func printFailures(out io.Writer, r *run, results []result) {
	for _, res := range results {
		if res.outcome != failed || res.test == "" {
			continue
		}
		fmt.Fprintf(out, "---- %s %s\n", r.pkg, res.test)
		for _, line := range res.output {
			fmt.Fprint(out, line)
		}
	}
	for _, line := range r.output {
		if line != "PASS\n" && line != "FAIL\n" {
			fmt.Fprint(out, line)
		}
	}
}
