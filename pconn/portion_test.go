package pconn_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
	"github.com/packetstream/packetstream/pconn"
)

// Of many requests that one read brings the first are answered while the rest is at work.
func TestAnswersLeaveInPortions(t *testing.T) {
	for name, mark := range map[string]func(pconn.Handler) pconn.Handler{
		"marked": pconn.NonBlocking,
		"any":    func(h pconn.Handler) pconn.Handler { return h },
	} {
		t.Run(name, func(t *testing.T) {
			goOn := make(chan struct{})
			p := raw(t, &pconn.Options{Handler: mark(pconn.HandlerFunc(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
				if req.Type == 70 {
					<-goOn
				}
				return pconn.Bytes(req.Payload), nil
			}))})
			var all []byte
			for tag := uint64(10); tag < 110; tag++ {
				all = append(all, request(tag, tag-10, "x")...)
			}
			p.write(all)
			seen := map[uint64]bool{}
			read := func() {
				got := p.read()
				require.False(t, got.Request)
				require.True(t, got.Flags&1 != 0 && string(got.Payload) == "x", "%+v", got)
				require.False(t, seen[got.Tag], "answered twice")
				if name == "marked" { // no other is taken off the receiving goroutine where the machine is busy
					require.EqualValues(t, 10+len(seen), got.Tag)
				}
				seen[got.Tag] = true
			}
			portions := func() bool { // two
				for tag := uint64(10); tag < 58; tag++ {
					if !seen[tag] {
						return false
					}
				}
				return true
			}
			for !portions() {
				read()
			}
			require.False(t, seen[80])
			close(goOn)
			for len(seen) < 100 {
				read()
			}
		})
	}
}

// A peer that sends the next request before the last is answered, and so never lets receiving wait, gets its answers
// nevertheless.
func TestAnswersToAPeerThatNeverPauses(t *testing.T) {
	const all, most = 500, 60
	for name, mark := range map[string]func(pconn.Handler) pconn.Handler{
		"marked": pconn.NonBlocking,
		"any":    func(h pconn.Handler) pconn.Handler { return h },
	} {
		t.Run(name, func(t *testing.T) {
			peer := make(chan *rawPeer, 1)
			answered, behind := 0, 0
			done := make(chan error, 1)
			p := rawPipes(t, &pconn.Options{Handler: mark(pconn.HandlerFunc(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
				p := <-peer
				for {
					if b, _ := p.in.TryPeek(1); len(b) == 0 {
						break
					}
					if _, err := packet.Read(p.in, 1); err != nil {
						done <- err
					}
					answered++
				}
				behind = max(behind, int(req.Type)-answered)
				if req.Type == all {
					done <- nil
					return pconn.None(), nil
				}
				defer func() { peer <- p }()
				return pconn.Text("y"), p.tryWrite(request(11+req.Type, req.Type+1, "x"))
			}))})
			p.write(request(10, 0, "x"))
			peer <- p // not before: one writes at a time
			require.NoError(t, receiveFrom(t, done))
			require.LessOrEqual(t, behind, most)
		})
	}
}

// callAll has so many goroutines call, each one call after another, until the connection ends, and returns the tags of the first calls.
func (p *rawPeer) callAll(callers int) (tags []uint64) {
	var ended sync.WaitGroup
	for range callers {
		ended.Go(func() {
			for {
				if _, err := p.conn.Do(context.Background(), pconn.Request{Type: 1}); err != nil {
					return
				}
			}
		})
	}
	p.t.Cleanup(func() {
		p.conn.Close()
		within(p.t, ended.Wait)
	})
	for range callers {
		tags = append(tags, p.read().Tag)
	}
	return tags
}

// responses is the bytes of an ok response to each of the tags.
func responses(tags []uint64) (all []byte) {
	for _, tag := range tags {
		all = append(all, response(tag, "")...)
	}
	return all
}

// With a portion under way a request may be left to the receiver to write. It leaves though nothing more comes, whether or not
// the input can look for that.
func TestRequestsLeftToTheReceiverLeave(t *testing.T) {
	const callers, rounds = 60, 2000
	for name, peer := range map[string]func(testing.TB, *pconn.Options) *rawPeer{"in memory": raw, "pipes": rawPipes} {
		t.Run(name, func(t *testing.T) {
			p := peer(t, nil)
			tags := p.callAll(callers)
			for i := range rounds {
				n := 1 + i%3
				p.write(responses(tags[:n]))
				tags = tags[n:]
				for range n {
					tags = append(tags, p.read().Tag)
				}
			}
		})
	}
}

// They leave behind many packets as well, though receiving has not had to wait for any of these.
func TestRequestsLeftToTheReceiverLeaveBehindMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const callers, asks, many = 60, 2, 150
		const meeting, held = 1, 2 // types
		again, g := newGate(t), newGate(t)
		p := raw(t, &pconn.Options{Handler: pconn.NonBlocking(pconn.HandlerFunc(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
			if req.Type == meeting {
				return again.serve(ctx, req)
			}
			return g.serve(ctx, req)
		}))})
		tags := p.callAll(callers)
		var others []uint64
		for range many {
			_, err := p.conn.Submit(t.Context(), pconn.Request{Type: 5})
			require.NoError(t, err)
			others = append(others, p.read().Tag)
		}
		all := append(responses(tags[:asks]), request(10, meeting, "x")...)
		p.write(append(append(all, responses(others)...), request(11, held, "y")...))
		synctest.Wait() // for the callers to have asked again, while receiving is in the first handler
		_, err := p.in.TryPeek(1)
		require.ErrorIs(t, err, bufio.ErrWouldBlock, "they are not left")
		again.release()
		for range asks {
			require.True(t, p.read().Request)
		}
		p.expectResponse(10, true, "x")
		g.release()
		p.expectResponse(11, true, "y")
	})
}

// A few requests that were made behind a long write are left to receiving, too; not so with an answer among them, which the peer
// waits for.
func TestRequestsBehindAWriteAreLeftToTheReceiver(t *testing.T) {
	const callers, asks, bulk = 60, 2, 20_000
	const waits, holds = 1, 2 // types
	for _, answer := range []bool{false, true} {
		t.Run(fmt.Sprintf("an answer %v", answer), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				apart, g := newGate(t), newGate(t)
				mux := pconn.NewMux()
				mux.HandleFunc(waits, apart.serve)
				mux.Handle(holds, pconn.NonBlocking(pconn.HandlerFunc(g.serve)))
				p := rawSized(t, &pconn.Options{Handler: mux}, 1<<20, 4<<10)
				tags := p.callAll(callers)
				p.write(request(9, waits, "w"))
				<-apart.entered
				time.Sleep(time.Second) // the bubble's time, in which the watchdog takes receiving off the handler
				require.NoError(t, p.conn.Notify(t.Context(), pconn.Request{Payload: pattern(bulk)}))
				p.write(append(responses(tags[:asks]), request(10, holds, "x")...))
				synctest.Wait() // for receiving to be in the handler, behind the answers, and for the write to be in want of room
				if answer {
					apart.release()
					synctest.Wait()
				}
				require.Len(t, p.read().Payload, bulk)
				synctest.Wait()
				_, err := p.in.TryPeek(1)
				if answer {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, bufio.ErrWouldBlock, "what was called meanwhile has a write of its own")
				}
				g.release()
				for range asks {
					require.True(t, p.read().Request)
				}
				if answer {
					p.expectResponse(9, true, "w")
				}
				p.expectResponse(10, true, "x")
			})
		})
	}
}

// What was answered before does not count for the portion that comes next.
func TestPortionIsWholeBehindAnother(t *testing.T) {
	p := rawPipes(t, &pconn.Options{Handler: pconn.NonBlocking(pconn.HandlerFunc(func(context.Context, *pconn.Request) (pconn.Reply, error) {
		return pconn.None(), nil
	}))})
	const rounds, less, portion = 200, 25, 32
	payload := strings.Repeat("x", 16)
	for i := range uint64(rounds) {
		n := less + i%2*(portion-less)
		var all []byte
		for tag := 2 + i*portion; tag < 2+i*portion+n; tag++ {
			all = append(all, request(tag, 0, payload)...)
		}
		p.write(all)
		for range n {
			p.read()
		}
	}
	flushes := p.conn.Counters().Flushes.Load()
	require.Less(t, flushes, uint64(rounds*3/2), "of what one read brings a single answer is left behind")
}

// Answers do not wait behind data of which there is always more.
func TestAnswersBeforeBulk(t *testing.T) {
	const asks = 9
	peer, found := make(chan *rawPeer, 1), make(chan error, 1)
	p := rawPipes(t, &pconn.Options{Listen: []string{""}, Handler: pconn.NonBlocking(pconn.HandlerFunc(
		func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
			if req.Type == asks {
				_, err := (<-peer).in.TryPeek(1)
				found <- err
			}
			return pconn.Text("y"), nil
		}))})
	p.extended(frame.Hello{MaxStreams: 9, StreamCredit: 1})
	p.sendFrame(frame.KindOpen, 1, 0, (&frame.Open{}).Append(nil))
	all := append(request(10, 1, "x"), request(11, 1, "x")...)
	all = append(all, frameBytes(frame.KindData, 1, 0, pattern(50_000))...)
	p.write(append(all, request(12, asks, "x")...))
	peer <- p
	require.NoError(t, receiveFrom(t, found))
}
