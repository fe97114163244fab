package report

import (
	"fmt"
	"io"
	"strings"
)

// WriteGoBench writes every sample as a line that benchstat reads.
func (r *Results) WriteGoBench(w io.Writer) error {
	for i := range r.Samples {
		s := &r.Samples[i]
		if s.Err != "" || s.Calls == 0 {
			continue
		}
		ways := ""
		if s.Cell.Both {
			ways = "/both-ways"
		}
		if s.Cell.Conns > 0 {
			ways += fmt.Sprintf("/conns=%d", s.Cell.Conns)
		}
		_, err := fmt.Fprintf(w, "BenchmarkCall/%s/size=%s/inflight=%d%s %d %.1f ns/op %.2f MB/s %.2f p99-µs %.2f cpu-µs/op %.2f allocs/op %.2f syscalls/op\n",
			strings.ReplaceAll(s.Peer, "-", "_"), strings.ReplaceAll(SizeName(s.Cell.Size), " ", ""), s.Cell.InFlight, ways, s.Calls,
			1e9/s.PerSec, s.MBs, s.P99, s.CPU, s.AllocsCaller+s.AllocsAnswer, s.SystemCalls)
		if err != nil {
			return err
		}
	}
	return nil
}
