package pconn_test

import (
	"bytes"
	"context"
	"errors"
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

// flood writes n requests with tags from first, without reading what comes back.
func flood(p *rawPeer, first, n, channel uint64) error {
	var b []byte
	for tag := first; tag < first+n; tag++ {
		b = append(b[:0], encode(packet.Packet{Tag: tag, Channel: channel, Request: true, Type: 1})...)
		if err := p.tryWrite(b); err != nil {
			return err
		}
	}
	return nil
}

func TestPeerThatDoesNotReadItsRejections(t *testing.T) {
	p := rawSized(t, serve(echo), 64<<10, 4<<10)
	go flood(p, 2, 1_000_000, 9)
	eventually(t, "the connection ends", func() bool { return p.conn.Err() != nil })
	var limit *pconn.LimitError
	require.ErrorAs(t, p.conn.Err(), &limit)
	require.Contains(t, limit.What, "rejections")
	require.EqualValues(t, 1<<20, limit.Max)
	require.Contains(t, limit.Error(), "over the limit of 1048576")
	p.out.Close()
}

// TestPeerThatGoesOnPastTheBounds fills the bound with requests that are at work, and goes on.
func TestPeerThatGoesOnPastTheBounds(t *testing.T) {
	g := newGate(t)
	o := serve(g.serveCtx)
	o.MaxHandlers = 4
	p := rawSized(t, o, 64<<10, 4<<10)
	go flood(p, 2, 1_000_000, 0)
	eventually(t, "the connection ends", func() bool { return p.conn.Err() != nil })
	var limit *pconn.LimitError
	require.ErrorAs(t, p.conn.Err(), &limit)
	require.Positive(t, limit.Max)
	p.in.Close()
	receiveFrom(t, p.conn.Done())
	require.ErrorAs(t, p.conn.Wait(), &limit)
}

// TestPeerThatReadsItsRejectionsAndGoesOn is told of each request past the bound, reads that, and loses
// the connection at the hard bound.
func TestPeerThatReadsItsRejectionsAndGoesOn(t *testing.T) {
	const hard = 4 * maxOutstanding
	g := newGate(t)
	o := serve(g.serveCtx)
	o.MaxHandlers = 4
	p := rawSized(t, o, 64<<10, 64<<10)
	go flood(p, 2, hard+1, 0)
	for range hard - maxOutstanding {
		require.Equal(t, "too many requests: the limit is 16384 unanswered ones", string(p.read().Payload))
	}
	eventually(t, "the connection ends", func() bool { return p.conn.Err() != nil })
	var limit *pconn.LimitError
	require.ErrorAs(t, p.conn.Err(), &limit)
	require.Equal(t, pconn.LimitError{What: "requests past the bound of unanswered ones", Value: hard + 1, Max: hard}, *limit)
	require.EqualValues(t, maxOutstanding, p.conn.Counters().RequestsIn.Load())
}

// TestRefusedPeerThatIsServedAgain is refused more often than the hard bound allows, but never so often
// in a row.
func TestRefusedPeerThatIsServedAgain(t *testing.T) {
	const rounds, each = 6, 10_000
	pass := make(chan struct{})
	o := serve(func(ctx context.Context, _ *pconn.Request) (pconn.Reply, error) {
		select {
		case <-pass:
		case <-ctx.Done():
		}
		return pconn.None(), nil
	})
	o.MaxHandlers = 1
	p := rawSized(t, o, 1<<20, 64<<10)
	require.NoError(t, flood(p, 2, maxOutstanding, 0))
	for i := range uint64(rounds) {
		sent := make(chan error, 1)
		go func() { sent <- flood(p, (i+2)*maxOutstanding, each, 0) }()
		for range each {
			require.Contains(t, string(p.read().Payload), "too many requests")
		}
		require.NoError(t, receiveFrom(t, sent))
		pass <- struct{}{}
		require.EqualValues(t, 1, p.read().Flags)
		p.write(request(1_000_000+i, 0, ""))
		eventually(t, "it is accepted", func() bool { return p.conn.Counters().RequestsIn.Load() == maxOutstanding+i+1 })
	}
	require.NoError(t, p.conn.Err())
}

func TestPeerThatReadsItsRejectionsMayGoOn(t *testing.T) {
	p := rawSized(t, nil, 64<<10, 4<<10)
	const n = 20_000
	go flood(p, 2, n, 0)
	for range n {
		require.Equal(t, "no request handler", string(p.read().Payload))
	}
	require.NoError(t, p.conn.Err())
}

// TestPeerThatDoesNotReadItsAnswers asks for far more than it takes. What waits for it is bounded, and
// the peer is not punished: when it reads, all is there.
func TestPeerThatDoesNotReadItsAnswers(t *testing.T) {
	reply := pattern(10_000)
	p := rawSized(t, serve(func(context.Context, *pconn.Request) (pconn.Reply, error) { return pconn.Bytes(reply), nil }), 1<<20, 4<<10)
	const n = 5000
	go func() {
		for tag := range uint64(n) {
			if p.tryWrite(request(tag+2, 1, "")) != nil {
				return
			}
		}
	}()
	eventually(t, "all are accepted", func() bool { return p.conn.Counters().RequestsIn.Load() == n })
	require.Less(t, p.conn.Counters().BytesOut.Load(), uint64(4<<20), "what is queued is bounded")
	for range n {
		got := p.read()
		require.EqualValues(t, 1, got.Flags)
		require.True(t, bytes.Equal(reply, got.Payload))
	}
}

// TestPeerThatStopsReading holds up our callers, and their contexts end them.
func TestPeerThatStopsReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := rawSized(t, nil, 4<<10, 4<<10)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var errs []error
		for _, size := range []int{1000, 100_000, 3 << 20} {
			for range 5 {
				res := do(ctx, p.conn, pconn.Request{Payload: make([]byte, size)})
				defer func() { errs = append(errs, receiveFrom(t, res).err) }()
			}
		}
		synctest.Wait()
		begun := time.Now()
		cancelled, cancelNow := context.WithCancel(t.Context())
		res := do(cancelled, p.conn, pconn.Request{})
		synctest.Wait()
		cancelNow()
		require.Equal(t, context.Canceled, receiveFrom(t, res).err)
		require.Zero(t, time.Since(begun))
		<-ctx.Done()
		synctest.Wait()
		require.Empty(t, p.conn.InFlight())
		require.NoError(t, p.conn.Close())
	})
}

func TestChannelsHaveTagsOfTheirOwn(t *testing.T) {
	named := func(name string) pconn.Handler {
		return pconn.HandlerFunc(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
			return pconn.Text(fmt.Sprintf("%s %d", name, req.Channel)), nil
		})
	}
	big := uint64(1) << 62
	a, b := pair(t, nil, &pconn.Options{Handler: named("main"), Channels: map[uint64]pconn.Handler{3: named("three"), big: named("big")}})
	three, err := a.Channel(3, nil)
	require.NoError(t, err)
	require.EqualValues(t, 3, three.Number())
	require.Same(t, a, three.Conn())
	require.Equal(t, a.Codec(), three.Codec())
	resp, err := three.Do(soon(t), pconn.Request{Channel: 99})
	require.NoError(t, err)
	require.Equal(t, "three 3", string(resp.Payload), "the channel's number, whatever the request says")
	resp, err = three.DoInto(soon(t), make([]byte, 20), pconn.Request{})
	require.NoError(t, err)
	require.Equal(t, "three 3", string(resp.Payload))
	r, err := three.Submit(soon(t), pconn.Request{})
	require.NoError(t, err)
	resp, err = r.Wait(soon(t))
	require.NoError(t, err)
	require.Equal(t, "three 3", string(resp.Payload))
	require.NoError(t, three.Notify(soon(t), pconn.Request{}))
	resp, err = a.Do(soon(t), pconn.Request{Channel: big})
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint("big ", big), string(resp.Payload))

	_, err = a.Do(soon(t), pconn.Request{Channel: 4})
	require.ErrorIs(t, err, pconn.ErrUnknownChannel)
	four, err := b.Channel(4, named("four"))
	require.NoError(t, err)
	_, err = b.Channel(4, named("other"))
	require.Equal(t, pconn.ErrChannelInUse, err)
	same, err := b.Channel(4, nil)
	require.NoError(t, err)
	require.EqualValues(t, 4, same.Number())
	resp, err = a.Do(soon(t), pconn.Request{Channel: 4})
	require.NoError(t, err)
	require.Equal(t, "four 4", string(resp.Payload))
	require.NoError(t, four.Close())
	_, err = a.Do(soon(t), pconn.Request{Channel: 4})
	require.ErrorIs(t, err, pconn.ErrUnknownChannel)

	for _, n := range []uint64{0, 127} {
		_, err = a.Channel(n, nil)
		require.Equal(t, pconn.ErrReservedChannel, err)
		_, _, err = pconn.Pipe(&pconn.Options{Channels: map[uint64]pconn.Handler{n: nil}}, nil)
		require.Equal(t, pconn.ErrReservedChannel, err)
	}
}

func TestUnknownChannelInBothTexts(t *testing.T) {
	p := raw(t, nil)
	for text, want := range map[string]bool{
		"unknown channel %d": true, // the reference's
		"unknown channel 5":  true, // ours
		"unknown channel 6":  false,
		"no request handler": false,
		"unknown channel":    false,
	} {
		res := do(soon(t), p.conn, pconn.Request{Channel: 5})
		got := p.read()
		require.EqualValues(t, 5, got.Channel)
		p.write(encode(packet.Packet{Tag: got.Tag, Channel: 5, Payload: []byte(text)}))
		err := receiveFrom(t, res).err
		require.Equal(t, want, errors.Is(err, pconn.ErrUnknownChannel), text)
		var remote *pconn.RemoteError
		require.ErrorAs(t, err, &remote)
		require.EqualValues(t, 5, remote.Channel)
	}
	res := do(soon(t), p.conn, pconn.Request{})
	p.write(encode(packet.Packet{Tag: p.expectRequest(0, ""), Payload: []byte("unknown channel 0")}))
	require.NotErrorIs(t, receiveFrom(t, res).err, pconn.ErrUnknownChannel)
}

func TestOptionsThatCannotBe(t *testing.T) {
	for name, o := range map[string]*pconn.Options{
		"MaxPayload":  {MaxPayload: -1},
		"MaxHandlers": {MaxHandlers: -1},
		"Grace":       {Grace: -1},
	} {
		_, _, err := pconn.Pipe(nil, o)
		require.ErrorContains(t, err, name)
	}
	_, err := pconn.New(nil, nil, nil)
	require.Error(t, err)
}

func TestInFlightInEachState(t *testing.T) {
	g := newGate(t)
	o := serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		if req.Type == 2 {
			resp, err := req.Conn.Do(ctx, pconn.Request{Type: 9})
			return pconn.Bytes(resp.Payload), err
		}
		return g.serve(ctx, req)
	})
	o.MaxHandlers = 1
	p := raw(t, o)
	p.write(request(20, 2, "")) // will wait in its call
	tag := p.expectRequest(9, "")
	p.write(request(21, 1, "")) // takes the place
	receiveFrom(t, g.entered)
	p.write(request(22, 3, "")) // waits for it
	require.NoError(t, p.conn.Notify(soon(t), pconn.Request{Type: 8}))
	p.expectRequest(8, "")
	eventually(t, "all are there", func() bool { return len(p.conn.InFlight()) == 5 })
	states := map[string]bool{}
	for _, f := range p.conn.InFlight() {
		require.GreaterOrEqual(t, f.Age, time.Duration(0))
		f.Age = 1500 * time.Millisecond
		states[f.String()] = true
	}
	require.Equal(t, map[string]bool{
		"in channel 0 tag 20 type 2 calling for 1.5s":                 true,
		"in channel 0 tag 21 type 1 at work for 1.5s":                 true,
		"in channel 0 tag 22 type 3 queued for 1.5s":                  true,
		fmt.Sprintf("out channel 0 tag %d type 9 sent for 1.5s", tag): true,
		"out channel 0 tag 3 type 8 notified for 1.5s":                true,
	}, states)
	p.write(response(tag, ""))
	g.release()
}
