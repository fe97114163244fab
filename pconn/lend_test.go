package pconn

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/bufio"
)

// TestLendingWritesWhatWasLeftToReceiving has a request wait for receiving to write it when that is lent, while the goroutine that
// was started for a call before has not run yet. No further call comes, and nobody receives who would write it.
func TestLendingWritesWhatWasLeftToReceiving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, _ := bufio.Pipe(1 << 10)
		_, out := bufio.Pipe(1 << 10)
		a, err := New(in, out, nil)
		require.NoError(t, err)
		left := func() uint64 {
			synctest.Wait()
			return a.Counters().Flushes.Load()
		}
		submit := func() {
			_, err := a.Submit(context.Background(), Request{})
			require.NoError(t, err)
		}
		for range minPortion {
			submit()
		}
		require.EqualValues(t, minPortion, left())

		a.mu.Lock()
		a.st.sender.awake = true // as while its caller looks for an answer
		a.lending = lendingTaken
		a.mu.Unlock()
		submit()
		require.EqualValues(t, minPortion, left(), "it is left to receiving")
		a.lend()
		require.EqualValues(t, minPortion+1, left())
		submit()
		require.EqualValues(t, minPortion+2, left(), "nobody is there to whom it could be left")

		a.mu.Lock()
		a.lending = lendingTaken // the receiving goroutine has never gone
		a.mu.Unlock()
		a.relieve()
		require.NoError(t, a.Close())
	})
}
