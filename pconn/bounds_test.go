package pconn_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

// The bounds as the documentation has them.
const (
	maxOutstanding      = 16384
	maxOutstandingBytes = 64 << 20
)

func TestCallersWaitForRoomInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := raw(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var tags []uint64
		for range maxOutstanding {
			require.NoError(t, p.conn.Notify(ctx, pconn.Request{}))
		}
		for range maxOutstanding {
			tags = append(tags, p.expectRequest(0, ""))
		}
		// Waiting in line: 1, 2, ... and between them some that give up.
		impatient, giveUp := context.WithCancel(ctx)
		var given []<-chan outcome
		for i := range uint64(20) {
			go p.conn.Notify(ctx, pconn.Request{Type: i + 1})
			synctest.Wait()
			if i%3 == 0 {
				given = append(given, do(impatient, p.conn, pconn.Request{Type: 1000}))
				synctest.Wait()
			}
		}
		require.Len(t, p.conn.InFlight(), maxOutstanding)
		giveUp()
		for _, g := range given {
			require.Equal(t, context.Canceled, receiveFrom(t, g).err)
		}
		for i := range uint64(20) {
			p.write(response(tags[i], ""))
			p.expectRequest(i+1, "")
		}
		require.Len(t, p.conn.InFlight(), maxOutstanding)
		cancel()
	})
}

func TestWaitingCallersEndWithTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := raw(t, nil)
		for range maxOutstanding {
			require.NoError(t, p.conn.Notify(t.Context(), pconn.Request{}))
		}
		var waiting []<-chan outcome
		for range 10 {
			waiting = append(waiting, do(t.Context(), p.conn, pconn.Request{}))
		}
		synctest.Wait()
		p.write(eof)
		for _, w := range waiting {
			require.Equal(t, pconn.ErrPeerClosed, receiveFrom(t, w).err)
		}
	})
}

func TestOutstandingBytesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := raw(t, nil)
		go func() {
			for {
				if _, err := packet.Read(p.in, 1<<30); err != nil {
					return
				}
			}
		}()
		const size = 8 << 20
		for range maxOutstandingBytes / size {
			require.NoError(t, p.conn.Notify(t.Context(), pconn.Request{Payload: make([]byte, size)}))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.True(t, p.conn.Notify(ctx, pconn.Request{Payload: []byte("one byte is too many")}) == context.DeadlineExceeded)
		go func() {
			time.Sleep(time.Second)
			p.tryWrite(response(2, ""))
		}()
		require.NoError(t, p.conn.Notify(t.Context(), pconn.Request{Payload: []byte("there is room again")}))
	})
}

func TestABurstOfExactlyTheLimitIsAccepted(t *testing.T) {
	g := newGate(t)
	p := raw(t, serve(g.serve))
	var burst []byte
	for tag := range uint64(maxOutstanding) {
		burst = append(burst, request(tag+2, 1, "")...)
	}
	p.write(burst)
	p.write(request(1_000_000, 1, "one too many"))
	p.expectResponse(1_000_000, false, "too many requests: the limit is 16384 unanswered ones")
	require.Len(t, p.conn.InFlight(), maxOutstanding)
	g.release()
	for range maxOutstanding {
		require.EqualValues(t, 1, p.read().Flags)
	}
	p.write(request(1_000_001, 1, "room again"))
	p.expectResponse(1_000_001, true, "room again")
	require.EqualValues(t, 1, p.conn.Counters().Rejected.Load())
}

func TestRequestsPastTheBytesAreRejected(t *testing.T) {
	g := newGate(t)
	p := rawSized(t, serve(g.serve), 1<<20, 1<<20)
	payload := string(make([]byte, 8<<20))
	for tag := range uint64(8) {
		p.write(request(tag+2, 1, payload))
	}
	p.write(request(100, 1, "x"))
	p.expectResponse(100, false, "requests too large: the limit is 67108864 bytes of unanswered ones")
	p.write(request(101, 1, ""))
	eventually(t, "one without a payload is accepted", func() bool { return len(p.conn.InFlight()) == 9 })
	g.release()
}

// A peer that has got some of the answers of one write may ask again, before the rest of the write has left.
func TestAnswersThatHaveLeftMakeRoom(t *testing.T) {
	const most, again = 16384, 5000
	p := rawSized(t, serve(echo), 1<<20, 4096)
	ask := func(first, n uint64) {
		var all []byte
		for tag := first; tag < first+n; tag++ {
			all = append(all, request(tag, 1, "x")...)
		}
		p.write(all)
	}
	expect := func(n int) {
		for range n {
			require.Equal(t, "x", string(p.read().Payload))
		}
	}
	ask(10, most)
	for i := range uint64(3) {
		expect(again)
		ask(10+most+i*again, again)
	}
	expect(most)
	require.Zero(t, p.conn.Counters().Rejected.Load())
}

// TestHealthyFloodIsNeverRefused has 100,000 calls of 20,000 goroutines between two ends of ours, and
// fewer calls where the race detector makes each of them slow.
func TestHealthyFloodIsNeverRefused(t *testing.T) {
	each := 5
	if raceDetector {
		each = 1
	}
	a, b := pair(t, nil, serve(echo))
	var wg sync.WaitGroup
	var failed atomic.Int32
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for g := range 20_000 {
		wg.Go(func() {
			for range each {
				resp, err := a.Do(ctx, pconn.Request{Flags: uint64(g), Payload: []byte("flood")})
				if err != nil || resp.Flags != uint64(g) {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	require.Zero(t, failed.Load())
	require.Zero(t, b.Counters().Rejected.Load())
	require.EqualValues(t, 20_000*each, b.Counters().RequestsIn.Load())
	require.Empty(t, a.InFlight())
}

// TestBothEndsStuffed has both ends flood each other with payloads far larger than what lies between
// them, to handlers that give the payloads back: if anybody waited for a write to receive, nobody would
// come through.
func TestBothEndsStuffed(t *testing.T) {
	for _, size := range []int{64 << 10, 1 << 20} {
		for _, pipe := range []string{"memory", "pipes"} {
			t.Run(fmt.Sprintf("%d bytes, %s", size, pipe), func(t *testing.T) {
				connect := map[string]func(testing.TB, *pconn.Options, *pconn.Options) (*pconn.Conn, *pconn.Conn){
					"memory": smallPair, "pipes": pipes,
				}[pipe]
				a, b := connect(t, serve(echo), serve(echo))
				var wg sync.WaitGroup
				each := (4 << 20) / size
				for _, c := range []*pconn.Conn{a, b} {
					for g := range 8 {
						wg.Go(func() {
							want := bytes.Repeat([]byte{byte(g)}, size)
							for range (each + 7) / 8 {
								resp, err := c.Do(soon(t), pconn.Request{Payload: want})
								if !assert.NoError(t, err) || !assert.True(t, bytes.Equal(want, resp.Payload)) {
									return
								}
							}
						})
					}
				}
				within(t, wg.Wait)
			})
		}
	}
}

func TestOptionsThatCannotBe(t *testing.T) {
	for name, o := range map[string]*pconn.Options{
		"MaxPayload":   {MaxPayload: -1},
		"MaxHandlers":  {MaxHandlers: -1},
		"Grace":        {Grace: -1},
		"DrainTimeout": {DrainTimeout: -1},
		"CloseTimeout": {CloseTimeout: -1},
	} {
		_, _, err := pconn.Pipe(nil, o)
		require.ErrorContains(t, err, name)
	}
	_, err := pconn.New(nil, nil, nil)
	require.Error(t, err)
}
