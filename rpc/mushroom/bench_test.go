package mushroom_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/rpc/mushroom"
)

// BenchmarkRoundTrip has one Go client call "echo" with 16 bytes of data, one call at a time and 64 at a
// time, on this package's server and on the original's, each in a process of its own:
//
//	go test -run '^$' -bench RoundTrip ./rpc/mushroom
func BenchmarkRoundTrip(b *testing.B) {
	servers := []struct {
		name  string
		start func(testing.TB) string
	}{
		{"go", func(t testing.TB) string { return startChild(t, "serve") }},
		{"python", func(t testing.TB) string { return pythonServer(t) }},
	}
	for _, transport := range []string{"ws", "poll"} {
		for _, server := range servers {
			b.Run(transport+"/"+server.name, func(b *testing.B) {
				url := server.start(b)
				for _, callers := range []struct {
					name  string
					count int
				}{{"1", 1}, {"64", 64}} {
					b.Run(callers.name, func(b *testing.B) { roundTrips(b, url, transport, callers.count) })
				}
			})
		}
	}
}

func roundTrips(b *testing.B, url, transport string, callers int) {
	s, err := mushroom.Dial(b.Context(), url, &mushroom.DialOptions{Transports: []string{transport}})
	require.NoError(b, err)
	defer func() {
		_ = s.Close()
		<-s.Done()
	}()
	work := make(chan struct{})
	var all sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for range callers {
		all.Go(func() {
			for range work {
				if _, err := s.Request(context.Background(), "echo", "0123456789abcdef"); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}
