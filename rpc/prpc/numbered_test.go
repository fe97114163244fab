package prpc

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestNumbered compares with a map: ids in their order, of which some stay for long, and ids that want the same slot.
func TestNumbered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var n numbered[uint64]
		model := map[uint64]*uint64{}
		ids := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) uint64 {
			if rapid.Bool().Draw(t, "same slot") {
				return 8 * rapid.Uint64Range(0, 1<<12).Draw(t, "id")
			}
			return rapid.Uint64Range(0, 200).Draw(t, "id")
		}), 1, 400).Draw(t, "ids")
		for _, id := range ids {
			require.Equal(t, model[id], n.get(id))
			if model[id] == nil {
				value := id
				model[id] = &value
				n.put(id, &value)
			} else {
				delete(model, id)
				n.remove(id)
				n.remove(id)
			}
			require.Equal(t, len(model), n.count)
		}
		seen := 0
		n.each(func(value *uint64) {
			seen++
			require.Same(t, model[*value], value)
		})
		require.Equal(t, len(model), seen)
	})
}

// TestNumberedStaysSmall: one call that stays while others come and go takes no larger ring, and many at a time take one of a bounded
// size.
func TestNumberedStaysSmall(t *testing.T) {
	var n numbered[int]
	n.put(0, new(int))
	for id := range uint64(10_000) {
		n.put(id+1, new(int))
		n.remove(id + 1)
	}
	require.Len(t, n.slots, minSlots)
	for id := range uint64(10_000) {
		n.put(id+1, new(int))
	}
	require.Len(t, n.slots, maxSlots)
	require.Equal(t, 10_001, n.count)
}
