package pconn

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestChunksAreAQueue fills and takes in any order, also while the other is under way, and holds no more memory than
// about twice what waits.
func TestChunksAreAQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c chunks
		var pool bufferList
		var want, filling []byte
		next := byte(0)
		steps := map[string]func(*rapid.T){
			"fill": func(t *rapid.T) {
				if filling != nil {
					n := rapid.IntRange(0, len(filling)).Draw(t, "filled")
					for i := range n {
						filling[i] = next
						next++
					}
					want = append(want, filling[:n]...)
					c.filled(n)
					filling = nil
					return
				}
				n := rapid.SampledFrom([]int{1, 100, minChunk, keepChunk + 1, maxChunk, 2 * maxChunk}).Draw(t, "want")
				filling = c.room(n, &pool)
				require.NotEmpty(t, filling)
				require.LessOrEqual(t, len(filling), n)
			},
			"take": func(t *rapid.T) {
				got := c.next(&pool)
				require.Equal(t, len(want) > 0, len(got) > 0)
				if len(got) == 0 {
					return
				}
				require.True(t, bytes.HasPrefix(want, got))
				n := rapid.IntRange(0, len(got)).Draw(t, "taken")
				c.taken(n, &pool)
				want = want[n:]
			},
			"": func(t *rapid.T) {
				require.Equal(t, len(want), c.bytes)
				held := 0
				for _, chunk := range c.list[c.head:] {
					held += len(chunk.buf)
				}
				require.LessOrEqual(t, held, 2*c.bytes+2*maxChunk)
			},
		}
		t.Repeat(steps)
	})
}

func TestDroppedChunksStayEmpty(t *testing.T) {
	var c chunks
	var pool bufferList
	p := c.room(10, &pool)
	c.drop()
	c.filled(len(p))
	c.taken(0, &pool)
	require.Nil(t, c.next(&pool))
	require.Zero(t, c.bytes)
}

// TestChunksUseMemoryAgain fills and takes pieces of whatever sizes frames leave over.
func TestChunksUseMemoryAgain(t *testing.T) {
	var c chunks
	var pool bufferList
	allocs := testing.AllocsPerRun(100, func() {
		for want := keepChunk + 1; want <= maxChunk; want += 1000 {
			c.filled(len(c.room(want, &pool)))
			c.taken(len(c.next(&pool)), &pool)
		}
	})
	require.Zero(t, c.bytes)
	require.Less(t, allocs, 1.0)
}
