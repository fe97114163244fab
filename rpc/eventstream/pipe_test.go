package eventstream_test

import (
	"io"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/packetstream/packetstream/rpc/eventstream"
)

// half is one end of an in-memory connection whose directions can be closed apart. It has no deadlines.
type half struct {
	r *io.PipeReader
	w *io.PipeWriter
}

func newPipe() (a, b half) {
	ar, bw := io.Pipe()
	br, aw := io.Pipe()
	return half{ar, aw}, half{br, bw}
}

func (h half) Read(p []byte) (int, error)  { return h.r.Read(p) }
func (h half) Write(p []byte) (int, error) { return h.w.Write(p) }

func (h half) Close() error {
	_ = h.w.Close()
	return h.r.Close()
}

// reset makes the other end's reads and writes fail with err.
func (h half) reset(err error) {
	_ = h.w.CloseWithError(err)
	_ = h.r.CloseWithError(err)
}

// collector reads what an end sends.
type collector struct {
	mu     sync.Mutex
	bytes  []byte
	closed bool
	done   chan struct{}
}

func collect(r io.Reader) *collector {
	c := &collector{done: make(chan struct{})}
	go func() {
		defer close(c.done)
		buf := make([]byte, 64<<10)
		for {
			n, err := r.Read(buf)
			c.mu.Lock()
			c.bytes = append(c.bytes, buf[:n]...)
			c.closed = err != nil
			c.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return c
}

func (c *collector) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// wire is an encoded message and the stream it belongs to.
type wire struct {
	bytes  string
	stream int32
}

// messages cuts what came into messages.
func (c *collector) messages(t testing.TB) []wire {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	return split(t, c.bytes)
}

func split(t testing.TB, b []byte) (out []wire) {
	t.Helper()
	for len(b) > 0 {
		var f eventstream.Frame
		n, err := eventstream.ParseFrame(b, &f)
		if !assert.NoError(t, err) {
			return out
		}
		h, _ := f.Headers.Lookup(":stream-id")
		id, _ := h.Int32()
		out = append(out, wire{string(b[:n]), id})
		b = b[n:]
	}
	return out
}

// byStream groups messages by stream: between streams there is no order.
func byStream(messages []wire) map[int32][]string {
	m := map[int32][]string{}
	for _, w := range messages {
		m[w.stream] = append(m[w.stream], w.bytes)
	}
	return m
}
