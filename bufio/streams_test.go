package bufio

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing/iotest"

	"github.com/stretchr/testify/require"
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
