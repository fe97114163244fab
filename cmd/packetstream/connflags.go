package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/packetstream/packetstream/pconn"
	"github.com/packetstream/packetstream/tick"
)

// connFlags are the flags that every command with a connection has.
type connFlags struct {
	tick     bool
	progress bool
	dryRun   bool
	grace    time.Duration
	extend   extensionsFlag
	meter    *meter
}

func (f *connFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.tick, "tick", false, "tick each packet to standard error: < received, > sent, F flushed")
	cmd.Flags().BoolVar(&f.progress, "progress", false, "show packets, bytes and rate on standard error, if that is a terminal and neither\nNO_COLOR is set nor TERM=dumb")
	cmd.Flags().DurationVar(&f.grace, "grace", 0, "delay flushes so that more packets leave together (the Python package's default is 10ms)")
	cmd.Flags().Var(&f.extend, "extensions", "what a Python peer does not have: \"lazy\" asks for it when it is needed, \"offer\" at the start,\n\"required\" ends with a peer that has it not, \"off\" never asks nor answers")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "print what would be started or connected to, and do nothing")
}

// check finds flags that make no sense.
func (f *connFlags) check(cmd *cobra.Command) error {
	if f.grace < 0 {
		return usagef(cmd, "--grace is a time from 0 up, not %v", f.grace)
	}
	return nil
}

// options returns a connection's options as the flags say. Afterwards done has to be called.
func (f *connFlags) options(h pconn.Handler) *pconn.Options {
	o := &pconn.Options{Handler: h, Grace: f.grace, Extensions: pconn.Extensions(f.extend)}
	if f.tick {
		o.Tick = tick.Stderr
	}
	if f.progress && decorated(os.Stderr) {
		if f.meter == nil {
			f.meter = newMeter(os.Stderr)
		}
		o.RecvLen = f.meter.count
		o.SendLen = f.meter.count
	}
	return o
}

// done takes the progress line away.
func (f *connFlags) done() {
	if f.meter != nil {
		f.meter.close()
		f.meter = nil
	}
}

// decorated reports whether a file is for people who want more than plain lines.
func decorated(f *os.File) bool {
	return term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// extensionsFlag is the value of --extensions.
type extensionsFlag pconn.Extensions

func (f *extensionsFlag) String() string { return pconn.Extensions(*f).String() }

func (f *extensionsFlag) Type() string { return "string" }

func (f *extensionsFlag) Set(name string) error {
	e, err := pconn.ExtensionsNamed(name)
	*f = extensionsFlag(e)
	return err
}
