package bufio

import (
	"io"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPipeInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, out := Pipe(10)
		var got []byte
		var rerr error
		go func() {
			b, err := in.Peek(1)
			got, rerr = append(got, b...), err
			in.Skip(int64(len(b)))
		}()
		synctest.Wait()
		assert.Empty(t, got, "the reader is blocked")
		src := &slices1{bufs: [][]byte{[]byte("hello, "), []byte("world")}}
		require.Equal(t, ErrWouldBlock, out.Write(src, false))
		assert.Equal(t, 10, src.n)
		synctest.Wait()
		require.NoError(t, rerr)
		assert.Equal(t, "hello, wor", string(got))
		require.NoError(t, out.Write(src, false))
		require.NoError(t, out.Close())
		rest, err := in.Rest(10)
		require.NoError(t, err)
		assert.Equal(t, "ld", string(rest), "what was written before Close is read")
	})
}

func TestPipeReaderGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, out := Pipe(4)
		var err error
		go func() { err = out.Write(&slices1{bufs: [][]byte{pattern(100)}}, true) }()
		synctest.Wait()
		require.NoError(t, err)
		require.NoError(t, in.Close())
		synctest.Wait()
		assert.Equal(t, ErrPeerGone, err)
		assert.Equal(t, ErrPeerGone, out.Write(&slices1{bufs: [][]byte{{1}}}, false))
	})
}

// lastReader goes away as soon as everything was written.
type lastReader struct {
	Batch
	in *Input
}

func (r *lastReader) Wrote(n int) {
	r.Batch.Wrote(n)
	if r.Len() == 0 {
		r.in.Close()
	}
}

func TestPipeReaderGoneAfterTheLastByte(t *testing.T) {
	in, out := Pipe(4)
	src := &lastReader{in: in}
	src.End(append(src.Begin(), "all"...))
	require.NoError(t, out.Write(src, true), "all was written")
	src.End(append(src.Begin(), "more"...))
	require.Equal(t, ErrPeerGone, out.Write(src, true))
}

func TestPipeGivesItsMemoryBackWhileIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, out := Pipe(0)
		require.NoError(t, out.Write(&slices1{bufs: [][]byte{pattern(DefaultPipe)}}, false))
		_, err := in.Take(DefaultPipe)
		require.NoError(t, err)
		go in.Peek(1)
		synctest.Wait()
		assert.Nil(t, in.buf)
		assert.Nil(t, in.org.(pipeOrigin).p.buf)
		require.NoError(t, out.Close())
		synctest.Wait()
		_, err = in.Peek(1)
		assert.Equal(t, io.EOF, err)
	})
}

func TestPipeHoldsWhatItsSizeSays(t *testing.T) {
	for _, size := range []int{1, 100, pipeSmall, pipeSmall + 1, DefaultPipe, 3*DefaultPipe + 5, 1 << 20} {
		in, out := Pipe(size)
		data := pattern(2 * size)
		src := &slices1{bufs: [][]byte{data[:size/3], data[size/3:]}}
		require.Equal(t, ErrWouldBlock, out.Write(src, false))
		require.Equal(t, size, src.n)
		_, err := in.Take(size / 2)
		require.NoError(t, err)
		require.Contains(t, []error{nil, ErrWouldBlock}, out.Write(src, false))
		n := src.n
		require.NoError(t, out.Close())
		rest, err := in.Rest(n)
		require.NoError(t, err)
		require.Equal(t, data[size/2:n], rest)
		require.NoError(t, in.Close())
	}
}
