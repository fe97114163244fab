package pconn

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// TestEndWaitsForRelieve ends a connection while the goroutine that a lone call has started has not run yet.
func TestEndWaitsForRelieve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, err := Pipe(nil, nil)
		require.NoError(t, err)
		a.mu.Lock()
		a.lending = lendingTaken
		a.mu.Unlock()
		go a.Close()
		synctest.Wait()
		require.Error(t, a.Err())
		select {
		case <-a.Done():
			require.Fail(t, "it is over while one of its goroutines is not")
		default:
		}
		a.relieve()
		require.NoError(t, a.Wait())
		require.NoError(t, b.Close())
	})
}
