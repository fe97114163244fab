package pconn

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestWindowsAddUp checks what recvWindow promises of its fields, whatever comes and is taken.
func TestWindowsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := budget{max: 1 << 20}
		others := b.take(rapid.Int64Range(0, b.max).Draw(t, "others"))
		size := rapid.Int64Range(1, 256<<10).Draw(t, "window")
		w := recvWindow{size: size, left: size}
		if rapid.Bool().Draw(t, "ours") {
			w.shared = b.take(size)
			w.size = max(w.shared, min(leastWindow, size))
			w.left = w.size
		}
		least := min(w.size, leastWindow)
		waiting := int64(0)
		for range 100 {
			require.False(t, w.received(w.left+1))
			n := rapid.Int64Range(0, w.left).Draw(t, "come")
			require.True(t, w.received(n))
			waiting += n
			n = rapid.Int64Range(0, waiting).Draw(t, "read")
			waiting -= n
			left := w.left
			grant := w.take(n, &b, 1<<20)
			require.Equal(t, left+grant, w.left)
			require.Equal(t, w.size, waiting+w.left+w.taken)
			require.GreaterOrEqual(t, grant, int64(0))
			require.GreaterOrEqual(t, w.size, least)
			require.LessOrEqual(t, w.size, int64(1<<20))
			require.Equal(t, others+w.shared, b.used)
			require.GreaterOrEqual(t, w.shared, int64(0))
			require.LessOrEqual(t, b.used, b.max)
			if waiting == 0 {
				require.Greater(t, w.left, w.size/2, "a peer that has to stop although nothing waits")
			}
		}
	})
}

func TestSendWindow(t *testing.T) {
	var w sendWindow
	require.False(t, w.allow(0))
	require.False(t, w.allow(maxCredit+1))
	require.False(t, w.allow(1<<63))
	require.True(t, w.allow(maxCredit-1))
	require.True(t, w.allow(1))
	require.False(t, w.allow(1))
	require.EqualValues(t, maxCredit, w.credit)
}
