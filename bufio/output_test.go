package bufio

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// outputs are all kinds of streams to write to, each with the end that reads them. Closing the Output, and then owned,
// ends the stream.
var outputs = map[string]func(t cleaner) (out *Output, r io.Reader, owned io.Closer){
	"pipe": func(t cleaner) (*Output, io.Reader, io.Closer) {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		t.Cleanup(func() { r.Close(); w.Close() })
		return NewOutput(w), r, w
	},
	"tcp": func(t cleaner) (*Output, io.Reader, io.Closer) {
		a, b := tcpPair(t)
		return NewOutput(a), b, a
	},
	"deadlines": func(t cleaner) (*Output, io.Reader, io.Closer) {
		a, b := tcpPair(t)
		return NewOutput(hiddenConn{a}), b, a
	},
	"net.Pipe": func(t cleaner) (*Output, io.Reader, io.Closer) {
		a, b := net.Pipe()
		t.Cleanup(func() { a.Close(); b.Close() })
		return NewOutput(a), b, a
	},
	"blocking": func(t cleaner) (*Output, io.Reader, io.Closer) {
		r, w := io.Pipe()
		t.Cleanup(func() { r.Close() })
		return NewOutput(w), r, w
	},
	"memory": func(t cleaner) (*Output, io.Reader, io.Closer) {
		in, out := Pipe(5000)
		t.Cleanup(func() { in.Close() })
		return out, in, nopCloser{}
	},
}

type nopCloser struct{}

func (nopCloser) Close() error { return nil }

// changing is a Source that offers what it has in pieces that differ from call to call.
type changing struct {
	t       *rapid.T
	data    []byte
	offered int
	asked   int
}

func (c *changing) Next(bufs [][]byte) [][]byte {
	assert.Zero(c.t, c.offered, "asked twice without an answer")
	c.asked++
	pieces := [][]int{{0}, {1, 0, 3}, {100_000}, {10, 70_000, 20}}[c.asked%4]
	rest := c.data
	for _, n := range pieces {
		n = min(n, len(rest))
		bufs = append(bufs, rest[:n])
		rest = rest[n:]
		c.offered += n
	}
	if c.offered == 0 && len(c.data) > 0 {
		c.offered = 1
		bufs = append(bufs, c.data[:1])
	}
	return bufs
}

func (c *changing) Wrote(n int) {
	assert.LessOrEqual(c.t, n, c.offered)
	c.offered = 0
	c.data = c.data[n:]
}

func TestOutputWritesAll(t *testing.T) {
	for name, open := range outputs {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				out, r, owned := open(t)
				data := pattern(rapid.IntRange(0, 400_000).Draw(t, "size"))
				type result struct {
					b   []byte
					err error
				}
				got := make(chan result, 1)
				go func() {
					b, err := io.ReadAll(r)
					got <- result{b, err}
				}()
				src := &changing{t: t, data: data}
				for len(src.data) > 0 {
					if rapid.Bool().Draw(t, "wait") {
						require.NoError(t, out.Write(src, true))
						continue
					}
					err := out.Write(src, false)
					if err != nil {
						require.Equal(t, ErrWouldBlock, err)
						require.NoError(t, out.Write(src, true))
					}
				}
				require.NoError(t, out.Close())
				require.NoError(t, owned.Close())
				res := <-got
				require.NoError(t, res.err)
				require.True(t, bytes.Equal(data, res.b))
			})
		})
	}
}

func TestWriteThatMustNotWait(t *testing.T) {
	for name, open := range outputs {
		t.Run(name, func(t *testing.T) {
			out, r, _ := open(t)
			src := &slices1{bufs: [][]byte{pattern(64 << 20)}}
			err := later(t, func() error { return out.Write(src, false) })()
			require.Equal(t, ErrWouldBlock, err)
			if !out.NonBlocking() {
				assert.Zero(t, src.n)
				return
			}
			assert.NotZero(t, src.n)
			_, err = io.ReadFull(r, make([]byte, src.n))
			require.NoError(t, err)
		})
	}
}

func TestInterruptedWriteGoesOn(t *testing.T) {
	for name, open := range outputs {
		if name == "blocking" {
			continue // Nothing can interrupt a Write of a writer without deadlines: tested below.
		}
		t.Run(name, func(t *testing.T) {
			out, r, owned := open(t)
			data := pattern(16 << 20)
			src := &slices1{bufs: [][]byte{data}}
			done := later(t, func() error { return out.Write(src, true) })
			head := make([]byte, 1)
			_, err := io.ReadFull(r, head)
			require.NoError(t, err)
			out.Interrupt()
			require.Equal(t, ErrInterrupted, done())
			require.Equal(t, ErrInterrupted, out.Write(src, true))
			out.Resume()
			got := make(chan []byte, 1)
			go func() {
				b, _ := io.ReadAll(r)
				got <- b
			}()
			require.NoError(t, later(t, func() error { return out.Write(src, true) })())
			require.NoError(t, out.Close())
			require.NoError(t, owned.Close())
			assert.True(t, bytes.Equal(data, append(head, <-got...)))
		})
	}
}

func TestInterruptOfAWriterWithoutDeadlines(t *testing.T) {
	r, w := io.Pipe()
	out := NewOutput(w)
	src := &slices1{bufs: [][]byte{make([]byte, 10), make([]byte, 2*gatherSize)}}
	done := later(t, func() error { return out.Write(src, true) })
	_, err := io.ReadFull(r, make([]byte, 1))
	require.NoError(t, err)
	out.Interrupt()
	_, err = io.ReadFull(r, make([]byte, gatherSize-1))
	require.NoError(t, err)
	require.Equal(t, ErrInterrupted, done())
	assert.Equal(t, gatherSize, src.n, "the Write that was under way is counted")
}

func TestCloseWakesAWriter(t *testing.T) {
	for name, open := range outputs {
		if name == "blocking" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			out, r, owned := open(t)
			done := later(t, func() error { return out.Write(&slices1{bufs: [][]byte{pattern(16 << 20)}}, true) })
			_, err := io.ReadFull(r, make([]byte, 1))
			require.NoError(t, err)
			require.NoError(t, out.Close())
			require.NoError(t, out.Close())
			require.Equal(t, ErrClosed, done())
			require.Equal(t, ErrClosed, out.Write(&slices1{bufs: [][]byte{{1}}}, true))
			if w, ok := owned.(io.Writer); ok {
				// The owner's stream is open, and has no deadline of ours.
				go io.Copy(io.Discard, r)
				_, err = w.Write(make([]byte, 1<<20))
				require.NoError(t, err)
				require.NoError(t, owned.Close())
			}
		})
	}
}

func TestPeerGone(t *testing.T) {
	for name, open := range outputs {
		t.Run(name, func(t *testing.T) {
			out, r, _ := open(t)
			done := later(t, func() error {
				for {
					if err := out.Write(&slices1{bufs: [][]byte{make([]byte, 100_000)}}, true); err != nil {
						return err
					}
				}
			})
			_, err := io.ReadFull(r, make([]byte, 1))
			require.NoError(t, err)
			require.NoError(t, r.(io.Closer).Close())
			require.ErrorIs(t, done(), ErrPeerGone)
			err = out.Write(&slices1{bufs: [][]byte{{1}}}, true)
			require.ErrorIs(t, err, ErrPeerGone)
		})
	}
}

func TestAResetWhileReadingSaysPeerGone(t *testing.T) {
	a, b := tcpPair(t)
	require.NoError(t, b.SetLinger(0))
	require.NoError(t, b.Close())
	for name, in := range map[string]*Input{"tcp": NewInput(a)} {
		_, err := in.Peek(1)
		require.ErrorIs(t, err, ErrPeerGone, name)
	}
}

func TestHeaderAndPayloadLeaveInOneWrite(t *testing.T) {
	var writes [][]byte
	out := NewOutput(writeFunc(func(p []byte) (int, error) {
		writes = append(writes, slices.Clone(p))
		return len(p), nil
	}))
	large := pattern(3 * gatherSize)
	src := &slices1{bufs: [][]byte{[]byte("head"), nil, []byte("payload"), large}}
	require.NoError(t, out.Write(src, true))
	assert.Equal(t, "headpayload", string(writes[0][:11]))
	assert.Equal(t, "headpayload"+string(large), string(bytes.Join(writes, nil)))
	assert.LessOrEqual(t, len(writes), 2)
}

type writeFunc func(p []byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }

func TestBrokenWriters(t *testing.T) {
	errOdd := errors.New("odd")
	for name, c := range map[string]struct {
		write writeFunc
		want  error
		wrote int
	}{
		"more than given": {func(p []byte) (int, error) { return len(p) + 1, nil }, ErrBadCount, 0},
		"negative":        {func([]byte) (int, error) { return -1, nil }, ErrBadCount, 0},
		"short":           {func([]byte) (int, error) { return 1, nil }, io.ErrShortWrite, 1},
		"part and error":  {func([]byte) (int, error) { return 2, errOdd }, errOdd, 2},
	} {
		t.Run(name, func(t *testing.T) {
			src := &slices1{bufs: [][]byte{[]byte("abc")}}
			assert.ErrorIs(t, NewOutput(c.write).Write(src, true), c.want)
			assert.Equal(t, c.wrote, src.n)
		})
	}
	assert.ErrorIs(t, NewOutput(nil).Write(&slices1{bufs: [][]byte{{1}}}, true), os.ErrInvalid)
	assert.ErrorIs(t, NewOutput((*os.File)(nil)).Write(&slices1{bufs: [][]byte{{1}}}, true), os.ErrInvalid)
}

func TestNothingToWrite(t *testing.T) {
	for name, open := range outputs {
		t.Run(name, func(t *testing.T) {
			out, _, _ := open(t)
			require.NoError(t, out.Write(&slices1{}, true))
			require.NoError(t, out.Write(&slices1{bufs: [][]byte{nil, {}}}, true))
		})
	}
}

func TestMoreSlicesThanASystemCallTakes(t *testing.T) {
	out, r, owned := outputs["pipe"](t)
	var bufs [][]byte
	for i := range 5000 {
		bufs = append(bufs, []byte{byte(i)}, nil)
	}
	want := bytes.Join(bufs, nil)
	got := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(r)
		got <- b
	}()
	require.NoError(t, out.Write(&slices1{bufs: bufs}, true))
	require.NoError(t, owned.Close())
	assert.Equal(t, want, <-got)
}

func TestOutputToAFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	out := OwnOutput(f)
	assert.False(t, out.NonBlocking(), out.Mode())
	data := pattern(100_000)
	require.NoError(t, out.Write(&slices1{bufs: [][]byte{data[:10], data[10:]}}, true))
	require.NoError(t, out.Close())
	assert.ErrorIs(t, f.Close(), os.ErrClosed)
	got, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	assert.Equal(t, data, got)
}

func TestAnOwnedSocketIsHalfClosed(t *testing.T) {
	a, b := tcpPair(t)
	in, out := OwnInput(a), OwnOutput(a)
	require.NoError(t, out.Close())
	_, err := b.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	_, err = b.Write([]byte("x"))
	require.NoError(t, err)
	_, err = in.Take(1)
	require.NoError(t, err, "the other direction goes on")
	require.NoError(t, in.Close())
	require.ErrorIs(t, a.SetDeadline(time.Time{}), net.ErrClosed)
}
