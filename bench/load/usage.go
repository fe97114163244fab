package load

import (
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what a process has used up to now.
type Usage struct {
	Calls      uint64        `json:"calls"` // that its own callers have made
	CPU        time.Duration `json:"cpu"`
	Objects    uint64        `json:"objects"` // allocated on the heap
	Bytes      uint64        `json:"bytes"`
	Reads      uint64        `json:"reads"` // system calls
	Writes     uint64        `json:"writes"`
	Goroutines int           `json:"goroutines"`
	Err        string        `json:"err,omitempty"`
}

// usageMetrics are read without stopping the world.
var usageMetrics = []string{"/gc/heap/allocs:objects", "/gc/heap/tiny/allocs:objects", "/gc/heap/allocs:bytes"}

// ReadUsage returns this process's usage.
func ReadUsage() (Usage, error) {
	samples := make([]metrics.Sample, len(usageMetrics))
	for i, name := range usageMetrics {
		samples[i].Name = name
	}
	metrics.Read(samples)
	u := Usage{
		// Tiny objects share blocks, and are counted apart.
		Objects:    samples[0].Value.Uint64() + samples[1].Value.Uint64(),
		Bytes:      samples[2].Value.Uint64(),
		Goroutines: runtime.NumGoroutine(),
	}
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return u, err
	}
	u.CPU = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	io, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(io)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return u, err
		}
		switch name {
		case "syscr":
			u.Reads = n
		case "syscw":
			u.Writes = n
		}
	}
	return u, nil
}

// Sub returns what was used since an earlier reading.
func (u Usage) Sub(earlier Usage) Usage {
	u.Calls -= earlier.Calls
	u.CPU -= earlier.CPU
	u.Objects -= earlier.Objects
	u.Bytes -= earlier.Bytes
	u.Reads -= earlier.Reads
	u.Writes -= earlier.Writes
	return u
}
