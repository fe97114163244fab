package bufio

import (
	"errors"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

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

func TestNilReaders(t *testing.T) {
	_, err := NewInput(nil).Peek(1)
	assert.Equal(t, io.EOF, err)
	_, err = NewInput((*os.File)(nil)).Peek(1)
	assert.ErrorIs(t, err, os.ErrInvalid)
}
