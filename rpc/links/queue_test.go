package links

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestQueueIsFirstInFirstOut(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var q queue[*int]
	var model []*int
	next := 0
	for range 500 {
		// Long runs of each, so that it is empty now and then, and long.
		for range rng.IntN(60) {
			v := next
			next++
			q.push(&v)
			model = append(model, &v)
		}
		for range min(rng.IntN(60), len(model)) {
			require.Same(t, model[0], q.first())
			require.Same(t, model[0], q.pop())
			model = model[1:]
		}
		require.Equal(t, len(model), q.len())
		require.Equal(t, len(model), len(q.waiting()))
		held := slices.ContainsFunc(q.items[:q.head], func(taken *int) bool { return taken != nil })
		require.False(t, held, "what was taken is held")
	}
}

func TestQueueTakesNoMemoryWhileItStaysShort(t *testing.T) {
	var q queue[int]
	q.push(0)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		for range 3 {
			q.push(1)
		}
		for range 3 {
			q.pop()
		}
	}))
	for range 10_000 {
		q.push(1)
	}
	for q.len() > 0 {
		q.pop()
	}
	require.LessOrEqual(t, cap(q.items), keptItems, "a burst's memory is kept")
}
