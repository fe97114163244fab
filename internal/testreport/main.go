package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() { os.Exit(report(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

func report(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("testreport", flag.ContinueOnError)
	flags.SetOutput(stderr)
	following := flags.Bool("follow", false, "read standard input and print packages as they end")
	ci := flags.Bool("ci", false, "count a skip as failed unless its peer is allowed to be absent")
	allow := flags.String("allow", "", "`file` of the peers that may be absent")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	var ok bool
	var err error
	if *following {
		ok, err = follow(stdin, stdout)
	} else {
		ok, err = summary(flags.Args(), *ci, *allow, stdout)
	}
	switch {
	case err != nil:
		fmt.Fprintln(stderr, "testreport:", err)
		return 2
	case !ok:
		return 1
	}
	return 0
}

func summary(files []string, ci bool, allow string, out io.Writer) (ok bool, err error) {
	var allowed []string
	if allow != "" {
		if allowed, err = readAllowed(allow); err != nil {
			return false, err
		}
	}
	d := newDigest()
	for _, name := range files {
		if err := readFile(d, name); err != nil {
			return false, err
		}
	}
	if ci {
		failSkips(d.results, allowed)
	}
	summarize(out, d.results)
	return count(d.results).failed == 0, nil
}

func readFile(d *digest, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return d.read(f)
}
