package bufio

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestDescriptorsStayTheirOwners(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			e := kind.open(t)
			rflags, wflags := flagsOf(t, e.r), flagsOf(t, e.w)
			for round := range 3 {
				in, err := InputFD(e.r)
				require.NoError(t, err)
				out, err := OutputFD(e.w)
				require.NoError(t, err)
				assert.Equal(t, kind.in, in.Mode())
				assert.Equal(t, kind.out, out.Mode())
				exchange(t, in, out, 3000*(round+1))
				assert.Equal(t, rflags, flagsOf(t, e.r), "while in use")
				assert.Equal(t, wflags, flagsOf(t, e.w), "while in use")
				require.NoError(t, in.Close())
				require.NoError(t, out.Close())
				in, out = nil, nil
				runtime.GC()
				runtime.GC()
				assert.Equal(t, rflags, flagsOf(t, e.r))
				assert.Equal(t, wflags, flagsOf(t, e.w))
			}
			_, err := unix.Write(e.w, []byte("x"))
			require.NoError(t, err)
			n, err := unix.Read(e.r, make([]byte, 10))
			require.NoError(t, err)
			assert.Equal(t, 1, n, "the owner reads what comes after Close")
		})
	}
}

// exchange sends n bytes from out to in.
func exchange(t *testing.T, in *Input, out *Output, n int) {
	t.Helper()
	data := pattern(n)
	sent := later(t, func() error {
		return out.Write(&slices1{bufs: [][]byte{data[:n/3], data[n/3:]}}, true)
	})
	got, err := in.Take(n)
	require.NoError(t, err)
	require.Equal(t, data, got)
	require.NoError(t, sent())
}

func TestLargeAmountsThroughDescriptors(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			e := kind.open(t)
			in, err := InputFD(e.r)
			require.NoError(t, err)
			defer in.Close()
			out, err := OutputFD(e.w)
			require.NoError(t, err)
			defer out.Close()
			exchange(t, in, out, 1<<20)
		})
	}
}

func TestBlockedDescriptorsCanBeStopped(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			e := kind.open(t)
			in, err := InputFD(e.r)
			require.NoError(t, err)
			out, err := OutputFD(e.w)
			require.NoError(t, err)

			peek := func() error { _, err := in.Peek(1); return err }
			got := later(t, peek)
			in.Interrupt()
			require.Equal(t, ErrInterrupted, got())
			in.Resume()
			got = later(t, peek)

			src := &slices1{bufs: [][]byte{make([]byte, 10)}}
			require.NoError(t, out.Write(src, true))
			require.NoError(t, got())
			_, err = in.Take(10)
			require.NoError(t, err)

			got = later(t, peek)
			require.NoError(t, in.Close())
			require.ErrorIs(t, got(), ErrClosed)

			write := func() error { return out.Write(&slices1{bufs: [][]byte{make([]byte, 16<<20)}}, true) }
			sent := later(t, write)
			out.Interrupt()
			require.Equal(t, ErrInterrupted, sent())
			out.Resume()
			sent = later(t, write)
			require.NoError(t, out.Close())
			require.Equal(t, ErrClosed, sent())
		})
	}
}

func TestDescriptorsThatMustNotWait(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			e := kind.open(t)
			in, err := InputFD(e.r)
			require.NoError(t, err)
			defer in.Close()
			out, err := OutputFD(e.w)
			require.NoError(t, err)
			defer out.Close()
			_, err = in.TryRead(make([]byte, 10))
			require.Equal(t, ErrWouldBlock, err)
			src := &slices1{bufs: [][]byte{make([]byte, 16<<20)}}
			require.Equal(t, ErrWouldBlock, later(t, func() error { return out.Write(src, false) })())
			assert.Equal(t, out.NonBlocking(), src.n > 0)
		})
	}
}

func TestTheOtherSideOfADescriptorIsGone(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			e := kind.open(t)
			in, err := InputFD(e.r)
			require.NoError(t, err)
			defer in.Close()
			_, err = unix.Write(e.w, []byte("last"))
			require.NoError(t, err)
			b, err := in.Peek(4)
			require.NoError(t, err)
			require.Equal(t, "last", string(b))
			require.NoError(t, unix.Close(e.w))
			rest, err := in.Rest(100)
			require.NoError(t, err, "the end of the stream is an end")
			assert.Equal(t, "last", string(rest))
		})
	}
	for _, name := range []string{"pipe", "FIFO", "socket", "non-blocking socket"} {
		t.Run("write to "+name, func(t *testing.T) {
			e := kinds[name].open(t)
			out, err := OutputFD(e.w)
			require.NoError(t, err)
			defer out.Close()
			require.NoError(t, unix.Close(e.r))
			err = out.Write(&slices1{bufs: [][]byte{{1}}}, true)
			require.ErrorIs(t, err, ErrPeerGone)
			require.ErrorIs(t, err, unix.EPIPE)
		})
	}
}

func TestAFIFOWithoutReader(t *testing.T) {
	e := fifoEnds(t)
	require.NoError(t, unix.Close(e.r))
	out, err := OutputFD(e.w)
	require.NoError(t, err)
	defer out.Close()
	assert.Equal(t, "blocking", out.Mode(), "a FIFO without reader cannot be opened anew")
	require.ErrorIs(t, out.Write(&slices1{bufs: [][]byte{{1}}}, true), ErrPeerGone)
}

func TestPipesWhereReopeningIsRefused(t *testing.T) {
	e := pipeEnds(0)(t)
	in, out := dupInput(t, e.r), dupOutput(t, e.w)
	defer in.Close()
	defer out.Close()
	assert.Equal(t, "goroutine", in.Mode())
	assert.Equal(t, "blocking", out.Mode())
	exchange(t, in, out, 1<<20)
	got := later(t, func() error { _, err := in.Peek(1); return err })
	in.Interrupt()
	require.Equal(t, ErrInterrupted, got())
	sent := later(t, func() error { return out.Write(&slices1{bufs: [][]byte{make([]byte, 1<<20)}}, true) })
	out.Interrupt()
	require.Equal(t, ErrInterrupted, sent())
}

func TestTypingAfterCloseIsNotSwallowed(t *testing.T) {
	e := ptyEnds(t)
	in, err := InputFD(e.r)
	require.NoError(t, err)
	got := later(t, func() error { _, err := in.Peek(1); return err })
	untilBlocked(t, "pollReader", "[syscall")
	require.NoError(t, in.Close())
	require.ErrorIs(t, got(), ErrClosed)
	_, err = unix.Write(e.w, []byte("typed"))
	require.NoError(t, err)
	b := make([]byte, 10)
	var n int
	within(t, func() { n, err = unix.Read(e.r, b) })
	require.NoError(t, err)
	assert.Equal(t, "typed", string(b[:n]))
}

func TestRegularFileByDescriptor(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	defer f.Close()
	fd, err := unix.Dup(int(f.Fd()))
	require.NoError(t, err)
	defer unix.Close(fd)
	out, err := OutputFD(fd)
	require.NoError(t, err)
	data := pattern(300_000)
	require.NoError(t, out.Write(&slices1{bufs: [][]byte{data}}, true))
	require.NoError(t, out.Close())
	_, err = f.Seek(10, io.SeekStart)
	require.NoError(t, err)
	in, err := InputFD(fd)
	require.NoError(t, err)
	assert.Equal(t, "file", in.Mode())
	require.NoError(t, in.Skip(200_000))
	rest, err := in.Rest(len(data))
	require.NoError(t, err)
	assert.Equal(t, data[200_010:], rest)
	require.NoError(t, in.Close())
	flagsOf(t, fd)
}

func TestDevices(t *testing.T) {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(null)
	in, err := InputFD(null)
	require.NoError(t, err)
	_, err = in.Peek(1)
	require.Equal(t, io.EOF, err)
	require.NoError(t, in.Close())
	out, err := OutputFD(null)
	require.NoError(t, err)
	require.NoError(t, out.Write(&slices1{bufs: [][]byte{make([]byte, 1<<20)}}, true))
	require.NoError(t, out.Close())

	zero, err := os.Open("/dev/zero")
	require.NoError(t, err)
	z := OwnInput(zero)
	b, err := z.Take(100_000)
	require.NoError(t, err)
	assert.Equal(t, make([]byte, 100_000), b)
	require.NoError(t, z.Close())

	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	f := OwnOutput(full)
	require.ErrorIs(t, f.Write(&slices1{bufs: [][]byte{{1}}}, true), unix.ENOSPC)
	require.NoError(t, f.Close())
}

func TestDescriptorsThatCannotBeUsed(t *testing.T) {
	e := pipeEnds(0)(t)
	dir, err := unix.Open(t.TempDir(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(dir)
	dgram, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(dgram)
	input := func(fd int) error { _, err := InputFD(fd); return err }
	output := func(fd int) error { _, err := OutputFD(fd); return err }
	for name, c := range map[string]struct {
		open func(int) error
		fd   int
		want error
	}{
		"negative":           {input, -1, unix.EBADF},
		"closed":             {input, 1 << 20, unix.EBADF},
		"closed, to write":   {output, 1 << 20, unix.EBADF},
		"the writing end":    {input, e.w, unix.EBADF},
		"the reading end":    {output, e.r, unix.EBADF},
		"directory":          {input, dir, unix.EISDIR},
		"datagrams":          {input, dgram, errors.ErrUnsupported},
		"datagrams to write": {output, dgram, errors.ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.open(c.fd)
			require.ErrorIs(t, err, c.want)
			var de *DescriptorError
			require.ErrorAs(t, err, &de)
			assert.Equal(t, c.fd, de.FD)
			assert.Contains(t, err.Error(), fmt.Sprint(c.fd))
		})
	}
}

func TestDescriptorsDoNotLeak(t *testing.T) {
	before := openDescriptors(t)
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			e := kind.open(t)
			for range 5 {
				in, err := InputFD(e.r)
				require.NoError(t, err)
				out, err := OutputFD(e.w)
				require.NoError(t, err)
				got := later(t, func() error { _, err := in.Peek(1); return err })
				require.NoError(t, in.Close())
				require.ErrorIs(t, got(), ErrClosed)
				require.NoError(t, out.Close())
			}
		})
	}
	require.Eventually(t, func() bool { return openDescriptors(t) <= before }, patience, time.Millisecond,
		"a goroutine that was told to end closes what it held")
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

func TestIdleInputsHoldNoBuffer(t *testing.T) {
	e := pipeEnds(0)(t)
	in, err := InputFD(e.r)
	require.NoError(t, err)
	out, err := OutputFD(e.w)
	require.NoError(t, err)
	defer out.Close()
	exchange(t, in, out, 100_000)
	exchange(t, in, out, 100)
	got := later(t, func() error { _, err := in.Peek(1); return err })
	untilBlocked(t, "(*raw).read", "[IO wait")
	in.Interrupt()
	require.Equal(t, ErrInterrupted, got())
	assert.Nil(t, in.buf, "the read that waited gave it back")
	require.NoError(t, in.Close())
}
