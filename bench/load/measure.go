package load

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/packetstream/packetstream/bench/peer"
)

// Sample is one peer in one cell in one round.
type Sample struct {
	Peer  string    `json:"peer"`
	Cell  peer.Cell `json:"cell"`
	Round int       `json:"round"`

	Calls  uint64  `json:"calls"`
	PerSec float64 `json:"calls_per_s"`
	MBs    float64 `json:"mb_per_s"` // payload, each way

	P50 float64 `json:"p50_us,omitempty"`
	P99 float64 `json:"p99_us,omitempty"`

	CPU           float64 `json:"cpu_us_per_call,omitempty"` // both processes
	AllocsCaller  float64 `json:"allocs_caller"`             // per call
	AllocsAnswer  float64 `json:"allocs_answerer"`
	BytesCaller   float64 `json:"alloc_bytes_caller"`
	BytesAnswer   float64 `json:"alloc_bytes_answerer"`
	SystemCalls   float64 `json:"system_calls_per_call"` // reads and writes of both processes
	NoUsage       bool    `json:"no_usage,omitempty"`    // the fields from CPU on were not measured
	NoAllocs      bool    `json:"no_allocs,omitempty"`   // what both ends allocate was not measured
	NoLatency     bool    `json:"no_latency,omitempty"`
	Err           string  `json:"error,omitempty"`
	CallsAnswerer uint64  `json:"calls_answerer,omitempty"` // made by the answering end
}

// Times say how long to measure.
type Times struct {
	Warm time.Duration `json:"warm"`
	Time time.Duration `json:"time"`
	Most time.Duration `json:"most"` // to which Time is stretched for a peer that has made few calls
}

// fewCalls is how many calls a sample should have at least, and fewTurns how many of each caller. What is less tells
// of its first turns rather than of its rate.
const (
	fewCalls = 30
	fewTurns = 2
)

// Other is the process of the answering end: a *Control, or a Process that knows nothing of this.
type Other interface{ ask(order) (Usage, error) }

// Measure keeps the calls of a cell in flight on conns. other is nil where what the other end uses is not to be had.
func Measure(conns []peer.Conn, cell peer.Cell, t Times, other Other) (Sample, error) {
	s := Sample{Cell: cell}
	l := Start(conns, cell)
	defer l.Stop()
	if cell.Both {
		if _, err := other.ask(orderStart); err != nil {
			return s, err
		}
	}
	enough := max(fewCalls, fewTurns*uint64(cell.InFlight))
	l.wait(t.Warm, t.Most, uint64(cell.InFlight))
	l.Time()
	begin, err := both(l, other)
	if err != nil {
		return s, err
	}
	started := time.Now()
	l.wait(t.Time, t.Most, begin[0].Calls+enough)
	end, err := both(l, other)
	took := time.Since(started)
	l.Stop()
	if err == nil {
		err = l.Err()
	}
	if err != nil {
		return s, err
	}
	s.fill(end[0].Sub(begin[0]), end[1].Sub(begin[1]), took)
	s.NoUsage = other == nil
	h := l.Times()
	s.NoLatency = h.TotalCount() == 0
	s.P50 = float64(h.ValueAtQuantile(50)) / 1e3
	s.P99 = float64(h.ValueAtQuantile(99)) / 1e3
	if s.Calls == 0 {
		return s, fmt.Errorf("no call was answered within %v", took)
	}
	return s, nil
}

// wait waits for some time, and if that brings fewer calls in all than are wanted, for them too, up to a longest time.
func (l *Load) wait(least, most time.Duration, calls uint64) {
	const look = 10 * time.Millisecond
	began := time.Now()
	Pause(least)
	for l.Calls() < calls && time.Since(began) < most && l.Err() == nil {
		Pause(look)
	}
}

// Pause sleeps in a system call. With a timer of the runtime's that is set, each change of goroutines on its processor looks at the
// clock, and that would cost the fastest peers most.
func Pause(d time.Duration) {
	for end := time.Now().Add(d); d > 0; d = time.Until(end) {
		_, _ = unix.Poll(nil, int(d.Milliseconds())+1) // a signal ends it early
	}
}

// both reads the usage of both ends, the answering end's first.
func both(l *Load, other Other) (u [2]Usage, err error) {
	if other != nil {
		if u[1], err = other.ask(orderUsage); err != nil {
			if l.Err() != nil {
				err = l.Err()
			}
			return u, err
		}
	}
	u[0], err = ReadUsage()
	u[0].Calls = l.Calls()
	return u, err
}

func (s *Sample) fill(caller, answerer Usage, took time.Duration) {
	s.Calls = caller.Calls + answerer.Calls
	s.CallsAnswerer = answerer.Calls
	calls := float64(max(1, s.Calls))
	s.PerSec = float64(s.Calls) / took.Seconds()
	s.MBs = s.PerSec * float64(s.Cell.Size) / 1e6
	s.CPU = float64(caller.CPU+answerer.CPU) / 1e3 / calls
	s.AllocsCaller = float64(caller.Objects) / calls
	s.AllocsAnswer = float64(answerer.Objects) / calls
	s.BytesCaller = float64(caller.Bytes) / calls
	s.BytesAnswer = float64(answerer.Bytes) / calls
	s.SystemCalls = float64(caller.Reads+caller.Writes+answerer.Reads+answerer.Writes) / calls
}
