package pconn_test

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

// arrivals notes when packets arrive at the peer, in a bubble's time.
func arrivals(p *rawPeer) <-chan time.Time {
	times := make(chan time.Time, 1000)
	go func() {
		defer close(times)
		for {
			if _, err := packet.Read(p.in, 1<<30); err != nil {
				return
			}
			times <- time.Now()
		}
	}()
	return times
}

func TestWithoutGraceNothingWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := raw(t, nil)
		times := arrivals(p)
		for range 10 {
			sent := time.Now()
			require.NoError(t, p.conn.Notify(t.Context(), pconn.Request{}))
			require.Equal(t, sent, <-times)
			time.Sleep(time.Millisecond)
		}
	})
}

func TestGraceIsTheWaitOfAPacketAtMost(t *testing.T) {
	const grace = 10 * time.Millisecond
	for name, every := range map[string]time.Duration{"a lone packet": time.Second, "a trickle": 5 * time.Millisecond, "a steady stream": 300 * time.Microsecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := raw(t, &pconn.Options{Grace: grace})
				times := arrivals(p)
				const n = 200
				var sent []time.Time
				for range n {
					sent = append(sent, time.Now())
					require.NoError(t, p.conn.Notify(t.Context(), pconn.Request{Payload: []byte("x")}))
					time.Sleep(every)
				}
				time.Sleep(grace)
				var longest time.Duration
				for _, s := range sent {
					wait := (<-times).Sub(s)
					require.LessOrEqual(t, wait, grace)
					longest = max(longest, wait)
				}
				require.Equal(t, grace, longest, "the first of each batch waits the whole grace")
				flushes := p.conn.Counters().Flushes.Load()
				if every < grace {
					require.Less(t, flushes, uint64(n), "packets that follow within the grace leave together")
					require.Positive(t, p.conn.Counters().Batches.Load())
				}
			})
		})
	}
}

func TestGraceDoesNotHoldBackMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := raw(t, &pconn.Options{Grace: time.Hour})
		times := arrivals(p)
		sent := time.Now()
		require.NoError(t, p.conn.Notify(t.Context(), pconn.Request{Payload: pattern(100_000)}))
		require.Equal(t, sent, <-times, "a large payload leaves at once")
	})
}

func TestGraceEndsWithTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := serve(echo)
		o.Grace = time.Hour
		p := raw(t, o)
		p.write(request(5, 1, "x"))
		synctest.Wait()
		begun := time.Now()
		p.write(eof)
		p.expectResponse(5, true, "x")
		p.expectEOF()
		require.Less(t, time.Since(begun), time.Second)
		<-p.conn.Done()
	})
}

func TestGraceTowardsRejections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := raw(t, &pconn.Options{Grace: pconn.DefaultGrace})
		begun := time.Now()
		p.write(request(5, 1, "x"))
		p.expectResponse(5, false, "no request handler")
		require.LessOrEqual(t, time.Since(begun), pconn.DefaultGrace)
	})
}

// tickBook keeps ticks.
type tickBook struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

func (b *tickBook) tick(s []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b.Write(s)
	b.b.WriteByte(' ')
}

func (b *tickBook) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.TrimSpace(b.b.String())
}

func TestTicks(t *testing.T) {
	for name, c := range map[string]struct {
		grace time.Duration
		want  string
	}{
		"without grace": {0, "> F < < < F >EOF"},
		"with grace":    {time.Millisecond, "> Sg F < < < F >EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ticks tickBook
				p := raw(t, &pconn.Options{Grace: c.grace, Tick: ticks.tick})
				res := do(t.Context(), p.conn, pconn.Request{})
				tag := p.expectRequest(0, "")
				synctest.Wait() // a flush is ticked when the write has returned
				p.write(response(tag, ""))
				require.NoError(t, receiveFrom(t, res).err)
				p.write(response(500, "late"))
				p.write(eof)
				p.expectEOF()
				<-p.conn.Done()
				require.Equal(t, c.want, ticks.text())
			})
		})
	}
}

func TestTickThatBlocks(t *testing.T) {
	free := make(chan struct{})
	o := serve(echo)
	o.Tick = func([]byte) { <-free }
	o.CloseTimeout = 50 * time.Millisecond
	a, b := pair(t, o, o)
	for range 2000 {
		_, err := a.Do(soon(t), pconn.Request{})
		require.NoError(t, err)
	}
	require.Positive(t, a.Counters().DroppedTicks.Load())
	within(t, func() { a.Close(); b.Close() })
	close(free)
}

func TestTickThatPanics(t *testing.T) {
	a, _ := pair(t, &pconn.Options{Tick: func([]byte) { panic("tick") }}, serve(echo))
	for range 10 {
		_, err := a.Do(soon(t), pconn.Request{})
		require.NoError(t, err)
	}
}

func TestLengthFuncsAreCalledOncePerPacket(t *testing.T) {
	type lengths struct{ in, out []int }
	var mu sync.Mutex // guards the lengths
	watched := func(l *lengths) *pconn.Options {
		o := serve(echo)
		o.RecvLen = func(n int) { mu.Lock(); l.in = append(l.in, n); mu.Unlock() }
		o.SendLen = func(n int) { mu.Lock(); l.out = append(l.out, n); mu.Unlock() }
		return o
	}
	var la, lb lengths
	a, b := pair(t, watched(&la), watched(&lb))
	sizes := []int{0, 1, 100, 200, 40_000}
	for _, n := range sizes {
		_, err := a.Do(soon(t), pconn.Request{Type: 3, Payload: pattern(n)})
		require.NoError(t, err)
	}
	require.NoError(t, a.Shutdown(soon(t)))
	require.NoError(t, b.Wait())
	var requests, responses []int
	for i, n := range sizes {
		requests = append(requests, len(request(uint64(i+2), 3, string(pattern(n)))))
		responses = append(responses, len(response(uint64(i+2), string(pattern(n)))))
	}
	requests, responses = append(requests, len(eof)), append(responses, len(eof))
	eventually(t, "all are counted", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(la.out) == len(requests) && len(lb.out) == len(responses) && sameCounts(a, b)
	})
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, lengths{in: responses, out: requests}, la)
	require.Equal(t, lengths{in: requests, out: responses}, lb)

	sum := func(list []int) (n uint64) {
		for _, l := range list {
			n += uint64(l)
		}
		return n
	}
	ca, cb := a.Counters(), b.Counters()
	require.Equal(t, sum(requests), ca.BytesOut.Load())
	require.Equal(t, sum(requests), cb.BytesIn.Load())
	require.Equal(t, sum(responses), ca.BytesIn.Load())
	require.Equal(t, sum(responses), cb.BytesOut.Load())
	require.EqualValues(t, len(requests), ca.PacketsOut.Load())
	require.EqualValues(t, len(requests), cb.PacketsIn.Load())
	require.EqualValues(t, len(responses), ca.PacketsIn.Load())
	require.EqualValues(t, len(responses), cb.PacketsOut.Load())
	require.EqualValues(t, len(sizes), ca.RequestsOut.Load())
	require.EqualValues(t, len(sizes), cb.RequestsIn.Load())
	require.Zero(t, ca.RequestsIn.Load()+cb.RequestsOut.Load()+ca.Rejected.Load()+cb.Rejected.Load())
	require.Positive(t, ca.Flushes.Load())
}
