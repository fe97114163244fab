package bufio

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// flaky is a file of which some writes fail after a part, and some reads too.
type flaky struct {
	spillFile
	fail *bool
}

var errDisk = errors.New("disk is broken")

func (f flaky) WriteAt(p []byte, off int64) (int, error) {
	if *f.fail {
		n, _ := f.spillFile.WriteAt(p[:len(p)/2], off)
		return n, errDisk
	}
	return f.spillFile.WriteAt(p, off)
}

func (f flaky) ReadAt(p []byte, off int64) (int, error) {
	if *f.fail {
		n, _ := f.spillFile.ReadAt(p[:len(p)/2], off)
		return n, errDisk
	}
	return f.spillFile.ReadAt(p, off)
}

func TestBacklogIsAQueue(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		memory := rapid.Int64Range(-1, 300).Draw(t, "memory")
		disk := rapid.Int64Range(-1, 300).Draw(t, "disk")
		if memory == 0 || disk == 0 {
			memory, disk = 1, 1 // 0 means the default.
		}
		b, err := NewBacklog(BacklogOptions{Memory: memory, Disk: disk, Dir: dir})
		require.NoError(t, err)
		defer b.Close()
		limit := int(max(memory, 0) + max(disk, 0))
		fail := false
		b.open = func(dir string) (spillFile, error) {
			f, err := openSpill(dir)
			return flaky{f, &fail}, err
		}
		var model []byte
		fresh := pattern(1 << 20)
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				n := rapid.IntRange(0, 200).Draw(t, "n")
				p := fresh[:n]
				got, err := b.Write(p)
				switch {
				case n > limit-len(model):
					require.Equal(t, ErrBacklogFull, err)
				case err != nil:
					require.True(t, fail)
					require.ErrorIs(t, err, errDisk)
				}
				if err != nil {
					require.Zero(t, got)
					return
				}
				require.Equal(t, n, got)
				model = append(model, p...)
				fresh = fresh[n:]
			},
			"read": func(t *rapid.T) {
				p := make([]byte, rapid.IntRange(1, 200).Draw(t, "n"))
				n, err := b.TryRead(p)
				switch {
				case len(model) == 0:
					require.Equal(t, ErrBacklogEmpty, err)
				case err != nil:
					require.True(t, fail)
					require.ErrorIs(t, err, errDisk)
				default:
					require.NotZero(t, n)
				}
				require.True(t, bytes.HasPrefix(model, p[:n]))
				model = model[n:]
			},
			"break": func(t *rapid.T) { fail = rapid.Bool().Draw(t, "broken") },
			"":      func(t *rapid.T) { require.EqualValues(t, len(model), b.Len()) },
		})
	})
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries, "no file has a name, at no time")
}

func TestBacklogWithDefaults(t *testing.T) {
	b, err := NewBacklog(BacklogOptions{Dir: t.TempDir()})
	require.NoError(t, err)
	defer b.Close()
	data := pattern(4 * DefaultBacklogMemory)
	n, err := b.Write(data)
	require.NoError(t, err)
	require.Equal(t, len(data), n)
	_, err = b.Write(make([]byte, DefaultBacklogDisk))
	require.ErrorIs(t, err, ErrBacklogFull)
	got := make([]byte, len(data))
	_, err = io.ReadFull(b, got)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data, got))
	st, err := b.file.(*os.File).Stat()
	require.NoError(t, err)
	assert.Zero(t, st.Size(), "what was read takes no disk")
}

func TestBacklogReadWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := NewBacklog(BacklogOptions{Memory: 10, Disk: -1})
		require.NoError(t, err)
		var got []byte
		var rerr error
		go func() { got, rerr = io.ReadAll(b) }()
		synctest.Wait()
		_, err = b.Write([]byte("abc"))
		require.NoError(t, err)
		synctest.Wait()
		_, err = b.Write([]byte("def"))
		require.NoError(t, err)
		b.CloseWrite()
		b.CloseWrite()
		synctest.Wait()
		require.NoError(t, rerr)
		assert.Equal(t, "abcdef", string(got))
		_, err = b.Write([]byte("x"))
		assert.ErrorIs(t, err, ErrClosed)
		_, err = b.TryRead(make([]byte, 1))
		assert.Equal(t, io.EOF, err)
	})
}

func TestBacklogCloseWakesReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := NewBacklog(BacklogOptions{})
		require.NoError(t, err)
		errs := make(chan error, 3)
		for range 3 {
			go func() {
				_, err := b.Read(make([]byte, 1))
				errs <- err
			}()
		}
		synctest.Wait()
		require.NoError(t, b.Close())
		require.NoError(t, b.Close())
		for range 3 {
			assert.ErrorIs(t, <-errs, ErrClosed)
		}
		assert.Zero(t, b.Len())
	})
}

func TestBacklogWithoutADirectory(t *testing.T) {
	b, err := NewBacklog(BacklogOptions{Memory: 3, Dir: t.TempDir() + "/missing"})
	require.NoError(t, err)
	defer b.Close()
	_, err = b.Write([]byte("ab"))
	require.NoError(t, err)
	_, err = b.Write([]byte("cdef"))
	require.ErrorIs(t, err, os.ErrNotExist)
	p := make([]byte, 10)
	n, err := b.Read(p)
	require.NoError(t, err)
	assert.Equal(t, "ab", string(p[:n]), "what was taken before is there")
}

func TestBacklogLimits(t *testing.T) {
	_, err := NewBacklog(BacklogOptions{Disk: MaxBacklog + 1})
	require.ErrorIs(t, err, ErrTooLong)
}

func TestNamedSpillFile(t *testing.T) {
	dir := t.TempDir()
	f, err := os.CreateTemp(dir, "")
	require.NoError(t, err)
	require.NoError(t, (&namedFile{f}).Close())
	g, err := openNamed(dir)
	require.NoError(t, err)
	defer g.Close()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

func TestBacklogFromManyGoroutines(t *testing.T) {
	b, err := NewBacklog(BacklogOptions{Memory: 100, Disk: 1000, Dir: t.TempDir()})
	require.NoError(t, err)
	defer b.Close()
	const writers, each = 4, 500
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for range each {
				for {
					_, err := b.Write([]byte{byte(w)})
					if err == nil {
						break
					}
					assert.Equal(t, ErrBacklogFull, err)
				}
			}
		})
	}
	done := make(chan map[byte]int)
	go func() {
		counts := map[byte]int{}
		all, err := io.ReadAll(b)
		assert.NoError(t, err)
		for _, c := range all {
			counts[c]++
		}
		done <- counts
	}()
	wg.Wait()
	b.CloseWrite()
	for w, n := range <-done {
		assert.Equal(t, each, n, w)
	}
}
