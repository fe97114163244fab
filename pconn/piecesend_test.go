package pconn_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
	"github.com/packetstream/packetstream/pconn"
)

// takesPieces is the fields of a HELLO of an end that takes pieces.
func takesPieces() []byte {
	h := frame.Hello{Version: 1, Features: frame.FeaturePieces}
	return h.Append(nil)
}

// inPieces is a payload that comes in pieces, and what was said before it.
type inPieces struct {
	pieces  int
	headers bool
	payload []byte
}

// partly reads packets, in which it puts what comes in pieces together, until stop says of one that it was enough.
func (p *rawPeer) partly(stop func(got packet.Packet) bool) map[uint64]*inPieces {
	p.t.Helper()
	under := make(map[uint64]*inPieces)
	headed := uint64(0)
	for {
		got := p.read()
		isFrame := got.Request && got.Channel == frame.Channel
		kind := frame.Kind(got.Type - 1)
		at := under[got.Tag]
		if headed != 0 {
			require.Equal(p.t, headed, got.Tag, "HEADERS stand directly before their packet")
		}
		switch {
		case isFrame && kind == frame.KindHeaders:
			require.Nil(p.t, at, "HEADERS stand before the first piece")
			headed = got.Tag
		case isFrame && kind == frame.KindPiece:
			if at == nil {
				at = &inPieces{headers: headed != 0}
				under[got.Tag] = at
			}
			headed = 0
			at.pieces++
			at.payload = append(at.payload, got.Payload...)
			require.LessOrEqual(p.t, len(got.Payload), 32<<10)
			require.Equal(p.t, got.Flags&1 == 1, got.Flags&frame.FlagResponse != 0)
		case !isFrame && at != nil:
			headed = 0
			at.payload = append(at.payload, got.Payload...)
		default:
			headed = 0
		}
		if stop(got) {
			return under
		}
	}
}

// isPacket is true of the request or response with a tag.
func isPacket(tag uint64) func(packet.Packet) bool {
	return func(got packet.Packet) bool { return got.Tag == tag && got.Channel != frame.Channel }
}

// firstPiece is true of any PIECE, and remembers of what.
func firstPiece(tag *uint64) func(packet.Packet) bool {
	return func(got packet.Packet) bool {
		*tag = got.Tag
		return got.Channel == frame.Channel && frame.Kind(got.Type-1) == frame.KindPiece
	}
}

func TestLargeRequestsGoInPieces(t *testing.T) {
	payload := pattern(300_000)
	p := raw(t, serve(mirror))
	p.sayHello(takesPieces())
	for name, ask := range map[string]func() error{
		"Do": func() error {
			_, err := p.conn.Do(soon(t), pconn.Request{Type: 1, Payload: payload})
			return err
		},
		"Submit": func() error {
			r, err := p.conn.Submit(soon(t), pconn.Request{Type: 1, Payload: payload, Timeout: time.Minute})
			if err == nil {
				_, err = r.Wait(soon(t))
			}
			return err
		},
		"Notify": func() error {
			return p.conn.Notify(soon(t), pconn.Request{Type: 1, Payload: payload, Metadata: metadata("k", "v")})
		},
	} {
		errs := make(chan error, 1)
		go func() { errs <- ask() }()
		var tag uint64
		got := p.partly(func(got packet.Packet) bool {
			tag = got.Tag
			return got.Channel == 0
		})
		require.Equal(t, &inPieces{pieces: 300_000 / (32 << 10), headers: true, payload: payload}, got[tag], name)
		p.write(response(tag, "done"))
		require.NoError(t, receiveFrom(t, errs), name)
	}
	p.write(request(5, 2, string(payload[:100]))) // for mirror to say what it has seen
	p.expectFrame(frame.KindHeaders)
	p.expectResponse(5, true, string(payload[:100]))

	// What is no larger goes as it is, and everything to a peer that does not take pieces.
	out := do(soon(t), p.conn, pconn.Request{Type: 3, Payload: payload[:128<<10]})
	p.expectFrame(frame.KindHeaders)
	p.write(response(p.expectRequest(3, string(payload[:128<<10])), ""))
	require.NoError(t, receiveFrom(t, out).err)
	plain := extended(t, nil)
	do(soon(t), plain.conn, pconn.Request{Type: 1, Payload: payload})
	plain.expectFrame(frame.KindHeaders)
	plain.expectRequest(1, string(payload))
}

// Small requests and answers go between the pieces of large ones that came before them.
func TestSmallOvertakesLarge(t *testing.T) {
	large := pattern(4 << 20)
	p := rawSized(t, serve(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		if req.Type == 1 {
			return pconn.Bytes(large), nil
		}
		return pconn.Bytes(req.Payload), nil
	}), 1<<20, 64<<10)
	p.sayHello(takesPieces())
	asked := do(soon(t), p.conn, pconn.Request{Type: 1, Payload: large})
	var first uint64
	p.partly(firstPiece(&first))
	p.write(request(1000, 1, ""))
	p.write(request(1001, 2, "small answer"))
	small := do(soon(t), p.conn, pconn.Request{Type: 2, Payload: []byte("small request")})
	eventually(t, "both are queued", func() bool {
		n := p.conn.Counters()
		return n.RequestsOut.Load() == 2 && n.RequestsIn.Load() == 2 && len(p.conn.InFlight()) == 2
	})

	missing := map[string]bool{"small answer": true, "small request": true}
	pieces := 0
	got := p.partly(func(got packet.Packet) bool {
		require.NotEqual(t, large[len(large)-10:], got.Payload[max(0, len(got.Payload)-10):], "the large ones have not ended")
		pieces++
		delete(missing, string(got.Payload))
		if string(got.Payload) == "small request" {
			p.write(response(got.Tag, "yes"))
		}
		return len(missing) == 0
	})
	// What was under way already is what the pipe holds and one write.
	require.LessOrEqual(t, pieces, 12)
	require.NoError(t, receiveFrom(t, small).err)
	ended := 0
	for tag, more := range p.partly(func(got packet.Packet) bool {
		if got.Channel == 0 {
			ended++
		}
		return ended == 2
	}) {
		head := []byte(nil)
		if got[tag] != nil {
			head = got[tag].payload
		}
		whole := append(head, more.payload...)
		require.Equal(t, string(large[len(large)-len(whole):]), string(whole))
	}
	p.write(response(first, ""))
	require.NoError(t, receiveFrom(t, asked).err)
}

// A large request that is given up ends with CANCEL, and its payload is its caller's at once.
func TestLargeRequestThatIsGivenUp(t *testing.T) {
	p := rawSized(t, serve(echo), 1<<20, 64<<10)
	p.sayHello(takesPieces())
	for _, submit := range []bool{false, true} {
		payload := pattern(2 << 20)
		ctx, cancel := context.WithCancelCause(context.Background())
		gone := make(chan error, 1)
		go func() {
			if submit {
				r, err := p.conn.Submit(ctx, pconn.Request{Type: 1, Payload: payload})
				overwrite(payload)
				if err == nil {
					<-ctx.Done()
					r.Cancel()
					_, err = r.Wait(soon(t))
				}
				gone <- err
				return
			}
			_, err := p.conn.Do(ctx, pconn.Request{Type: 1, Payload: payload})
			overwrite(payload)
			gone <- err
		}()
		var tag uint64
		before := p.partly(firstPiece(&tag))[tag].payload
		cancel(pconn.NewError(7, "enough"))
		err := receiveFrom(t, gone)
		require.True(t, err == context.Canceled || err == pconn.ErrCancelled, err)
		var last packet.Packet
		under := p.partly(func(got packet.Packet) bool {
			last = got
			return got.Channel == 0 || frame.Kind(got.Type-1) == frame.KindCancel
		})
		require.EqualValues(t, frame.Channel, last.Channel, "there is no packet")
		require.Equal(t, tag, last.Tag)
		f, err := frame.ParseCancel(last.Payload)
		require.NoError(t, err)
		if !submit {
			require.EqualValues(t, 7, f.Code)
		}
		sent := before
		if under[tag] != nil {
			sent = append(sent, under[tag].payload...)
		}
		require.Less(t, len(sent), 1<<20)
		require.Equal(t, string(pattern(2 << 20)[:len(sent)]), string(sent))
		p.nothingMore(tag + 1000)
	}
	require.EqualValues(t, 2, p.conn.Counters().CancelsOut.Load())
}

// An answer that comes before the request has left ends the request.
func TestLargeRequestAnsweredEarly(t *testing.T) {
	p := rawSized(t, serve(echo), 1<<20, 64<<10)
	p.sayHello(takesPieces())
	payload := pattern(2 << 20)
	out := do(soon(t), p.conn, pconn.Request{Type: 1, Payload: payload})
	var tag uint64
	p.partly(firstPiece(&tag))
	p.write(encode(rejection(tag)))
	var remote *pconn.RemoteError
	require.ErrorAs(t, receiveFrom(t, out).err, &remote)
	overwrite(payload)
	p.partly(func(got packet.Packet) bool {
		require.EqualValues(t, frame.Channel, got.Channel)
		return frame.Kind(got.Type-1) == frame.KindCancel
	})
	p.nothingMore(5)
}

// What remains of an answer is not sent to a caller that has given up.
func TestLargeAnswerThatIsGivenUp(t *testing.T) {
	p := rawSized(t, serve(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		if req.Type == 1 {
			return pconn.Bytes(pattern(2 << 20)), nil
		}
		return pconn.Bytes(req.Payload), nil
	}), 1<<20, 64<<10)
	p.sayHello(takesPieces())
	for tag := uint64(10); tag < 20; tag++ {
		p.write(request(tag, 1, ""))
		var of uint64
		p.partly(firstPiece(&of))
		require.Equal(t, tag, of)
		cancel := (&frame.Cancel{Reason: frame.ReasonCancelled}).Append(nil)
		p.write(frameOf(frame.KindCancel, tag, 0, cancel))
		p.write(request(tag+100, 2, "next"))
		eventually(t, "the next is answered", func() bool {
			return p.conn.Counters().RequestsIn.Load() == 3*(tag-10)+2 && len(p.conn.InFlight()) == 0
		})
		pieces := 0
		p.partly(func(got packet.Packet) bool {
			pieces++
			require.False(t, isPacket(tag)(got))
			return isPacket(tag + 100)(got)
		})
		require.LessOrEqual(t, pieces, 12)
		p.nothingMore(tag + 200)
	}
	require.EqualValues(t, 10, p.conn.Counters().CancelsIn.Load())
	require.Zero(t, p.conn.Counters().StrayCancels.Load())
}

// No more is under way than a peer has to take, and what waits can be given up.
func TestLargeRequestsUnderWay(t *testing.T) {
	p := rawSized(t, nil, 1<<20, 64<<10)
	p.sayHello(takesPieces())
	const n = 200
	payload := pattern(200_000)
	var results []*pconn.Result
	for range n {
		r, err := p.conn.Submit(soon(t), pconn.Request{Type: 1, Payload: payload})
		require.NoError(t, err)
		results = append(results, r)
	}
	for _, r := range results[n-20:] {
		require.True(t, r.Cancel())
	}
	under, most, whole := make(map[uint64]int), 0, 0
	for whole < n-20 {
		got := p.read()
		under[got.Tag] += len(got.Payload)
		most = max(most, len(under))
		if got.Channel == 0 {
			require.Equal(t, len(payload), under[got.Tag])
			delete(under, got.Tag)
			whole++
			p.write(response(got.Tag, ""))
		}
	}
	require.Equal(t, 64, most)
	require.Zero(t, p.conn.Counters().CancelsOut.Load())
	for i, r := range results {
		_, err := r.Wait(soon(t))
		require.Equal(t, i >= n-20, errors.Is(err, pconn.ErrCancelled), err)
	}
}

// Handlers wait with large answers that the peer does not read, and nobody else does.
func TestLargeAnswersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := rawSized(t, serve(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
			if req.Type == 1 {
				return pconn.Bytes(make([]byte, 2<<20)), nil
			}
			return pconn.Bytes(req.Payload), nil
		}), 1<<20, 64<<10)
		p.sayHello(takesPieces())
		const n = 50
		for i := range uint64(n) {
			p.write(request(100+i, 1, ""))
		}
		synctest.Wait()
		require.Len(t, p.conn.InFlight(), n-32) // 64 MiB are queued
		p.write(request(5, 2, "small"))
		synctest.Wait()
		pieces := 0
		p.partly(func(got packet.Packet) bool { pieces++; return isPacket(5)(got) })
		require.LessOrEqual(t, pieces, 12)
		whole := 0
		p.partly(func(got packet.Packet) bool {
			if got.Channel == 0 {
				whole++
			}
			return whole == n
		})
		p.nothingMore(6)
		require.Empty(t, p.conn.InFlight())
	})
}

// What was asked before Shutdown is sent to its end, and answered, before EOF.
// A peer that has got all of a large answer may ask again, while pieces of another leave in the same write.
func TestLargeAnswerThatHasLeftMakesRoom(t *testing.T) {
	const large, larger, waits = 1, 2, 3
	g := newGate(t)
	p := rawSized(t, serve(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		switch req.Type {
		case large:
			return pconn.Bytes(make([]byte, 128<<10+10)), nil
		case larger:
			return pconn.Bytes(make([]byte, 1<<20)), nil
		}
		return g.serveCtx(ctx, req)
	}), 1<<20, 4096)
	p.sayHello(takesPieces())
	all := append(request(10, large, ""), request(11, larger, "")...)
	for tag := uint64(12); tag < 10+maxOutstanding; tag++ {
		all = append(all, request(tag, waits, "")...)
	}
	p.write(all)
	p.partly(isPacket(10))
	p.write(request(10+maxOutstanding, waits, ""))
	count := p.conn.Counters()
	eventually(t, "it is accepted", func() bool {
		return count.RequestsIn.Load()+count.Rejected.Load() == maxOutstanding+1
	})
	require.Zero(t, count.Rejected.Load())
}

func TestShutdownBehindLargePayloads(t *testing.T) {
	a, b := extendedPair(t, nil, serve(echo))
	payload := pattern(1 << 20)
	var results []*pconn.Result
	for range 10 {
		r, err := a.Submit(soon(t), pconn.Request{Payload: payload})
		require.NoError(t, err)
		results = append(results, r)
	}
	require.NoError(t, a.Shutdown(soon(t)))
	for _, r := range results {
		resp, err := r.Wait(soon(t))
		require.NoError(t, err)
		require.Equal(t, string(payload), string(resp.Payload))
	}
	require.NoError(t, b.Wait())
}

// The end of the connection gives everybody their memory back.
func TestEndWithinLargePayloads(t *testing.T) {
	p := rawSized(t, nil, 1<<20, 64<<10)
	p.sayHello(takesPieces())
	var wg sync.WaitGroup
	for range 70 {
		wg.Go(func() {
			payload := filled(200_000, 1)
			_, sent, err := p.conn.Attempt(context.Background(), pconn.Request{Payload: payload})
			overwrite(payload)
			if err == nil || sent && !errors.Is(err, pconn.ErrPeerClosed) {
				t.Error(sent, err)
			}
		})
	}
	eventually(t, "all are under way", func() bool { return len(p.conn.InFlight()) == 70 })
	p.write(eof)
	within(t, wg.Wait)
}

// TestLargeCallsAtRandom has both ends ask for large and small things, and give up at random, with hardly any room
// between them.
func TestLargeCallsAtRandom(t *testing.T) {
	opts := func() *pconn.Options {
		return &pconn.Options{Extensions: pconn.ExtensionsRequired, Handler: pconn.HandlerFunc(mirror)}
	}
	a, b := smallPair(t, opts(), opts())
	all := pattern(1 << 20)
	var wg sync.WaitGroup
	var answered, gaveUp atomic.Int64
	for _, c := range []*pconn.Conn{a, b} {
		for i := range 8 {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			wg.Go(func() {
				for range 30 {
					payload := append([]byte(nil), all[:[]int{16, 140_000, 200_000, 1 << 20}[rnd.IntN(4)]]...)
					ctx, cancel := context.WithCancel(context.Background())
					if rnd.IntN(3) == 0 {
						time.AfterFunc(time.Duration(rnd.IntN(3000))*time.Microsecond, cancel)
					}
					buf := make([]byte, rnd.IntN(2)*len(payload))
					resp, err := c.DoInto(ctx, buf, pconn.Request{Payload: payload, Metadata: metadata("k", "v")})
					overwrite(payload)
					switch {
					case err == nil:
						answered.Add(1)
						if string(resp.Payload) != string(all[:len(payload)]) || resp.Metadata.Text("k") != "v" {
							t.Error("another answer")
						}
						if len(buf) > 0 && &buf[0] != &resp.Payload[0] {
							t.Error("the answer is in other memory")
						}
					case err == context.Canceled:
						gaveUp.Add(1)
						overwrite(buf)
					default:
						t.Error(err)
					}
					cancel()
				}
			})
		}
	}
	wg.Wait()
	t.Logf("%d answered, %d given up", answered.Load(), gaveUp.Load())
	for _, c := range []*pconn.Conn{a, b} {
		_, err := c.Do(soon(t), pconn.Request{Payload: all})
		require.NoError(t, err)
		eventually(t, "nothing is left", func() bool { return len(c.InFlight()) == 0 })
		require.Zero(t, c.Counters().Unsolicited.Load())
		require.Zero(t, c.Counters().LostHeaders.Load())
	}
	eventually(t, "what was not taken out has arrived", func() bool { return sameCounts(a, b) })
}
