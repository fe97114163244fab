package bufio

import (
	"bytes"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestInputGivesTheStreamWhateverTheCalls(t *testing.T) {
	for name, open := range inputs {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			rapid.Check(t, func(t *rapid.T) {
				data := pattern(rapid.OneOf(rapid.IntRange(0, 200), rapid.IntRange(0, 300_000)).Draw(t, "size"))
				in := open(t, dir, data)
				defer in.Close()
				checkInput(t, in, data)
			})
		})
	}
}

// checkInput reads in to its end by calls drawn at random, against data.
func checkInput(t *rapid.T, in *Input, data []byte) {
	count := rapid.OneOf(rapid.IntRange(0, 30), rapid.IntRange(0, 5000), rapid.IntRange(0, 150_000))
	for pos := 0; ; {
		n := count.Draw(t, "n")
		rest := data[pos:]
		op := rapid.SampledFrom([]string{"peek", "try to peek", "take", "full", "read", "try", "across", "skip"}).Draw(t, "op")
		took := 0
		switch op {
		case "peek":
			n = min(n, MaxPeek)
			b, err := in.Peek(n)
			require.True(t, bytes.HasPrefix(rest, b))
			if n <= len(rest) {
				require.NoError(t, err)
				require.GreaterOrEqual(t, len(b), n)
			} else {
				require.Equal(t, io.EOF, err)
				require.Len(t, b, len(rest))
			}
		case "try to peek":
			n = min(n, MaxPeek)
			b, err := in.TryPeek(n)
			require.True(t, bytes.HasPrefix(rest, b))
			switch {
			case len(b) >= n:
				require.NoError(t, err)
			case err != ErrWouldBlock:
				require.Equal(t, io.EOF, err)
				require.Len(t, b, len(rest))
			}
		case "take":
			b, err := in.Take(n)
			if n > len(rest) {
				require.Equal(t, io.ErrUnexpectedEOF, err)
				break
			}
			require.NoError(t, err)
			require.True(t, bytes.Equal(rest[:n], b))
			took = n
		case "full":
			p := make([]byte, n)
			err := in.ReadFull(p)
			if n > len(rest) {
				require.Equal(t, io.ErrUnexpectedEOF, err)
				break
			}
			require.NoError(t, err)
			require.True(t, bytes.Equal(rest[:n], p))
			took = n
		case "read", "try":
			p := make([]byte, n)
			var err error
			if op == "read" {
				took, err = in.Read(p)
			} else {
				took, err = in.TryRead(p)
			}
			require.True(t, bytes.HasPrefix(rest, p[:took]))
			switch {
			case n == 0 || took > 0:
				require.NoError(t, err)
			case op == "try" && err == ErrWouldBlock:
			default:
				require.Equal(t, io.EOF, err)
				require.Empty(t, rest)
			}
		case "across":
			took = checkAcross(t, in, rest, n)
		case "skip":
			err := in.Skip(int64(n))
			took = min(n, len(rest))
			if n > len(rest) {
				require.Equal(t, io.ErrUnexpectedEOF, err)
			} else {
				require.NoError(t, err)
			}
		}
		pos += took
		require.Equal(t, int64(pos), in.Offset())
		if pos == len(data) {
			_, err := in.Peek(1)
			require.Equal(t, io.EOF, err)
			return
		}
	}
}

// checkAcross reads around a gap, of which rest is the stream behind, and returns how much was taken.
func checkAcross(t *rapid.T, in *Input, rest []byte, n int) int {
	at, gap := rapid.IntRange(0, n).Draw(t, "at"), rapid.IntRange(1, 20).Draw(t, "gap")
	p := make([]byte, n)
	took, beyond, err := in.TryReadAcross(p, at, gap)
	require.LessOrEqual(t, took, at)
	require.True(t, bytes.HasPrefix(rest, p[:took]))
	if at > 0 && took == 0 && err != ErrWouldBlock {
		require.Equal(t, io.EOF, err)
		require.Empty(t, rest)
	}
	if beyond == 0 {
		return took
	}
	require.Equal(t, at, took)
	require.LessOrEqual(t, beyond, n-at)
	ahead, err := in.Peek(0)
	require.NoError(t, err)
	require.Equal(t, rest[at:at+gap], ahead[:gap])
	require.Equal(t, rest[at+gap:at+gap+beyond], p[at:at+beyond])
	taken := rapid.SampledFrom([]int{0, 1, beyond / 2, beyond}).Draw(t, "taken")
	if taken > 0 {
		require.NoError(t, in.Skip(int64(gap)))
		took += gap
	}
	in.Settle(p[at:at+beyond], taken, gap)
	return took + taken
}

func TestRestIsBounded(t *testing.T) {
	for name, open := range inputs {
		t.Run(name, func(t *testing.T) {
			data := pattern(100_000)
			in := open(t, t.TempDir(), data)
			defer in.Close()
			_, err := in.Peek(1)
			require.NoError(t, err)
			_, err = in.Rest(len(data) - 1)
			require.Equal(t, ErrTooLong, err)
			assert.Zero(t, in.Offset(), "nothing was taken")
			got, err := in.Rest(len(data))
			require.NoError(t, err)
			assert.True(t, bytes.Equal(data, got))
			assert.EqualValues(t, len(data), in.Offset())
			got, err = in.Rest(0)
			require.NoError(t, err)
			assert.Empty(t, got)
		})
	}
}

func TestPeekOfMoreThanMaxPeekThatIsBuffered(t *testing.T) {
	data := pattern(3 * MaxPeek)
	in := InputBytes(data)
	b, err := in.Peek(2 * MaxPeek)
	require.NoError(t, err)
	assert.Len(t, b, len(data))
}

func TestTakeOfMoreThanIsAskedForAtOnce(t *testing.T) {
	data := pattern(2*takeAtOnce + 3)
	in := NewInput(bytes.NewReader(data))
	b, err := in.Take(len(data))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data, b))

	in = NewInput(bytes.NewReader(data))
	_, err = in.Take(2 * len(data))
	require.Equal(t, io.ErrUnexpectedEOF, err)
	assert.Equal(t, len(data), in.Buffered(), "nothing is lost")
	b, err = in.Take(len(data))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data, b))
}

func TestNewInputOfAnInputIsTheSame(t *testing.T) {
	in := InputBytes(nil)
	assert.Same(t, in, NewInput(in))
}

func TestChunksStopWhenClosed(t *testing.T) {
	stopped := make(chan struct{})
	in := InputChunks(func(yield func([]byte) bool) {
		defer close(stopped)
		for yield([]byte("more")) {
		}
	})
	_, err := in.Peek(1)
	require.NoError(t, err)
	require.NoError(t, in.Close())
	within(t, func() { <-stopped })
	_, err = in.Take(100_000)
	assert.ErrorIs(t, err, ErrClosed)
	assert.ErrorIs(t, err, os.ErrClosed)
}

func TestChunksAreLazyAndMayBeEmpty(t *testing.T) {
	given := 0
	var seq iter.Seq[[]byte] = func(yield func([]byte) bool) {
		for _, s := range []string{"", "a", "", "b"} {
			given++
			if !yield([]byte(s)) {
				return
			}
		}
	}
	in := InputChunks(seq)
	b, err := in.Peek(1)
	require.NoError(t, err)
	assert.Equal(t, "a", string(b))
	assert.Equal(t, 2, given)
	rest, err := in.Rest(10)
	require.NoError(t, err)
	assert.Equal(t, "ab", string(rest))
	require.NoError(t, in.Close())
}

func TestSkipSeeksInAFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "sparse")
	f, err := os.Create(name)
	require.NoError(t, err)
	defer f.Close()
	const size int64 = 1 << 40
	if err := f.Truncate(size); err != nil {
		t.Skip("this file system has no sparse file of 1 TiB: ", err)
	}
	_, err = f.WriteAt([]byte("end"), size-3)
	require.NoError(t, err)
	in := NewInput(f)
	defer in.Close()
	_, err = in.Peek(1)
	require.NoError(t, err)
	within(t, func() { err = in.Skip(size - 3) }) // Reading 1 TiB would take minutes.
	require.NoError(t, err)
	b, err := in.Rest(10)
	require.NoError(t, err)
	assert.Equal(t, "end", string(b))
	assert.EqualValues(t, size, in.Offset())
}

func TestSkipPastTheEndOfAFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, pattern(200_000), 0o600))
	f, err := os.Open(name)
	require.NoError(t, err)
	in := OwnInput(f)
	assert.Equal(t, io.ErrUnexpectedEOF, in.Skip(1<<40))
	assert.EqualValues(t, 200_000, in.Offset())
	require.NoError(t, in.Close())
	assert.ErrorIs(t, f.Close(), os.ErrClosed, "Close has closed what it was given to own")
}

func TestTheBufferGrowsForSmallPacketsAndNotForLargeOnes(t *testing.T) {
	sizes := []int{}
	in := NewInput(hidden{strings.NewReader("")})
	in.org = recording{InputBytes(nil).org, &sizes}
	for range 8 {
		require.NoError(t, in.Skip(int64(max(in.Buffered(), 1))))
	}
	assert.Equal(t, []int{bufferSmall, bufferMiddle, MaxPeek}, slices.Compact(slices.Clone(sizes)))
	// A payload read straight into its own memory brings the buffer back to small.
	require.NoError(t, in.ReadFull(make([]byte, 10*MaxPeek)))
	sizes = sizes[:0]
	_, err := in.Peek(1)
	require.NoError(t, err)
	assert.Equal(t, []int{bufferSmall}, sizes)
}

// recording fills whatever room it is given and remembers how much that was.
type recording struct {
	origin
	sizes *[]int
}

func (r recording) read(in *Input, _ bool) (int, error) {
	n := len(in.space())
	*r.sizes = append(*r.sizes, n)
	return n, nil
}

func TestInputBehindWhatWasReadAhead(t *testing.T) {
	for _, ahead := range []string{"", "read ahead, "} {
		r, w := io.Pipe()
		go func() {
			_, _ = w.Write([]byte("then the rest"))
			_ = w.Close()
		}()
		in := NewInputBehind([]byte(ahead), r)
		require.Equal(t, len(ahead), in.Buffered())
		all, err := in.Rest(100)
		require.NoError(t, err)
		require.Equal(t, ahead+"then the rest", string(all))
		require.Equal(t, int64(len(all)), in.Offset())
		require.NoError(t, in.Close())
	}
}
