//go:build long

package pconn_test

import (
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/packetstream/packetstream/pconn"
)

// TestLongStreamsFollowTheModel makes 100,000 steps: as many checks as rapid makes by default, of 1000 each.
func TestLongStreamsFollowTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkStreams(t, 1000) })
}

// TestLongFloodBothWays is to be done within a minute.
func TestLongFloodBothWays(t *testing.T) {
	begun := time.Now()
	floodBothWays(t, 10_000)
	require.Less(t, time.Since(begun), time.Minute)
}

// TestLongRequestsBesideBulk compares requests' times on a quiet connection with those beside a stream of 1 GiB.
func TestLongRequestsBesideBulk(t *testing.T) {
	ratios := make([]float64, 5)
	for i := range ratios {
		ratios[i] = requestsBesideBulk(t)
	}
	slices.Sort(ratios)
	t.Log(ratios)
	require.LessOrEqual(t, ratios[2], 10.0)
}

// requestsBesideBulk returns by how much the 99th percentile is longer beside the stream.
func requestsBesideBulk(t *testing.T) float64 {
	a, b := pipes(t, nil, &pconn.Options{Handler: pconn.HandlerFunc(echo)})
	x, y := streamPair(t, a, b)
	payload := make([]byte, 16)
	percentile := func(more func(n int) bool) time.Duration {
		var took []time.Duration
		for more(len(took)) {
			begun := time.Now()
			_, err := a.Do(t.Context(), pconn.Request{Payload: payload})
			require.NoError(t, err)
			took = append(took, time.Since(begun))
		}
		slices.Sort(took)
		return took[len(took)*99/100]
	}
	quiet := percentile(func(n int) bool { return n < 20_000 })
	done := make(chan error, 2)
	go func() {
		_, err := io.CopyN(x, zeroes{}, 1<<30)
		done <- errors.Join(err, x.CloseWrite())
	}()
	go func() {
		_, err := io.Copy(io.Discard, y)
		done <- err
	}()
	busy := percentile(func(int) bool { return len(done) == 0 })
	require.NoError(t, <-done)
	require.NoError(t, <-done)
	t.Log(quiet, busy)
	return float64(busy) / float64(quiet)
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { return len(p), nil }

// TestLongStreamThatIsNotRead checks that a stream which nobody reads takes no more than its window, and costs the
// others next to nothing.
func TestLongStreamThatIsNotRead(t *testing.T) {
	ratios := make([]float64, 5)
	for i := range ratios {
		alone := throughput(t, false)
		ratios[i] = throughput(t, true) / alone
	}
	slices.Sort(ratios)
	t.Log(ratios)
	require.GreaterOrEqual(t, ratios[2], 0.9)
}

// unreadTime is a fifth of a minute: there are five runs.
const unreadTime = 12 * time.Second

// throughput returns how many bytes 99 streams carry in unreadTime, beside one that nobody reads or none.
func throughput(t *testing.T, idle bool) float64 {
	a, b := pipes(t, nil, nil)
	if idle {
		x, _ := streamPair(t, a, b)
		require.NoError(t, x.SetWriteDeadline(time.Now().Add(unreadTime)))
		go func() {
			n, err := x.Write(make([]byte, 1<<20))
			if n > pconn.DefaultStreamWindow || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("wrote %d bytes to who does not read: %v", n, err)
			}
		}()
	}
	var read atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(unreadTime)
	for range 99 {
		x, y := streamPair(t, a, b)
		wg.Go(func() {
			block := make([]byte, 64<<10)
			for time.Now().Before(end) {
				if _, err := x.Write(block); err != nil {
					t.Error(err)
					return
				}
			}
			x.Close()
		})
		wg.Go(func() {
			n, err := io.Copy(io.Discard, y)
			if err != nil {
				t.Error(err)
			}
			read.Add(n)
			y.Close()
		})
	}
	wg.Wait()
	return float64(read.Load())
}
