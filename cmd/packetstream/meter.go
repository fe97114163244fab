package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/packetstream/packetstream/pconn"
	"github.com/packetstream/packetstream/tick"
)

// connFlags are the flags that every command with a connection has.
type connFlags struct {
	tick     bool
	progress bool
	grace    time.Duration
	meter    *meter
}

func (f *connFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.tick, "tick", false, "tick each packet to standard error: < received, > sent, F flushed")
	cmd.Flags().BoolVar(&f.progress, "progress", false, "show packets, bytes and rate on standard error, if that is a terminal")
	cmd.Flags().DurationVar(&f.grace, "grace", 0, "delay flushes so that more packets leave together (the Python package's default is 10ms)")
}

// options returns a connection's options as the flags say.
func (f *connFlags) options(h pconn.Handler) *pconn.Options {
	o := &pconn.Options{Handler: h, Grace: f.grace}
	if f.tick {
		o.Tick = tick.Stderr
	}
	if f.progress && term.IsTerminal(int(os.Stderr.Fd())) && os.Getenv("TERM") != "dumb" {
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

// meter shows what goes through connections as one line.
type meter struct {
	mu      sync.Mutex // guards the rest
	packets int64
	bytes   int64
	bar     *progressbar.ProgressBar
	stop    chan struct{}
	stopped chan struct{}
}

func newMeter(w io.Writer) *meter {
	m := &meter{stop: make(chan struct{}), stopped: make(chan struct{})}
	m.bar = progressbar.NewOptions64(-1,
		progressbar.OptionSetWriter(w),
		progressbar.OptionShowBytes(true),
		progressbar.OptionShowTotalBytes(true),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetWidth(12),
		progressbar.OptionEnableColorCodes(os.Getenv("NO_COLOR") == ""),
		progressbar.OptionClearOnFinish(),
	)
	go m.run() // ends by close
	return m
}

// count adds a packet of n bytes. It is called on the packets' path and only counts.
func (m *meter) count(n int) {
	m.mu.Lock()
	m.packets++
	m.bytes += int64(n)
	m.mu.Unlock()
}

func (m *meter) run() {
	defer close(m.stopped)
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			m.mu.Lock()
			packets, bytes := m.packets, m.bytes
			m.mu.Unlock()
			m.bar.Describe(fmt.Sprintf("%d packets", packets))
			_ = m.bar.Set64(bytes) // a terminal that went away is no reason to stop
		case <-m.stop:
			_ = m.bar.Finish()
			return
		}
	}
}

func (m *meter) close() {
	close(m.stop)
	<-m.stopped
}
