//go:build !race

package pconn_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

// allocationsOfBothEnds are what a call takes, by the answering end's options and whether it is by DoInto.
var allocationsOfBothEnds = map[string]struct {
	opts *pconn.Options
	into bool
	want float64
}{
	"any handler":                        {serve(echo), false, 3},
	"any handler, into a buffer":         {serve(echo), true, 2},
	"a marked handler":                   {marked(echo), false, 1},
	"a marked handler, into a buffer":    {marked(echo), true, 0},
	"a marked handler of a mux, into it": {&pconn.Options{Handler: muxOf(pconn.NonBlocking(pconn.HandlerFunc(echo)))}, true, 0},
}

// A call takes one allocation of its caller's end, for the answer, and two of the other, for the request and its
// payload; a marked handler takes none, and DoInto none. Both ends are in this process, with a context that
// can be cancelled. What the runtime does now and then by itself is less than one in all. The race detector allocates
// too, so there is no such test with it.
func TestAllocationsOfCalls(t *testing.T) {
	for name, c := range allocationsOfBothEnds {
		t.Run(name, func(t *testing.T) {
			a, _ := pipes(t, nil, c.opts)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			payload, buf := pattern(16), make([]byte, 0, 64)
			call := func() {
				if err := callInto(ctx, a, c.into, buf, payload); err != nil {
					t.Error(err)
				}
			}
			for range 2000 {
				call() // pools fill, and the handler's type becomes known
			}
			require.Equal(t, c.want, testing.AllocsPerRun(2000, call))
		})
	}
}

func callInto(ctx context.Context, conn *pconn.Conn, into bool, buf, payload []byte) (err error) {
	if into {
		_, err = conn.DoInto(ctx, buf, pconn.Request{Payload: payload})
	} else {
		_, err = conn.Do(ctx, pconn.Request{Payload: payload})
	}
	return err
}

func muxOf(h pconn.Handler) *pconn.Mux {
	mux := pconn.NewMux()
	mux.Handle(0, h)
	return mux
}

const (
	// inFlight is how many calls are under way at a time, and each how many times.
	inFlight = 64
	each     = 20

	// nowAndThen is by how much the allocations of a call may differ from what it takes: pools that the collector has emptied fill
	// again, and the runtime makes something for itself.
	nowAndThen = 0.03
)

// allocationsOf checks what one call takes, of which round makes inFlight at a time, each times.
func allocationsOf(t *testing.T, want float64, round func()) {
	t.Helper()
	for range 50 {
		round()
	}
	got := testing.AllocsPerRun(50, round) / (inFlight * each)
	require.InDelta(t, want, got, nowAndThen)
}

// TestAllocationsOfManyCallers has many call at a time, which goes another way than a lone call, and counts what both ends take.
func TestAllocationsOfManyCallers(t *testing.T) {
	for name, c := range allocationsOfBothEnds {
		t.Run(name, func(t *testing.T) {
			a, _ := pipes(t, nil, c.opts)
			allocationsOf(t, c.want, callers(t, a, c.into))
		})
	}
}

// TestAllocationsOfTheCallersEnd has a peer that allocates nothing.
func TestAllocationsOfTheCallersEnd(t *testing.T) {
	for name, c := range map[string]struct {
		into bool
		want float64
	}{
		"Do":     {false, 1},
		"DoInto": {true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := rawPipes(t, nil)
			peer := newQuietPeer(p)
			over := make(chan struct{})
			go func() {
				defer close(over)
				peer.answer()
			}()
			t.Cleanup(func() {
				p.in.Interrupt()
				receiveFrom(t, over)
			})
			allocationsOf(t, c.want, callers(t, p.conn, c.into))
		})
	}
}

// TestAllocationsOfTheAnsweringEnd has a peer that allocates nothing.
func TestAllocationsOfTheAnsweringEnd(t *testing.T) {
	for name, c := range map[string]struct {
		opts *pconn.Options
		want float64
	}{
		"any handler":               {serve(echo), 2},
		"a marked handler":          {marked(echo), 0},
		"a marked handler of a mux": {&pconn.Options{Handler: muxOf(pconn.NonBlocking(pconn.HandlerFunc(echo)))}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			peer := newQuietPeer(rawPipes(t, c.opts))
			allocationsOf(t, c.want, func() {
				for range each {
					require.NoError(t, peer.ask(inFlight))
				}
			})
		})
	}
}

// callers returns what has inFlight goroutines make each calls, with one context that can be cancelled. They end with the test.
func callers(t *testing.T, conn *pconn.Conn, into bool) (round func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	begin := make(chan struct{})
	var calling, all sync.WaitGroup
	payload := pattern(16)
	for range inFlight {
		all.Go(func() {
			buf := make([]byte, 0, 64)
			for range begin {
				for range each {
					assert.NoError(t, callInto(ctx, conn, into, buf, payload))
				}
				calling.Done()
			}
		})
	}
	t.Cleanup(func() {
		close(begin)
		cancel()
		all.Wait()
	})
	return func() {
		calling.Add(inFlight)
		for range inFlight {
			begin <- struct{}{}
		}
		calling.Wait()
	}
}

// quietPeer is the other end of a connection, which allocates nothing.
type quietPeer struct {
	in   *bufio.Input
	out  *bufio.Output
	sent bufio.Batch
	tag  uint64
}

func newQuietPeer(p *rawPeer) *quietPeer { return &quietPeer{in: p.in, out: p.out, tag: 1} }

// next takes the next packet, whose payload stays where it is until the next call.
func (q *quietPeer) next(h *packet.Header) (payload []byte, err error) {
	if err := h.Read(q.in); err != nil {
		return nil, err
	}
	b, err := q.in.Peek(int(h.Size))
	if err != nil {
		return nil, err
	}
	return b[:h.Size], q.in.Skip(h.Size)
}

// put appends a packet to what is to be sent.
func (q *quietPeer) put(h *packet.Header, payload []byte) error {
	b, err := h.Append(q.sent.Begin())
	if err != nil {
		return err
	}
	q.sent.End(append(b, payload...))
	return nil
}

// answer answers requests with their payloads until it cannot go on. All that has come is answered by one write.
func (q *quietPeer) answer() {
	var h packet.Header
	for {
		payload, err := q.next(&h)
		if err != nil {
			return
		}
		r := packet.Header{Channel: h.Channel, Tag: h.Tag, Flags: 1, Size: h.Size}
		if q.put(&r, payload) != nil || q.in.Buffered() == 0 && q.out.Write(&q.sent, true) != nil {
			return
		}
	}
}

// ask makes n requests by one write and takes the answers.
func (q *quietPeer) ask(n int) error {
	var payload [16]byte
	for range n {
		q.tag++
		if err := q.put(&packet.Header{Tag: q.tag, Request: true, Type: 1, Size: int64(len(payload))}, payload[:]); err != nil {
			return err
		}
	}
	if err := q.out.Write(&q.sent, true); err != nil {
		return err
	}
	var h packet.Header
	for range n {
		if _, err := q.next(&h); err != nil {
			return err
		}
		if h.Request || h.Flags&1 == 0 {
			return errors.New("this is no ok answer")
		}
	}
	return nil
}
