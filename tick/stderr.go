package tick

import "sync/atomic"

// stderrDropped belongs to descriptor 2, of which a process has one.
var stderrDropped atomic.Uint64

// Stderr writes b to descriptor 2 if that can take it now, and drops it otherwise: a standard error that nobody
// reads, or that is closed, costs its ticks and nothing else. The descriptor's flags are not changed. It may be
// called from any goroutine.
func Stderr(b []byte) {
	if !writeStderr(b) {
		stderrDropped.Add(1)
	}
}

// StderrDropped returns how many ticks Stderr has dropped in this process.
func StderrDropped() uint64 { return stderrDropped.Load() }
