package load

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/packetstream/packetstream/bench/peer"
)

const (
	// sampleEvery is which calls are timed when more than one is in flight: another one of each caller, so that there are some
	// where each makes few. To look at the clock for each would cost the fastest peers most.
	sampleEvery = 8

	// maxSamples is how many times are kept, of all callers together. The latest replace the oldest.
	maxSamples = 1 << 17

	// spare is how many bytes more than the payload a caller's buffer holds, for a peer's header.
	spare = 64
)

// Load is callers at work.
type Load struct {
	cell    peer.Cell
	callers []*caller
	frames  atomic.Uint64 // of a Streamer

	timing atomic.Bool
	stop   atomic.Bool
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu  sync.Mutex // guards err
	err error
}

// caller is one goroutine that calls.
type caller struct {
	calls atomic.Uint64
	_     [56]byte // each counter has a cache line of its own
	times []uint32 // nanoseconds, a ring
	next  int
	every int
	index int
}

// Start starts the callers of a cell, spread over the connections. They end with Stop, or when a call fails.
func Start(conns []peer.Conn, cell peer.Cell) *Load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{cell: cell, cancel: cancel}
	if s, ok := conns[0].(peer.Streamer); ok {
		l.wg.Go(func() {
			frame := newPayload(cell.Size, 0)
			err := s.Stream(ctx, frame, cell.InFlight, func(n int) { l.frames.Add(uint64(n)) })
			if ctx.Err() == nil {
				l.fail(err)
			}
		})
		return l
	}
	n := max(cell.InFlight, len(conns))
	for i := range n {
		c := &caller{times: make([]uint32, 0, max(64, maxSamples/n)), every: sampleEvery, index: i}
		if n == 1 {
			c.every = 1
		}
		l.callers = append(l.callers, c)
	}
	for i, c := range l.callers {
		// A context for each, as for calls that can be cancelled apart.
		own, done := context.WithCancel(ctx)
		l.wg.Go(func() {
			defer done()
			l.fail(l.run(own, c, conns[i%len(conns)]))
		})
	}
	return l
}

// run calls until it is told to stop.
func (l *Load) run(ctx context.Context, c *caller, conn peer.Conn) error {
	payload := newPayload(l.cell.Size, c.index)
	buf := make([]byte, 0, l.cell.Size+spare)
	for n := 1; !l.stop.Load(); n++ {
		binary.LittleEndian.PutUint64(payload, uint64(n))
		timed := (n+c.index)%c.every == 0 && l.timing.Load()
		var begun time.Time
		if timed {
			begun = time.Now()
		}
		reply, err := conn.Call(ctx, payload, buf)
		if timed {
			c.keep(time.Since(begun))
		}
		if err != nil {
			if l.stop.Load() {
				return nil
			}
			return fmt.Errorf("call %d of caller %d: %w", n, c.index, err)
		}
		if !bytes.Equal(reply, payload) {
			return fmt.Errorf("call %d of caller %d: %d bytes were answered with %d others", n, c.index, len(payload), len(reply))
		}
		c.calls.Add(1)
	}
	return nil
}

// newPayload returns bytes that no other caller sends.
func newPayload(size, index int) []byte {
	p := make([]byte, size)
	random := rand.NewChaCha8([32]byte{byte(index), byte(index >> 8), byte(index >> 16)})
	_, _ = random.Read(p) // it never fails
	return p
}

func (c *caller) keep(d time.Duration) {
	ns := uint32(min(d, 1<<32-1))
	if len(c.times) < cap(c.times) {
		c.times = append(c.times, ns)
		return
	}
	c.times[c.next%len(c.times)] = ns
	c.next++
}

func (l *Load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
}

// Err returns what a caller ended with too early.
func (l *Load) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Calls returns how many calls have been answered.
func (l *Load) Calls() uint64 {
	n := l.frames.Load()
	for _, c := range l.callers {
		n += c.calls.Load()
	}
	return n
}

// Time makes the callers keep the times of their calls from now on.
func (l *Load) Time() { l.timing.Store(true) }

// Stop ends the callers and waits for them, for a second at most: a call may take longer, and ends with its
// connection.
func (l *Load) Stop() {
	l.stop.Store(true)
	l.cancel()
	done := make(chan struct{})
	go func() { // ends when the callers do
		l.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(time.Second):
	}
}

// Times returns the times that were kept. It is called after Stop.
func (l *Load) Times() *hdr.Histogram {
	h := hdr.New(100, int64(time.Minute), 3)
	for _, c := range l.callers {
		for _, ns := range c.times {
			_ = h.RecordValue(int64(ns)) // a time beyond the histogram's range is not kept
		}
	}
	return h
}
