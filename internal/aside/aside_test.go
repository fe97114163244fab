package aside

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOrderIsKept(t *testing.T) {
	var got []int
	q := New(10_000, func(v int) { got = append(got, v) })
	var want []int
	for i := range 10_000 {
		require.True(t, q.Put(i))
		want = append(want, i)
	}
	require.NoError(t, q.Close(context.Background()))
	assert.True(t, slices.Equal(want, got))
	assert.Zero(t, q.Dropped())
	assert.False(t, q.Put(1), "closed")
	assert.EqualValues(t, 1, q.Dropped())
	require.NoError(t, q.Close(context.Background()))
}

func TestAFullQueueDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var got []int
		q := New(3, func(v int) {
			<-release
			got = append(got, v)
		})
		q.Put(0)
		synctest.Wait() // 0 is being handed over.
		for i := 1; i <= 5; i++ {
			assert.Equal(t, i <= 3, q.Put(i))
		}
		assert.EqualValues(t, 2, q.Dropped())
		close(release)
		require.NoError(t, q.Close(t.Context()))
		assert.Equal(t, []int{0, 1, 2, 3}, got)
	})
}

func TestAnIdleQueueHasNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(0, func(int) {})
		for range 3 {
			for i := range DefaultSize {
				q.Put(i)
			}
			synctest.Wait()
			stacks := make([]byte, 1<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			for stack := range strings.SplitSeq(string(stacks), "\n\n") {
				// Outside of this bubble the goroutine of another test may be on its last step.
				if strings.Contains(stack, "synctest bubble") {
					assert.NotContains(t, stack, "aside.(*Queue[...]).run(")
				}
			}
			assert.LessOrEqual(t, len(q.ring), keep)
		}
	})
}

func TestPanicsAreContained(t *testing.T) {
	var got []int
	q := New(10, func(v int) {
		switch v {
		case 1:
			panic("one")
		case 2:
			runtime.Goexit()
		}
		got = append(got, v)
	})
	for i := range 5 {
		q.Put(i)
	}
	require.NoError(t, q.Close(context.Background()))
	assert.Equal(t, []int{0, 3, 4}, got)
	assert.EqualValues(t, 2, q.Panics())
}

func TestCloseWaitsNoLongerThanItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var calls atomic.Int32
		q := New(10, func(int) {
			calls.Add(1)
			<-release
		})
		for i := range 4 {
			q.Put(i)
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, q.Close(ctx), context.DeadlineExceeded)
		assert.EqualValues(t, 3, q.Dropped())
		close(release)
		require.NoError(t, q.Close(t.Context()))
		assert.EqualValues(t, 1, calls.Load())
	})
}

func BenchmarkPut(b *testing.B) {
	q := New(0, func(int) {})
	b.ReportAllocs()
	for b.Loop() {
		q.Put(1)
	}
	require.NoError(b, q.Close(context.Background()))
}
