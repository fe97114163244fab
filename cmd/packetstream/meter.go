package main

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
)

// meterEvery is the time between two looks of the progress line.
const meterEvery = 200 * time.Millisecond

// meter shows what goes through connections as one line.
type meter struct {
	packets atomic.Int64
	bytes   atomic.Int64
	bar     *progressbar.ProgressBar // the goroutine's own
	stop    chan struct{}
	stopped chan struct{}
}

// newMeter starts the goroutine that draws the line. It ends by close.
func newMeter(w io.Writer) *meter {
	m := &meter{stop: make(chan struct{}), stopped: make(chan struct{})}
	m.bar = progressbar.NewOptions64(-1,
		progressbar.OptionSetWriter(w),
		progressbar.OptionShowBytes(true),
		progressbar.OptionSetPredictTime(false),
		// It then has no goroutine of its own, which would outlive it: run draws.
		progressbar.OptionSetSpinnerChangeInterval(0),
		progressbar.OptionUseANSICodes(true),
		progressbar.OptionClearOnFinish(),
	)
	go m.run()
	return m
}

// count adds a packet of n bytes. It is called on the packets' path and only counts.
func (m *meter) count(n int) {
	m.packets.Add(1)
	m.bytes.Add(int64(n))
}

// run draws. That a terminal went away is no reason to stop.
func (m *meter) run() {
	defer close(m.stopped)
	ticker := time.NewTicker(meterEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			packets, bytes := m.packets.Load(), m.bytes.Load()
			m.bar.Describe(fmt.Sprintf("%d packets, %d bytes", packets, bytes))
			_ = m.bar.Set64(bytes)
		case <-m.stop:
			_ = m.bar.Clear()
			return
		}
	}
}

func (m *meter) close() {
	close(m.stop)
	<-m.stopped
}
