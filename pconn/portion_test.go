package pconn_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

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

// With a portion under way a request may be left to the receiver to write. It leaves though nothing more comes.
func TestRequestsLeftToTheReceiverLeave(t *testing.T) {
	const callers, rounds = 60, 2000
	p := rawPipes(t, nil)
	ended := make(chan error, callers)
	for range callers {
		go func() {
			for {
				if _, err := p.conn.Do(context.Background(), pconn.Request{Type: 1}); err != nil {
					ended <- err
					return
				}
			}
		}()
	}
	var tags []uint64
	for range callers {
		tags = append(tags, p.read().Tag)
	}
	for i := range rounds {
		n := 1 + i%3
		for _, tag := range tags[:n] {
			p.write(response(tag, ""))
		}
		tags = tags[n:]
		for range n {
			tags = append(tags, p.read().Tag)
		}
	}
	p.conn.Close()
	for range callers {
		require.Error(t, receiveFrom(t, ended))
	}
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
