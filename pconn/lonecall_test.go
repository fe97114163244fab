package pconn_test

import (
	"context"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

// heldType is a request that loneCaller's peer does not answer.
const heldType = 9

// stacks are those of all goroutines.
func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

// receivesForItself says whether a caller waits for its answer by receiving it.
func receivesForItself() bool { return strings.Contains(stacks(), "pconn.(*Conn).receiveAnswer(") }

// loneCaller makes calls one by one until the caller of one receives for itself, and returns that one, which is not answered yet.
func loneCaller(ctx context.Context, t *testing.T, p *rawPeer) (tag uint64, held <-chan outcome) {
	t.Helper()
	for range tries {
		out := behindLoneCalls(ctx, p, func() (pconn.Response, error) {
			return p.conn.Do(ctx, pconn.Request{Type: heldType})
		})
		tag, receives := p.heldCaller()
		if receives {
			return tag, out
		}
		// Receiving was taken between two calls, since the processor was taken away there.
		p.write(response(tag, ""))
		require.NoError(t, receiveFrom(t, out).err)
	}
	require.Fail(t, "no caller receives for itself")
	return 0, nil
}

// behindLoneCalls makes a call right behind others that came one by one, of the same goroutine. Those are answered when it returns.
func behindLoneCalls(ctx context.Context, p *rawPeer, call func() (pconn.Response, error)) <-chan outcome {
	p.t.Helper()
	return p.behind(2*enoughLone, func(int) error {
		_, err := p.conn.Do(ctx, pconn.Request{})
		return err
	}, func(int) { p.write(response(p.expectRequest(0, ""), "")) }, call)
}

// behind makes a call right behind n others, of the same goroutine. The peer has answered each of those when it returns.
func (p *rawPeer) behind(n int, each func(i int) error, answers func(i int), call func() (pconn.Response, error)) <-chan outcome {
	p.t.Helper()
	out := begin(func() (pconn.Response, error) {
		for i := range n {
			if err := each(i); err != nil {
				return pconn.Response{}, err
			}
		}
		return call()
	})
	for i := range n {
		answers(i)
	}
	return out
}

// heldCaller takes a request of heldType, and says whether its caller receives for itself, once it waits in one way or the other.
func (p *rawPeer) heldCaller() (tag uint64, receives bool) {
	p.t.Helper()
	tag = p.expectRequest(heldType, "")
	eventually(p.t, "the caller waits", func() bool {
		all := stacks()
		receives = strings.Contains(all, "pconn.(*Conn).receiveAnswer(")
		return receives || strings.Contains(all, "pconn.(*Conn).await(")
	})
	return tag, receives
}

// heldTag returns the tag of a request of heldType when it is made, whatever of it has left.
func (p *rawPeer) heldTag() (tag uint64) {
	p.t.Helper()
	eventually(p.t, "it is made", func() bool {
		for _, f := range p.conn.InFlight() {
			if f.Type == heldType {
				tag = f.Tag
			}
		}
		return tag != 0
	})
	return tag
}

// writeAndSee writes one packet, and waits until the connection has taken it, so that what is written next comes by another read.
func (p *rawPeer) writeAndSee(b []byte) {
	p.t.Helper()
	before := p.conn.Counters().PacketsIn.Load()
	p.write(b)
	eventually(p.t, "it is taken", func() bool { return p.conn.Counters().PacketsIn.Load() > before })
}

// coming is what comes to a caller that receives, and what is to become of its call.
type coming struct {
	come  func(p *rawPeer, tag uint64)
	check func(t *testing.T, o outcome)
}

// answered checks the payload of an ok answer.
func answered(payload string) func(t *testing.T, o outcome) {
	return func(t *testing.T, o outcome) {
		t.Helper()
		require.NoError(t, o.err)
		require.Equal(t, payload, string(o.resp.Payload))
	}
}

// comesToACallerThatReceives has each of cases come to another caller, and checks that its connection goes on. The peer
// may make no further requests if it has said so.
func comesToACallerThatReceives(t *testing.T, cases map[string]coming, mayAsk bool) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p := rawPipes(t, serve(echo))
			tag, held := loneCaller(context.Background(), t, p)
			c.come(p, tag)
			c.check(t, receiveFrom(t, held))
			if mayAsk {
				p.nothingMore(501)
			}
			res := do(soon(t), p.conn, pconn.Request{Type: 1})
			p.write(response(p.expectRequest(1, ""), "next"))
			answered("next")(t, receiveFrom(t, res))
		})
	}
}

// TestAnswersToACallerThatReceives sends it nothing but its answer.
func TestAnswersToACallerThatReceives(t *testing.T) {
	whole := func(payload string) coming {
		return coming{func(p *rawPeer, tag uint64) { p.write(response(tag, payload)) }, answered(payload)}
	}
	// Nothing but bytes that have come brings the caller out of receiveAnswer, and a header that is whole is counted.
	twice := func(first int) coming {
		return coming{func(p *rawPeer, tag uint64) {
			b, before := response(tag, "answer"), p.conn.Counters().BytesIn.Load()
			headed := first >= len(b)-len("answer")
			p.write(b[:first])
			eventually(p.t, "it is read", func() bool {
				return !receivesForItself() && (!headed || p.conn.Counters().BytesIn.Load() > before)
			})
			p.write(b[first:])
		}, answered("answer")}
	}
	comesToACallerThatReceives(t, map[string]coming{
		"whole":                whole("answer"),
		"without payload":      whole(""),
		"large":                whole(string(pattern(200_000))),
		"its header in parts":  twice(1),
		"its payload in parts": twice(6),
		"a rejection": {
			func(p *rawPeer, tag uint64) {
				p.write(encode(packet.Packet{Tag: tag, Flags: 5 << 1, Payload: []byte("no")}))
			},
			func(t *testing.T, o outcome) {
				var remote *pconn.RemoteError
				require.ErrorAs(t, o.err, &remote)
				require.Equal(t, "no", string(remote.Payload))
				require.EqualValues(t, heldType, remote.Type)
				require.EqualValues(t, 5, o.resp.Flags)
				require.False(t, o.resp.OK)
			},
		},
	}, true)
}

// TestRequestsToACallerThatReceives sends it a request of the peer's, by itself or in one write with its answer.
func TestRequestsToACallerThatReceives(t *testing.T) {
	comesToACallerThatReceives(t, map[string]coming{
		"before its answer": {func(p *rawPeer, tag uint64) {
			p.write(request(500, 1, "before"))
			p.expectResponse(500, true, "before")
			p.write(response(tag, "answer"))
		}, answered("answer")},
		"behind its answer": {func(p *rawPeer, tag uint64) {
			p.write(append(response(tag, "answer"), request(500, 1, "behind")...))
			p.expectResponse(500, true, "behind")
		}, answered("answer")},
		"in front of its answer": {func(p *rawPeer, tag uint64) {
			p.write(append(request(500, 1, "in front"), response(tag, "answer")...))
			p.expectResponse(500, true, "in front")
		}, answered("answer")},
	}, true)
	comesToACallerThatReceives(t, map[string]coming{
		"ERQ": {func(p *rawPeer, tag uint64) { p.write(append(encode(erqPacket), response(tag, "answer")...)) }, answered("answer")},
	}, false)
}

// TestOtherAnswersToACallerThatReceives sends it what is for somebody else, or for nobody.
func TestOtherAnswersToACallerThatReceives(t *testing.T) {
	comesToACallerThatReceives(t, map[string]coming{
		"what nobody asked for": {func(p *rawPeer, tag uint64) {
			p.writeAndSee(response(1<<40, "who?"))
			p.write(response(tag, "answer"))
		}, answered("answer")},
		"the answer to another channel's": {func(p *rawPeer, tag uint64) {
			p.writeAndSee(encode(packet.Packet{Tag: tag, Channel: 7, Flags: 1}))
			p.write(response(tag, "answer"))
		}, answered("answer")},
		"another caller's answer": {func(p *rawPeer, tag uint64) {
			other := do(soon(p.t), p.conn, pconn.Request{Type: heldType, Payload: []byte("x")})
			p.write(response(p.expectRequest(heldType, "x"), "other"))
			answered("other")(p.t.(*testing.T), receiveFrom(p.t, other))
			p.write(response(tag, "answer"))
		}, answered("answer")},
		"its answer before another caller's": {func(p *rawPeer, tag uint64) {
			other := do(soon(p.t), p.conn, pconn.Request{Type: heldType, Payload: []byte("x")})
			b := p.expectRequest(heldType, "x")
			p.write(response(tag, "answer"))
			p.write(response(b, "other"))
			answered("other")(p.t.(*testing.T), receiveFrom(p.t, other))
		}, answered("answer")},
	}, true)
}

// TestMoreBehindAnAnswer sends a request together with the answer to one of many calls, among them the first whose caller would be
// given receiving.
func TestMoreBehindAnAnswer(t *testing.T) {
	const calls = 40
	for n := range calls {
		p := rawPipes(t, serve(echo))
		for i := range n + 1 {
			res := do(context.Background(), p.conn, pconn.Request{})
			b := response(p.expectRequest(0, ""), "answer")
			if i == n {
				b = append(b, request(500, 1, "behind")...)
			}
			p.write(b)
			answered("answer")(t, receiveFrom(t, res))
		}
		p.expectResponse(500, true, "behind")
	}
}

// TestLoneAnswersAreCounted has the counters of a call whose caller receives as of any.
func TestLoneAnswersAreCounted(t *testing.T) {
	p := rawPipes(t, serve(echo))
	tag, held := loneCaller(context.Background(), t, p)
	c := p.conn.Counters()
	packets, bytes, b := c.PacketsIn.Load(), c.BytesIn.Load(), response(tag, "answer")
	p.write(b)
	require.NoError(t, receiveFrom(t, held).err)
	require.Equal(t, packets+1, c.PacketsIn.Load())
	require.Equal(t, bytes+uint64(len(b)), c.BytesIn.Load())
}
