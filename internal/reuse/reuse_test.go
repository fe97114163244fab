package reuse

import (
	"fmt"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

func TestTakenMemoryHasRoom(t *testing.T) {
	var b Buffers
	for _, size := range []int{0, 1, MinSize - 1, MinSize, MinSize + 1, 64<<10 + 4, MaxSize - 1, MaxSize, MaxSize + 1} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			for range 3 {
				data := b.Take(size)
				require.Empty(t, data)
				require.GreaterOrEqual(t, cap(data), size)
				b.GiveBack(data)
			}
		})
	}
}

func TestMemoryIsNotTakenTwice(t *testing.T) {
	var b Buffers
	taken := make(map[*byte]bool)
	var held [][]byte
	for i := range 100 {
		data := b.Take(MinSize + i)
		first := unsafe.SliceData(data)
		require.False(t, taken[first])
		if i%3 == 0 {
			b.GiveBack(data)
			continue
		}
		taken[first] = true
		held = append(held, data)
	}
	for i, data := range held {
		data = data[:MinSize]
		for j := range data {
			data[j] = byte(i)
		}
	}
	for i, data := range held {
		for _, v := range data[:MinSize] {
			require.Equal(t, byte(i), v)
		}
	}
}

func TestMemoryOfOtherSizesIsLeft(t *testing.T) {
	var b Buffers
	b.GiveBack(nil)
	b.GiveBack(make([]byte, 0, MinSize/2))
	b.GiveBack(make([]byte, 0, MinSize+1))
	b.GiveBack(make([]byte, 0, 2*MaxSize))
	require.Equal(t, MinSize, cap(b.Take(MinSize)))
	require.Equal(t, 2*MinSize, cap(b.Take(MinSize+1)))
	require.Equal(t, 2*MaxSize, cap(b.Take(2*MaxSize)))
}

func TestGivenMemoryIsKept(t *testing.T) {
	var b Buffers
	// A pool may lose what it is given, now and then.
	kept := false
	for range 100 {
		data := b.Take(MinSize)
		b.GiveBack(data)
		again := b.Take(MinSize)
		kept = kept || unsafe.SliceData(again) == unsafe.SliceData(data)
	}
	require.True(t, kept)
}
