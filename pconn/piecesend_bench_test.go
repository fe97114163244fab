package pconn_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

// BenchmarkSmallBesideLarge asks small things while two callers ask for 16 MiB each, over pipes, with pieces and
// without. It reports how long half and 99 % of them take at most, and how fast the large ones go.
func BenchmarkSmallBesideLarge(b *testing.B) {
	for name, ext := range map[string]pconn.Extensions{"pieces": pconn.ExtensionsRequired, "plain": pconn.ExtensionsOff} {
		b.Run(name, func(b *testing.B) {
			caller, _ := pipes(b, &pconn.Options{Extensions: ext}, &pconn.Options{Extensions: ext, Handler: pconn.HandlerFunc(echo)})
			ctx, stop := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			var moved [2]int
			for i := range moved {
				wg.Go(func() {
					payload, buf := make([]byte, 16<<20), make([]byte, 16<<20)
					for ctx.Err() == nil {
						if _, err := caller.DoInto(ctx, buf, pconn.Request{Payload: payload}); err == nil {
							moved[i] += 2 * len(payload)
						} else if !errors.Is(err, context.Canceled) {
							b.Error(err)
						}
					}
				})
			}
			trips := make([]time.Duration, 0, b.N)
			for b.Loop() {
				began := time.Now()
				_, err := caller.Do(context.Background(), pconn.Request{Payload: make([]byte, 16)})
				require.NoError(b, err)
				trips = append(trips, time.Since(began))
			}
			took := b.Elapsed()
			stop()
			wg.Wait()
			slices.Sort(trips)
			b.ReportMetric(float64(trips[len(trips)/2].Microseconds()), "µs/median")
			b.ReportMetric(float64(trips[len(trips)*99/100].Microseconds()), "µs/p99")
			b.ReportMetric(float64(moved[0]+moved[1])/1e6/took.Seconds(), "large-MB/s")
		})
	}
}

// BenchmarkLarge asks for one payload after another over pipes, with pieces and without.
func BenchmarkLarge(b *testing.B) {
	for _, size := range []int{256 << 10, 1 << 20, 16 << 20} {
		for name, ext := range map[string]pconn.Extensions{"pieces": pconn.ExtensionsRequired, "plain": pconn.ExtensionsOff} {
			b.Run(fmt.Sprintf("%s/%dKiB", name, size>>10), func(b *testing.B) {
				caller, _ := pipes(b, &pconn.Options{Extensions: ext}, &pconn.Options{Extensions: ext, Handler: pconn.HandlerFunc(echo)})
				payload, buf := make([]byte, size), make([]byte, size)
				b.SetBytes(int64(2 * size))
				for b.Loop() {
					_, err := caller.DoInto(context.Background(), buf, pconn.Request{Payload: payload})
					require.NoError(b, err)
				}
			})
		}
	}
}
