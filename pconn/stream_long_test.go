//go:build long

package pconn_test

import (
	"errors"
	"io"
	"os"
	"slices"
	"sync"
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

// TestLongStreamThatIsNotRead checks that a stream which nobody reads for a minute takes no more than its window, and costs
// the others next to nothing. The same streams differ by more than that from one minute to the next: so two connections, one
// of which has such a stream, carry bytes by short turns, and each turn is compared with its neighbour.
func TestLongStreamThatIsNotRead(t *testing.T) {
	alone := streamPairs(t)
	beside := streamPairs(t)
	x, _ := streamPair(t, beside[0][0].Conn(), beside[0][1].Conn())
	done := make(chan error, 1)
	var wrote int
	go func() {
		n, err := x.Write(make([]byte, 1<<20))
		wrote = n
		done <- err
	}()
	var ratios []float64
	for begun := time.Now(); time.Since(begun) < time.Minute; {
		var took [2]time.Duration
		for i := range took {
			// Who is first changes from turn to turn.
			if (i+len(ratios))%2 == 0 {
				took[0] = carryTurn(t, alone)
			} else {
				took[1] = carryTurn(t, beside)
			}
		}
		ratios = append(ratios, took[0].Seconds()/took[1].Seconds())
	}
	require.Empty(t, done)
	require.NoError(t, x.SetWriteDeadline(time.Now()))
	require.ErrorIs(t, <-done, os.ErrDeadlineExceeded)
	require.LessOrEqual(t, wrote, pconn.DefaultStreamWindow)
	slices.Sort(ratios)
	n := len(ratios)
	t.Logf("of %d turns: a tenth below %.2f, a quarter %.2f, half %.2f, three quarters %.2f",
		n, ratios[n/10], ratios[n/4], ratios[n/2], ratios[n*3/4])
	require.GreaterOrEqual(t, ratios[n/2], 0.9)
}

// streamPairs returns both ends of 99 streams of a connection of their own.
func streamPairs(t *testing.T) [][2]*pconn.Stream {
	a, b := pipes(t, nil, nil)
	pairs := make([][2]*pconn.Stream, 99)
	for i := range pairs {
		pairs[i][0], pairs[i][1] = streamPair(t, a, b)
	}
	return pairs
}

// carryTurn returns how long the streams take for 2 MiB each, all at once.
func carryTurn(t *testing.T, pairs [][2]*pconn.Stream) time.Duration {
	const blocks, block = 32, 64 << 10
	begun := time.Now()
	var wg sync.WaitGroup
	for _, p := range pairs {
		wg.Go(func() {
			b := make([]byte, block)
			for range blocks {
				if _, err := p[0].Write(b); err != nil {
					t.Error(err)
					return
				}
			}
		})
		wg.Go(func() {
			if _, err := io.CopyN(io.Discard, p[1], blocks*block); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	return time.Since(begun)
}
