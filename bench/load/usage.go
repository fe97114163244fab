package load

import (
	"bytes"
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
	return u, u.readIO("self")
}

// readIO reads how many system calls a process has read and written with.
func (u *Usage) readIO(process string) error {
	io, err := os.ReadFile("/proc/" + process + "/io")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(io)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return err
		}
		switch name {
		case "syscr":
			u.Reads = n
		case "syscw":
			u.Writes = n
		}
	}
	return nil
}

// Process is an answering end that cannot be asked: what its process has used is read from outside, but for what it has allocated.
type Process int

// clockTick is the unit of /proc's times: USER_HZ, which is 100 wherever Linux tells it.
const clockTick = 10 * time.Millisecond

func (p Process) ask(order) (u Usage, err error) {
	pid := strconv.Itoa(int(p))
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return u, err
	}
	// The second field is a name in brackets, with anything in it; the times are the fourteenth and fifteenth.
	_, rest, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')'):]), " ")
	fields := strings.Fields(rest)
	for _, i := range []int{14, 15} {
		ticks, err := strconv.ParseUint(fields[i-3], 10, 64)
		if err != nil {
			return u, err
		}
		u.CPU += time.Duration(ticks) * clockTick
	}
	return u, u.readIO(pid)
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
