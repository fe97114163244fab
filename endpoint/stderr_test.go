package endpoint

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The tail is always the end of everything written.
func TestTail(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tail := tail{size: rapid.IntRange(1, 20).Draw(t, "size")}
		var all []byte
		for _, p := range rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 0, 50)).Draw(t, "writes") {
			n, err := tail.Write(p)
			if n != len(p) || err != nil {
				t.Fatalf("Write: %d, %v", n, err)
			}
			all = append(all, p...)
			want := all[max(0, len(all)-tail.size):]
			if got := tail.bytes(); !bytes.Equal(got, want) {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
	})
}

// slowWriter takes one Write for each value of allow.
type slowWriter struct {
	allow chan struct{}
	buf   bytes.Buffer
	err   error
}

func (w *slowWriter) Write(p []byte) (int, error) {
	<-w.allow
	if w.err != nil {
		return 0, w.err
	}
	return w.buf.Write(p)
}

// A writer that is stuck is waited for once, loses what comes meanwhile, and is told how much.
func TestStderrDropsForAStuckWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &slowWriter{allow: make(chan struct{})}
		s := &stderr{chunks: make(chan []byte, stderrChunks), handed: make(chan struct{})}
		go s.hand([]io.Writer{w})
		for range stderrChunks + 1 {
			s.pass([]byte("."))
			synctest.Wait()
		}
		began := time.Now()
		s.pass([]byte("lost"))
		require.Equal(t, stderrStall, time.Since(began))
		s.pass([]byte("lost too"))
		require.Equal(t, stderrStall, time.Since(began), "waited twice")
		w.allow <- struct{}{}
		synctest.Wait()
		s.pass([]byte("found"))
		close(w.allow)
		close(s.chunks)
		<-s.handed
		require.Equal(t, string(bytes.Repeat([]byte("."), stderrChunks+1))+"\n[12 bytes of standard error dropped]\nfound", w.buf.String())
	})
}

// A writer that fails once is not asked again, and holds up nobody.
func TestStderrWriterFails(t *testing.T) {
	synctest.Test(t, func(*testing.T) {
		w := &slowWriter{allow: make(chan struct{}, 1), err: errors.New("full")}
		s := &stderr{chunks: make(chan []byte, stderrChunks), handed: make(chan struct{})}
		go s.hand([]io.Writer{w})
		w.allow <- struct{}{}
		for range 10 * stderrChunks {
			s.pass([]byte("x"))
			synctest.Wait()
		}
		close(s.chunks)
		<-s.handed
	})
}
