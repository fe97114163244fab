package packet

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestShortHeadersAreLikeLongOnes has headers around every bound of the short ones written and read in both ways.
func TestShortHeadersAreLikeLongOnes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	near := func(bound uint64) uint64 { return max(2, bound) - 2 + random.Uint64N(4) }
	bounds := []uint64{0, 2, 1 << 5, 1 << 7, 1 << 14, shortSize, 1 << 21, shortTag}
	pick := func() uint64 { return near(bounds[random.IntN(len(bounds))]) }
	short := 0
	for range 100_000 {
		h := Header{Tag: pick(), Flags: pick(), Request: random.IntN(2) == 0, Size: int64(pick())}
		if h.Request {
			h.Type = pick()
		}
		if random.IntN(10) == 0 {
			h.Channel = pick()
		}
		behind := []byte("behind")
		long, err := h.Append(nil) // which has no room for a short one
		require.NoError(t, err)
		room := make([]byte, len(long)+shortOctets)
		copy(room[len(long):], behind)
		got, err := h.Append(room[:0])
		require.NoError(t, err)
		require.Equal(t, long, got)
		require.Equal(t, behind, room[len(long):][:len(behind)], "what is behind a header is left alone")

		if _, ok := h.appendShort(make([]byte, 0, shortOctets)); !ok {
			continue
		}
		short++
		for _, tail := range []int{0, 1, shortOctets, 100} {
			b := append(long, make([]byte, tail)...)
			parsed, again := Header{Channel: 9, Type: 9}, Header{}
			n, err := again.parseLong(b)
			require.NoError(t, err)
			require.Equal(t, h, again)
			if len(b) >= shortOctets {
				require.Equal(t, n, parsed.parseShort(b))
				require.Equal(t, h, parsed)
			} else {
				require.Zero(t, parsed.parseShort(b))
			}
		}
	}
	require.Greater(t, short, 10_000)
}

// TestShortParsesNothingElse has octets at random: what is parsed as a short header is the header that it is otherwise, and nothing
// else is changed.
func TestShortParsesNothingElse(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	short := 0
	for range 200_000 {
		b := make([]byte, random.IntN(12))
		for i := range b {
			b[i] = byte(random.Uint32()) >> random.IntN(8)
		}
		used := Header{Channel: 1, Tag: 2, Flags: 3, Type: 4, Request: true, Size: 5}
		h, long := used, Header{}
		n := h.parseShort(b)
		if n == 0 {
			require.Equal(t, used, h)
			continue
		}
		short++
		took, err := long.parseLong(b)
		require.NoError(t, err)
		require.Equal(t, took, n)
		require.Equal(t, long, h)
	}
	require.Greater(t, short, 10_000)
}
