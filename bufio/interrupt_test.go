package bufio

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// withDeadline has deadlines that do nothing, and reads by a function.
type withDeadline struct {
	hiddenConn
	read readFunc
}

func (w withDeadline) Read(p []byte) (int, error)      { return w.read(p) }
func (w withDeadline) SetReadDeadline(time.Time) error { return nil }

// live are streams whose other side the test holds, and whose Input is not their owner.
var live = map[string]func(t *testing.T) (in *Input, w io.WriteCloser){
	"pipe": func(t *testing.T) (*Input, io.WriteCloser) {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		t.Cleanup(func() { r.Close(); w.Close() })
		return NewInput(r), w
	},
	"tcp": func(t *testing.T) (*Input, io.WriteCloser) {
		a, b := tcpPair(t)
		return NewInput(a), b
	},
	"deadlines": func(t *testing.T) (*Input, io.WriteCloser) {
		a, b := tcpPair(t)
		return NewInput(hiddenConn{a}), b
	},
	"net.Pipe": func(t *testing.T) (*Input, io.WriteCloser) {
		a, b := net.Pipe()
		t.Cleanup(func() { a.Close(); b.Close() })
		return NewInput(a), b
	},
	"goroutine": func(t *testing.T) (*Input, io.WriteCloser) {
		r, w := io.Pipe()
		t.Cleanup(func() { r.Close() })
		return NewInput(r), w
	},
	"memory": func(_ *testing.T) (*Input, io.WriteCloser) {
		in, out := Pipe(0)
		return in, writeCloser{out}
	},
}

// later runs f on a goroutine and returns a func that waits for what it returned.
func later(t *testing.T, f func() error) func() error {
	t.Helper()
	c := make(chan error, 1)
	go func() { c <- f() }()
	return func() error {
		t.Helper()
		select {
		case err := <-c:
			return err
		case <-time.After(patience):
			require.FailNow(t, "still blocked")
			return nil
		}
	}
}

func TestInterruptLosesNothing(t *testing.T) {
	for name, open := range live {
		t.Run(name, func(t *testing.T) {
			in, w := open(t)
			defer in.Close()
			sent := pattern(300_000)
			wait := later(t, func() error {
				_, err := w.Write(sent[:200_000])
				return err
			})
			got := later(t, func() error { return in.ReadFull(make([]byte, len(sent))) })
			require.NoError(t, wait(), "all of it was read before the interrupt, or will be after it")
			in.Interrupt()
			require.Equal(t, ErrInterrupted, got())
			assert.Zero(t, in.Offset())
			b, err := in.Peek(0)
			require.NoError(t, err, "what is buffered can be looked at")
			assert.Equal(t, string(sent[:len(b)]), string(b))
			_, err = in.Take(len(sent))
			require.Equal(t, ErrInterrupted, err)
			in.Interrupt()
			in.Resume()
			wait = later(t, func() error {
				_, err := w.Write(sent[200_000:])
				return err
			})
			all, err := in.Take(len(sent))
			require.NoError(t, err)
			assert.Equal(t, sent, all)
			require.NoError(t, wait())
		})
	}
}

func TestInterruptBeforeAnyRead(t *testing.T) {
	for name, open := range live {
		t.Run(name, func(t *testing.T) {
			in, w := open(t)
			defer in.Close()
			in.Interrupt()
			_, err := in.Peek(1)
			require.Equal(t, ErrInterrupted, err)
			_, err = in.TryRead(make([]byte, 1))
			require.Contains(t, []error{ErrInterrupted, ErrWouldBlock}, err)
			in.Resume()
			wait := later(t, func() error {
				_, err := w.Write([]byte("x"))
				return err
			})
			b, err := in.Peek(1)
			require.NoError(t, err)
			assert.Equal(t, "x", string(b))
			require.NoError(t, wait())
		})
	}
}

func TestCloseWakesAReaderAndLeavesTheStream(t *testing.T) {
	for name, open := range live {
		t.Run(name, func(t *testing.T) {
			in, w := open(t)
			got := later(t, func() error {
				_, err := in.Peek(1)
				return err
			})
			require.NoError(t, in.Close())
			require.NoError(t, in.Close())
			require.ErrorIs(t, got(), ErrClosed)
			_, err := in.Peek(1)
			require.ErrorIs(t, err, ErrClosed)
			in.Interrupt()
			in.Resume()
			if name == "memory" {
				return
			}
			// The owner goes on with its stream, free of our deadline.
			var r io.Reader
			switch o := in.org.(type) {
			case *deadlined:
				r = o.r
			case *pump:
				w.Close() // Only the end of the stream ends the read that is under way.
				return
			default:
				r = ownerOf(o)
			}
			wait := later(t, func() error {
				_, err := w.Write([]byte("x"))
				return err
			})
			require.NoError(t, later(t, func() error {
				_, err := r.Read(make([]byte, 1))
				return err
			})())
			require.NoError(t, wait())
		})
	}
}

func TestTryRead(t *testing.T) {
	for name, open := range live {
		t.Run(name, func(t *testing.T) {
			in, w := open(t)
			defer in.Close()
			p := make([]byte, 10)
			_, err := in.TryRead(p)
			require.Equal(t, ErrWouldBlock, err)
			_, err = in.TryPeek(1)
			require.Equal(t, ErrWouldBlock, err)
			wait := later(t, func() error {
				_, err := w.Write([]byte("abc"))
				return err
			})
			_, err = in.Peek(3)
			require.NoError(t, err)
			b, err := in.TryPeek(4)
			require.Equal(t, ErrWouldBlock, err)
			require.Equal(t, "abc", string(b))
			n, err := in.TryRead(p)
			require.NoError(t, err)
			assert.Equal(t, "abc", string(p[:n]))
			_, err = in.TryRead(p)
			require.Equal(t, ErrWouldBlock, err)
			require.NoError(t, wait())
			require.NoError(t, w.Close())
		})
	}
}

// What can be tried finds what has come though nobody has waited for it; from the rest only a wait gets it.
func TestInputsThatCanBeTried(t *testing.T) {
	for name, open := range live {
		t.Run(name, func(t *testing.T) {
			in, w := open(t)
			defer in.Close()
			wait := later(t, func() error {
				_, err := w.Write([]byte("abc"))
				return err
			})
			if in.NonBlocking() {
				require.Eventually(t, func() bool {
					b, err := in.TryPeek(3)
					return err == nil && string(b) == "abc"
				}, time.Minute, time.Millisecond)
			} else {
				require.Contains(t, []string{"goroutine", "deadlines"}, in.Mode())
				_, err := in.Peek(3)
				require.NoError(t, err)
			}
			require.NoError(t, wait())
			require.NoError(t, w.Close())
		})
	}
}

func TestADeadlineOfTheOwnerPasses(t *testing.T) {
	a, b := tcpPair(t)
	for name, in := range map[string]*Input{"tcp": NewInput(a), "deadlines": NewInput(hiddenConn{a})} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, a.SetReadDeadline(time.Unix(1, 0)))
			_, err := in.Peek(1)
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			require.NoError(t, a.SetReadDeadline(time.Time{}))
			_, err = b.Write([]byte("x"))
			require.NoError(t, err)
			_, err = in.Take(1)
			require.NoError(t, err, "the stream is still good")
		})
	}
}

func TestOwnerClosesTheFile(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer w.Close()
	in := NewInput(r)
	got := later(t, func() error {
		_, err := in.Peek(1)
		return err
	})
	r.Close()
	require.ErrorIs(t, got(), os.ErrClosed)

	out := NewOutput(w)
	w.Close()
	require.ErrorIs(t, out.Write(&slices1{bufs: [][]byte{{1}}}, true), os.ErrClosed)
}
