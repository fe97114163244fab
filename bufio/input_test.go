package bufio

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// hidden keeps what a reader can do besides Read from being found.
type hidden struct{ io.Reader }

// hiddenConn has deadlines but no descriptor.
type hiddenConn struct{ net.Conn }

type cleaner interface {
	require.TestingT
	Cleanup(func())
}

// feed writes data to w and closes it, on a goroutine that the test waits for.
func feed(t cleaner, w io.WriteCloser, data []byte) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Write(data)
		w.Close()
	}()
	t.Cleanup(func() {
		w.Close()
		<-done
	})
}

// inputs are all kinds of streams, each giving data and then the end.
var inputs = map[string]func(t cleaner, dir string, data []byte) *Input{
	"bytes":  func(_ cleaner, _ string, data []byte) *Input { return InputBytes(slices.Clone(data)) },
	"reader": func(_ cleaner, _ string, data []byte) *Input { return NewInput(bytes.NewReader(data)) },
	"chunks": func(_ cleaner, _ string, data []byte) *Input { return InputChunks(slices.Chunk(data, 777)) },
	"goroutine": func(_ cleaner, _ string, data []byte) *Input {
		return NewInput(hidden{bytes.NewReader(data)})
	},
	"half": func(_ cleaner, _ string, data []byte) *Input {
		return NewInput(iotest.HalfReader(bytes.NewReader(data)))
	},
	"data with EOF": func(_ cleaner, _ string, data []byte) *Input {
		return NewInput(iotest.DataErrReader(bytes.NewReader(data)))
	},
	"hesitant": func(_ cleaner, _ string, data []byte) *Input {
		return NewInput(&hesitant{r: bytes.NewReader(data)})
	},
	"pipe": func(t cleaner, _ string, data []byte) *Input {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		feed(t, w, data)
		return OwnInput(r)
	},
	"file": func(t cleaner, dir string, data []byte) *Input {
		name := filepath.Join(dir, "file")
		require.NoError(t, os.WriteFile(name, data, 0o600))
		f, err := os.Open(name)
		require.NoError(t, err)
		return OwnInput(f)
	},
	"net.Pipe": func(t cleaner, _ string, data []byte) *Input {
		a, b := net.Pipe()
		feed(t, b, data)
		return OwnInput(a)
	},
	"deadlines": func(t cleaner, _ string, data []byte) *Input {
		a, b := tcpPair(t)
		feed(t, b, data)
		return OwnInput(hiddenConn{a})
	},
	"tcp": func(t cleaner, _ string, data []byte) *Input {
		a, b := tcpPair(t)
		feed(t, b, data)
		return OwnInput(a)
	},
	"memory": func(t cleaner, _ string, data []byte) *Input {
		in, out := Pipe(1000)
		feed(t, writeCloser{out}, data)
		t.Cleanup(func() { in.Close() })
		return in
	},
}

// writeCloser makes an io.WriteCloser of an Output.
type writeCloser struct{ out *Output }

func (w writeCloser) Write(p []byte) (int, error) {
	src := &slices1{bufs: [][]byte{p}}
	err := w.out.Write(src, true)
	return src.n, err
}
func (w writeCloser) Close() error { return w.out.Close() }

// slices1 is a Source that gives slices, all at once.
type slices1 struct {
	bufs [][]byte
	n    int
}

func (s *slices1) Next(bufs [][]byte) [][]byte { return append(bufs, s.bufs...) }

func (s *slices1) Wrote(n int) {
	s.n += n
	for len(s.bufs) > 0 {
		k := min(n, len(s.bufs[0]))
		s.bufs[0] = s.bufs[0][k:]
		n -= k
		if len(s.bufs[0]) > 0 {
			return
		}
		s.bufs = s.bufs[1:]
	}
}

func tcpPair(t cleaner) (a, b *net.TCPConn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	s, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { c.Close(); s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// hesitant often returns neither bytes nor an error.
type hesitant struct {
	r     io.Reader
	calls int
}

func (h *hesitant) Read(p []byte) (int, error) {
	h.calls++
	if h.calls%3 != 0 {
		return 0, nil
	}
	return h.r.Read(p)
}

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
		op := rapid.SampledFrom([]string{"peek", "take", "full", "read", "try", "skip"}).Draw(t, "op")
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

func TestBadCountsAreErrors(t *testing.T) {
	in := InputBytes([]byte("abc"))
	_, err := in.Peek(-1)
	assert.ErrorIs(t, err, ErrCount)
	_, err = in.Take(-1)
	assert.ErrorIs(t, err, ErrCount)
	_, err = in.Rest(-1)
	assert.ErrorIs(t, err, ErrCount)
	assert.ErrorIs(t, in.Skip(-1), ErrCount)
	b, err := in.Peek(MaxPeek + 1)
	assert.ErrorIs(t, err, ErrTooLong)
	assert.Equal(t, "abc", string(b), "what is buffered is given all the same")
	if tooLong := int64(MaxTake + 1); int64(int(tooLong)) == tooLong {
		_, err = in.Take(int(tooLong))
		assert.ErrorIs(t, err, ErrTooLong)
	}
	_, err = in.Take(1 << 30)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF, "a length that lies takes little memory and loses nothing")
	b, err = in.Take(3)
	require.NoError(t, err)
	assert.Equal(t, "abc", string(b))
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

type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func TestBrokenReaders(t *testing.T) {
	errOdd := errors.New("odd")
	for name, c := range map[string]struct {
		read readFunc
		want error
	}{
		"more than room": {func(p []byte) (int, error) { return len(p) + 1, nil }, ErrBadCount},
		"negative":       {func([]byte) (int, error) { return -1, nil }, ErrBadCount},
		"nothing ever":   {func([]byte) (int, error) { return 0, nil }, io.ErrNoProgress},
		"own error":      {func([]byte) (int, error) { return 0, errOdd }, errOdd},
	} {
		t.Run(name, func(t *testing.T) {
			for kind, in := range map[string]*Input{
				"goroutine": NewInput(c.read),
				"deadlines": NewInput(withDeadline{hiddenConn{}, c.read}),
			} {
				_, err := in.Peek(1)
				assert.ErrorIs(t, err, c.want, kind)
				assert.ErrorIs(t, in.ReadFull(make([]byte, 100_000)), c.want, kind)
				assert.NoError(t, in.Close())
			}
		})
	}
}

func TestDataWithAnErrorIsGivenFirst(t *testing.T) {
	errOdd := errors.New("odd")
	calls := 0
	in := NewInput(readFunc(func(p []byte) (int, error) {
		calls++
		return copy(p, "abc"), errOdd
	}))
	b, err := in.Take(2)
	require.NoError(t, err)
	assert.Equal(t, "ab", string(b))
	b, err = in.Peek(5)
	assert.ErrorIs(t, err, errOdd)
	assert.Equal(t, "c", string(b))
	_, err = in.Take(5)
	assert.ErrorIs(t, err, errOdd)
	b, err = in.Take(1)
	require.NoError(t, err)
	assert.Equal(t, "c", string(b))
	assert.Equal(t, 1, calls, "a stream that has failed is left alone")
}

func TestNewInputOfAnInputIsTheSame(t *testing.T) {
	in := InputBytes(nil)
	assert.Same(t, in, NewInput(in))
}

func TestNilReaders(t *testing.T) {
	_, err := NewInput(nil).Peek(1)
	assert.Equal(t, io.EOF, err)
	_, err = NewInput((*os.File)(nil)).Peek(1)
	assert.ErrorIs(t, err, os.ErrInvalid)
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
