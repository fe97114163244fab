package pconn_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
	"github.com/packetstream/packetstream/pconn"
)

// endsOfOurs are the ends of a connection whose peer still reads. They return at once.
var endsOfOurs = map[string]struct {
	end  func(p *rawPeer)
	want error
}{
	"close":         {func(p *rawPeer) { go p.conn.Close() }, pconn.ErrClosed},
	"silent peer":   {func(*rawPeer) {}, pconn.ErrPeerSilent},
	"wrong packet":  {func(p *rawPeer) { p.write([]byte{0}) }, nil},
	"peer's EOF":    {func(p *rawPeer) { p.write(eof) }, pconn.ErrPeerClosed},
	"end of stream": {func(p *rawPeer) { p.out.Close() }, pconn.ErrPeerClosed},
}

// A request that reads as not sent never leaves afterwards, whoever has ended the connection: a pool makes it again.
func TestWhatReadsAsUnsentNeverLeaves(t *testing.T) {
	for name, e := range endsOfOurs {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { unsentNeverLeaves(t, e.end, e.want) })
		})
	}
}

func unsentNeverLeaves(t *testing.T, end func(*rawPeer), want error) {
	p := rawSized(t, &pconn.Options{
		Keepalive: time.Second,
		EndError:  func(err error) error { return fmt.Errorf("explained: %w", err) },
	}, 1<<20, 16)
	p.write(answer(p.expectFrame(frame.KindHello).Tag, true, takesPieces()))
	submit := func(typ uint64, size int) *pconn.Result {
		r, err := p.conn.Submit(t.Context(), pconn.Request{Type: typ, Payload: pattern(size), Metadata: metadata("k", "v")})
		require.NoError(t, err)
		return r
	}
	attempts := make(chan bool, 3)
	attempt := func(typ uint64, size int) {
		_, sent, err := p.conn.Attempt(soon(t), pconn.Request{Type: typ, Payload: pattern(size)})
		if !errors.Is(err, p.conn.Err()) {
			t.Error(err)
		}
		attempts <- sent
	}
	fills := submit(1, 1000)
	small := submit(2, 10)
	require.NoError(t, p.conn.Notify(t.Context(), pconn.Request{Type: 3, Payload: []byte("told"), Metadata: metadata("k", "v")}))
	large := submit(4, 1<<20)
	go attempt(5, 10)
	go attempt(6, 100_000)
	go attempt(7, 1<<20)
	synctest.Wait()
	require.Len(t, p.conn.InFlight(), 7)

	end(p)
	_, err := fills.Wait(soon(t))
	require.Equal(t, p.conn.Err(), err)
	if want != nil && !errors.Is(err, pconn.ErrClosed) {
		require.ErrorContains(t, err, "explained")
	}
	if want != nil {
		require.ErrorIs(t, err, want)
	}
	require.True(t, fills.Sent(), "a part of it")
	for _, r := range []*pconn.Result{small, large} {
		<-r.Done()
		require.False(t, r.Sent())
	}
	for range 3 {
		require.False(t, <-attempts)
	}

	var types []uint64
	for got := p.read(); !isEOF(got); got = p.read() {
		switch {
		case got.Channel == 0:
			types = append(types, got.Type-1)
		case frame.Kind(got.Type-1) == frame.KindPing:
		default:
			require.Equal(t, frame.KindHeaders, frame.Kind(got.Type-1), "no CANCEL, and no PIECE")
			types = append(types, 0)
		}
	}
	require.Equal(t, []uint64{0, 1, 0, 3}, types, "what was begun and the Notify, each behind its HEADERS")
	require.EqualValues(t, 6, p.conn.Counters().Withdrawn.Load(), "three requests with their HEADERS")
}

func isEOF(got packet.Packet) bool { return got.Request && got.Type == 0 && got.Tag == 0 }

// Requests in pieces hold up no end that nobody waits for: they end with CANCEL, so that the peer need not keep what it has.
func TestEndDoesNotWaitForPieces(t *testing.T) {
	for name, e := range endsOfOurs {
		if name == "silent peer" {
			continue // it needs a Keepalive, and the rest is as in the others
		}
		t.Run(name, func(t *testing.T) {
			p := rawSized(t, nil, 1<<20, 64<<10)
			p.sayHello(takesPieces())
			payload := pattern(16 << 20)
			submitted, err := p.conn.Submit(soon(t), pconn.Request{Type: 1, Payload: payload})
			require.NoError(t, err)
			require.NoError(t, p.conn.Notify(soon(t), pconn.Request{Type: 2, Payload: payload}))
			done := do(soon(t), p.conn, pconn.Request{Type: 3, Payload: payload})
			eventually(t, "all are outstanding", func() bool { return len(p.conn.InFlight()) == 3 })
			begun := make(map[uint64]bool)
			var tag uint64
			for len(begun) < 3 {
				p.partly(firstPiece(&tag))
				begun[tag] = true
			}

			e.end(p)
			_, err = submitted.Wait(soon(t))
			require.Error(t, err)
			require.True(t, submitted.Sent())
			require.Error(t, receiveFrom(t, done).err)
			bytes, cancels := 0, 0
			p.partly(func(got packet.Packet) bool {
				bytes += len(got.Payload)
				if got.Channel == frame.Channel && frame.Kind(got.Type-1) == frame.KindCancel {
					require.True(t, begun[got.Tag])
					delete(begun, got.Tag)
					cancels++
				}
				return isEOF(got)
			})
			require.Equal(t, 3, cancels)
			require.LessOrEqual(t, bytes, 1<<20, "what was under way, and no more")
			within(t, func() { <-p.conn.Done() })
		})
	}
}

// What is given up before any of it has left is not heard of at all: neither its end nor what was said before it.
func TestPeerDoesNotHearOfWhatWasTakenOut(t *testing.T) {
	for name, size := range map[string]int{"gathered": 100_000, "in pieces": 1 << 20} {
		for where, writing := range map[string]bool{"queued": false, "in the batch that is being written": true} {
			t.Run(name+" "+where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { takenOutIsNotHeardOf(t, size, name == "in pieces", writing) })
			})
		}
	}
}

func takenOutIsNotHeardOf(t *testing.T, size int, inPieces, writing bool) {
	p := rawSized(t, serve(echo), 1<<20, 16)
	p.sayHello(takesPieces())
	fill := func(typ uint64) {
		require.NoError(t, p.conn.Notify(context.Background(), pconn.Request{Type: typ, Payload: pattern(1000)}))
	}
	synctest.Wait() // no write is under way, which both would wait for
	fill(1)
	synctest.Wait()
	fill(2) // the next batch begins with it
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	out := do(ctx, p.conn, pconn.Request{Type: 3, Payload: pattern(size)})
	submitted, err := p.conn.Submit(soon(t), pconn.Request{Type: 4, Payload: pattern(size), Metadata: metadata("k", "v")})
	require.NoError(t, err)
	synctest.Wait()
	require.Len(t, p.conn.InFlight(), 4)
	if writing {
		flushes := p.conn.Counters().Flushes.Load()
		p.expectRequest(1, string(pattern(1000)))
		synctest.Wait() // the writer waits for room: while a write is under way, what it was given counts as gone
		require.Greater(t, p.conn.Counters().Flushes.Load(), flushes, "the next batch is begun")
	}
	if inPieces {
		require.True(t, submitted.Cancel())
	}
	cancel()
	require.Equal(t, context.Canceled, receiveFrom(t, out).err)

	if !writing {
		p.expectRequest(1, string(pattern(1000)))
	}
	p.expectRequest(2, string(pattern(1000)))
	if !inPieces {
		p.expectFrame(frame.KindHeaders)
		p.expectRequest(4, string(pattern(size)))
	}
	p.nothingMore(1000)
	require.Zero(t, p.conn.Counters().CancelsOut.Load())
}

// A caller that gives up does not wait for a write that blocks, since that has a copy of what it asked.
func TestGiveUpWhileAWriteBlocks(t *testing.T) {
	fromR, fromW := io.Pipe()
	connIn, out := bufio.Pipe(1 << 20)
	conn, err := pconn.New(connIn, bufio.OwnOutput(fromW), nil)
	require.NoError(t, err)
	p := rawEnd(t, conn, bufio.OwnInput(fromR), out)
	p.sayHello(takesPieces())
	ctx, cancel := context.WithCancel(soon(t))
	asked := do(ctx, conn, pconn.Request{Payload: pattern(1 << 20)})
	submitted, err := conn.Submit(soon(t), pconn.Request{Payload: pattern(1 << 20)})
	require.NoError(t, err)
	var tag uint64
	p.partly(firstPiece(&tag)) // the next write blocks
	cancel()
	require.Equal(t, context.Canceled, receiveFrom(t, asked).err)
	within(t, func() { require.True(t, submitted.Cancel()) })
}

// Requests that are left to receiving when it ends never leave, and say so: with Close, or with what stands behind what it is at.
func TestWhatIsLeftToReceivingAtItsEndIsUnsent(t *testing.T) {
	for name, behind := range map[string][]byte{"close": nil, "wrong packet": {0}, "peer's EOF": eof} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const callers, asks, attempts = 60, 2, 3
				g := newGate(t)
				p := raw(t, &pconn.Options{Handler: pconn.NonBlocking(pconn.HandlerFunc(g.serve))})
				tags := p.callAll(callers)
				p.write(slices.Concat(responses(tags[:asks]), request(10, 1, "x"), behind))
				synctest.Wait() // for receiving to be in the handler, awake
				sent := make(chan bool, attempts)
				for range attempts {
					go func() {
						_, left, _ := p.conn.Attempt(t.Context(), pconn.Request{Type: 2})
						sent <- left
					}()
				}
				synctest.Wait()
				if behind == nil {
					go p.conn.Close()
					synctest.Wait()
				}
				g.release()
				for range attempts {
					require.False(t, <-sent)
				}
				p.expectResponse(10, true, "x")
				p.expectEOF()
			})
		})
	}
}

// A peer that answers what never left, while the connection ends, is taken at its word.
func TestAnswerToWhatNeverLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const callers, asks = 60, 2
		g := newGate(t)
		p := raw(t, &pconn.Options{Handler: pconn.NonBlocking(pconn.HandlerFunc(g.serve))})
		tags := p.callAll(callers)
		next := tags[callers-1] + asks + 1
		p.write(slices.Concat(responses(tags[:asks]), request(10, 1, "x"), response(next, "never asked")))
		synctest.Wait() // for receiving to be in the handler, awake
		type outcome struct {
			resp pconn.Response
			sent bool
			err  error
		}
		done := make(chan outcome, 1)
		go func() {
			var o outcome
			o.resp, o.sent, o.err = p.conn.Attempt(t.Context(), pconn.Request{Type: 2})
			done <- o
		}()
		synctest.Wait()
		go p.conn.Close()
		synctest.Wait()
		g.release()
		o := <-done
		require.NoError(t, o.err)
		require.True(t, o.sent)
		require.Equal(t, "never asked", string(o.resp.Payload))
	})
}
