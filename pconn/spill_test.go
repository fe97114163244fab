package pconn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

// spilling returns Options of an end whose streams have a small window and so many bytes of disk.
func spilling(dir string, most int64) *pconn.Options {
	const window = 64 << 10
	return &pconn.Options{
		Streams: pconn.StreamLimits{Window: window, MaxWindow: window, Spill: most, SpillDir: dir},
		Handler: pconn.HandlerFunc(echo),
	}
}

// openIn counts this process's open files in a directory, whether or not they have names.
func openIn(t testing.TB, dir string) int {
	t.Helper()
	n := 0
	for i := range 1024 {
		name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", i))
		if err == nil && strings.HasPrefix(name, dir) {
			n++
		}
	}
	return n
}

// empty checks that nothing has a name in a directory.
func empty(t testing.TB, dir string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, list)
}

// TestReaderThatComesLate has 64 MiB wait for a reader, on disk, while others go on.
func TestReaderThatComesLate(t *testing.T) {
	keepsDescriptors(t)
	dir := t.TempDir()
	a, b := pipes(t, nil, spilling(dir, 64<<20))
	x, y := streamPair(t, a, b)
	want := bytes.Repeat(pattern(1<<20-7), 65)[:64<<20]
	wrote := make(chan error, 1)
	go func() {
		_, err := x.Write(want)
		wrote <- errors.Join(err, x.CloseWrite())
	}()
	for range 10 {
		_, err := a.Do(soon(t), pconn.Request{Payload: pattern(1000)})
		require.NoError(t, err)
		other, reader := streamPair(t, a, b)
		sent := pattern(300_000)
		go func() {
			_, err := other.Write(sent)
			if err = errors.Join(err, other.Close()); err != nil {
				t.Error(err)
			}
		}()
		got, err := io.ReadAll(reader)
		require.NoError(t, err)
		require.True(t, bytes.Equal(sent, got))
		require.NoError(t, reader.Close())
	}
	require.NoError(t, receiveFrom(t, wrote))
	require.Positive(t, openIn(t, dir))
	empty(t, dir)
	got, err := io.ReadAll(y)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
	eventually(t, "the file is closed", func() bool { return openIn(t, dir) == 0 })
	require.NoError(t, y.Close())
}

// A sender stops where the disk is to hold no more, and goes on behind the reader.
func TestSpillHasALimit(t *testing.T) {
	const most = 1 << 20
	a, b := pipes(t, nil, spilling(t.TempDir(), most))
	x, y := streamPair(t, a, b)
	want := pattern(4 << 20)
	wrote := make(chan int, 1)
	go func() {
		n, err := x.Write(want)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		wrote <- n
	}()
	eventually(t, "the disk holds what it may", func() bool { return b.Counters().BytesIn.Load() >= most })
	require.NoError(t, x.SetWriteDeadline(time.Now().Add(100*time.Millisecond))) // for more, if it went on
	n := receiveFrom(t, wrote)
	require.Greater(t, n, most-(64<<10))
	require.LessOrEqual(t, n, most+(64<<10))
	require.NoError(t, x.SetWriteDeadline(time.Time{}))
	go func() {
		_, err := x.Write(want[n:])
		if err = errors.Join(err, x.CloseWrite()); err != nil {
			t.Error(err)
		}
	}()
	got, err := io.ReadAll(y)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
}

// TestReaderThatIsSlowNowAndThen reads in all sizes, with pauses, so that bytes come from disk, from memory and straight
// from the connection in turns.
func TestReaderThatIsSlowNowAndThen(t *testing.T) {
	a, b := pipes(t, spilling(t.TempDir(), 200_000), spilling(t.TempDir(), 500_000))
	var wg sync.WaitGroup
	for i := range 6 {
		x, y := streamPair(t, a, b)
		if i%2 == 1 {
			x, y = y, x
		}
		want := pattern(3<<20 + i)
		rnd := rand.New(rand.NewPCG(uint64(i), 2))
		sizes := rand.New(rand.NewPCG(uint64(i), 3))
		wg.Go(func() {
			for rest := want; len(rest) > 0; {
				n, err := x.Write(rest[:min(len(rest), 1+sizes.IntN(100_000))])
				if err != nil {
					t.Error(err)
					return
				}
				rest = rest[n:]
			}
			if err := x.CloseWrite(); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			var got []byte
			buf := make([]byte, 100_000)
			for {
				if rnd.IntN(20) == 0 {
					time.Sleep(time.Duration(rnd.IntN(5)) * time.Millisecond) // a reader that is slow
				}
				n, err := y.Read(buf[:1+rnd.IntN(len(buf))])
				got = append(got, buf[:n]...)
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
			if !bytes.Equal(want, got) {
				t.Errorf("stream %d: %d bytes other than the %d that were written", i, len(got), len(want))
			}
		})
	}
	wg.Wait()
}

// A disk that fails ends its own stream, and tells both ends.
func TestDiskThatFails(t *testing.T) {
	diskFails(t, filepath.Join(t.TempDir(), "missing"), fs.ErrNotExist)
}

func diskFails(t *testing.T, dir string, want error) {
	t.Helper()
	o := spilling(dir, 64<<20)
	o.Extensions = pconn.ExtensionsRequired
	cause := make(chan error, 1)
	mux := pconn.NewStreamMux()
	mux.HandleFunc("fails", func(ctx context.Context, _ *pconn.Stream) error {
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return nil
	})
	o.StreamHandler, o.Listen = mux, []string{"test"}
	a, b := pipes(t, nil, o)
	l, err := b.Listen("test")
	require.NoError(t, err)
	stream := func() (*pconn.Stream, *pconn.Stream) {
		x, err := a.OpenStream(soon(t), "test", nil)
		require.NoError(t, err)
		y, err := l.AcceptStream(soon(t))
		require.NoError(t, err)
		return x, y
	}
	other, reader := stream()
	x, y := stream()
	_, err = x.Write(make([]byte, 8<<20))
	var remote *pconn.StreamError
	require.ErrorAs(t, err, &remote)
	require.True(t, remote.Remote)
	_, err = io.ReadAll(y)
	var spill *pconn.SpillError
	require.ErrorAs(t, err, &spill)
	require.ErrorIs(t, err, want)
	require.Equal(t, x.Number(), spill.Stream)

	handled, err := a.OpenStream(soon(t), "fails", nil)
	require.NoError(t, err)
	_, err = handled.Write(make([]byte, 8<<20))
	require.ErrorAs(t, err, &remote)
	require.ErrorAs(t, receiveFrom(t, cause), &spill)

	_, err = other.Write([]byte("still there"))
	require.NoError(t, err)
	got := make([]byte, 11)
	_, err = io.ReadFull(reader, got)
	require.NoError(t, err)
	require.Equal(t, "still there", string(got))
	require.NoError(t, a.Err())
	require.NoError(t, b.Err())
}

// Whatever ends a stream gives the disk back, unless its reader may still come.
func TestSpillLeavesNothingBehind(t *testing.T) {
	for name, end := range map[string]func(a, b *pconn.Conn, x, y *pconn.Stream){
		"close":            func(_, _ *pconn.Conn, _, y *pconn.Stream) { y.Close() },
		"close for reads":  func(_, _ *pconn.Conn, _, y *pconn.Stream) { y.CloseRead() },
		"reset":            func(_, _ *pconn.Conn, _, y *pconn.Stream) { y.Reset(1) },
		"the peer's reset": func(_, _ *pconn.Conn, x, _ *pconn.Stream) { x.Reset(1) },
		// Once the connection is over, nobody waits for the file but who uses the stream.
		"over, and close": func(a, b *pconn.Conn, _, y *pconn.Stream) {
			a.Close()
			<-b.Done()
			y.Close()
		},
		"over, and reset": func(_, b *pconn.Conn, _, y *pconn.Stream) {
			b.Close()
			y.Reset(1)
		},
		"over, and reading": func(a, b *pconn.Conn, _, y *pconn.Stream) {
			a.Close()
			<-b.Done()
			got, err := io.ReadAll(y)
			require.ErrorIs(t, err, pconn.ErrPeerClosed)
			require.True(t, bytes.Equal(pattern(2 << 20)[:len(got)], got))
			require.Greater(t, len(got), 1<<20)
		},
	} {
		t.Run(name, func(t *testing.T) {
			keepsDescriptors(t)
			dir := t.TempDir()
			a, b := pipes(t, nil, spilling(dir, 64<<20))
			x, y := streamPair(t, a, b)
			_, err := x.Write(pattern(2 << 20))
			require.NoError(t, err)
			eventually(t, "it spills", func() bool { return openIn(t, dir) > 0 })
			reading := make(chan error, 1)
			if name == "close" {
				go func() {
					buf := make([]byte, 10)
					for {
						if _, err := y.Read(buf); err != nil {
							reading <- err
							return
						}
					}
				}()
			}
			end(a, b, x, y)
			if strings.HasPrefix(name, "over") {
				require.Zero(t, openIn(t, dir), "the file is closed")
			}
			eventually(t, "the file is closed", func() bool { return openIn(t, dir) == 0 })
			empty(t, dir)
			if name == "close" {
				require.ErrorIs(t, receiveFrom(t, reading), net.ErrClosed)
			}
		})
	}
}

// What waits for a handler's place when the connection ends can be read by nobody: the end gives its disk back.
func TestSpillBehindHandlersIsGivenBack(t *testing.T) {
	dir := t.TempDir()
	g := newGate(t)
	o := spilling(dir, 64<<20)
	o.Streams.MaxOpen = 1
	o.StreamHandler = pconn.StreamHandlerFunc(func(ctx context.Context, s *pconn.Stream) error {
		g.entered <- s.Number()
		<-ctx.Done()
		<-g.open
		return nil
	})
	a, b := pipes(t, nil, o)
	first, err := a.OpenStream(soon(t), "", nil)
	require.NoError(t, err)
	receiveFrom(t, g.entered)
	first.Reset(1) // its handler stays
	second, err := a.OpenStream(soon(t), "", nil)
	require.NoError(t, err)
	_, err = second.Write(pattern(2 << 20))
	require.NoError(t, err)
	eventually(t, "it spills", func() bool { return openIn(t, dir) > 0 })
	a.Close()
	eventually(t, "receiving has ended", func() bool { return b.Err() != nil })
	g.release()
	<-b.Done()
	require.Zero(t, openIn(t, dir))
	require.Empty(t, g.entered)
}

// What waits in a Listener when the connection ends can still be accepted and read, and keeps its disk until then, or until
// the Listener is closed.
func TestSpillOfStreamsThatWaitToBeAccepted(t *testing.T) {
	keepsDescriptors(t)
	dir := t.TempDir()
	a, b := pipes(t, nil, spilling(dir, 64<<20))
	l, err := b.Listen("late")
	require.NoError(t, err)
	for range 2 {
		s, err := a.OpenStream(soon(t), "late", nil)
		require.NoError(t, err)
		_, err = s.Write(pattern(2 << 20))
		require.NoError(t, err)
	}
	eventually(t, "both spill", func() bool { return openIn(t, dir) == 2 })
	a.Close()
	<-b.Done()
	require.Equal(t, 2, openIn(t, dir))
	s, err := l.AcceptStream(soon(t))
	require.NoError(t, err)
	got, err := io.ReadAll(s)
	require.ErrorIs(t, err, pconn.ErrPeerClosed)
	require.True(t, bytes.Equal(pattern(2 << 20)[:len(got)], got))
	require.Greater(t, len(got), 1<<20)
	require.Equal(t, 1, openIn(t, dir))
	require.NoError(t, l.Close())
	require.Zero(t, openIn(t, dir))
	empty(t, dir)
}

func TestSpillOfHardlyAnything(t *testing.T) {
	for _, most := range []int64{1, 32<<10 - 1, -1} {
		_, _, err := pconn.Pipe(spilling("", most), nil)
		require.ErrorContains(t, err, "Options.Streams.Spill", most)
	}
	dir := t.TempDir()
	a, b := pipes(t, nil, spilling(dir, 32<<10))
	x, y := streamPair(t, a, b)
	want := pattern(200_000)
	wrote := make(chan error, 1)
	go func() {
		_, err := x.Write(want)
		wrote <- errors.Join(err, x.CloseWrite())
	}()
	eventually(t, "it spills", func() bool { return openIn(t, dir) > 0 })
	got, err := io.ReadAll(y)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
	require.NoError(t, receiveFrom(t, wrote))
}
