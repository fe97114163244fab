package pconn_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/bufio"
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

// loneCaller makes calls one by one until the caller of one receives for itself, and returns that one, which is not answered yet.
func loneCaller(ctx context.Context, t *testing.T, p *rawPeer) (tag uint64, held <-chan outcome) {
	t.Helper()
	for range tries {
		out := behindLoneCalls(ctx, p, func() (pconn.Response, error) {
			return p.conn.Do(ctx, pconn.Request{Type: heldType})
		})
		tag = p.expectRequest(heldType, "")
		receives := false
		eventually(t, "the caller waits", func() bool {
			all := stacks()
			receives = strings.Contains(all, "pconn.(*Conn).receiveAnswer(")
			return receives || strings.Contains(all, "pconn.(*Conn).await(")
		})
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
	const enough = 64 // more than it takes
	out := make(chan outcome, 1)
	go func() {
		for range enough {
			if _, err := p.conn.Do(ctx, pconn.Request{}); err != nil {
				out <- outcome{err: err}
				return
			}
		}
		resp, err := call()
		out <- outcome{resp, err}
	}()
	for range enough {
		p.write(response(p.expectRequest(0, ""), ""))
	}
	return out
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

// TestWhatComesToACallerThatReceives sends all that may come to it, and its answer.
func TestWhatComesToACallerThatReceives(t *testing.T) {
	answered := func(payload string) func(t *testing.T, o outcome) {
		return func(t *testing.T, o outcome) {
			require.NoError(t, o.err)
			require.Equal(t, payload, string(o.resp.Payload))
		}
	}
	twice := func(first int) func(p *rawPeer, tag uint64) {
		return func(p *rawPeer, tag uint64) {
			b := response(tag, "answer")
			p.write(b[:first])
			eventually(p.t, "it is read", func() bool {
				return p.conn.Counters().BytesIn.Load() > 0 && !strings.Contains(stacks(), "receiveAnswer(")
			})
			p.write(b[first:])
		}
	}
	for name, c := range map[string]struct {
		come  func(p *rawPeer, tag uint64)
		check func(t *testing.T, o outcome)
	}{
		"its answer": {func(p *rawPeer, tag uint64) { p.write(response(tag, "answer")) }, answered("answer")},
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
		"a part of its answer's header":  {twice(1), answered("answer")},
		"a part of its answer's payload": {twice(6), answered("answer")},
		"a large answer":                 {func(p *rawPeer, tag uint64) { p.write(response(tag, string(pattern(200_000)))) }, answered(string(pattern(200_000)))},
		"a request": {
			func(p *rawPeer, tag uint64) {
				p.write(request(500, 1, "before"))
				p.expectResponse(500, true, "before")
				p.write(response(tag, "answer"))
			}, answered("answer"),
		},
		"a request behind its answer": {
			func(p *rawPeer, tag uint64) {
				p.write(append(response(tag, "answer"), request(500, 1, "behind")...))
				p.expectResponse(500, true, "behind")
			}, answered("answer"),
		},
		"a request in front of its answer": {
			func(p *rawPeer, tag uint64) {
				p.write(append(request(500, 1, "in front"), response(tag, "answer")...))
				p.expectResponse(500, true, "in front")
			}, answered("answer"),
		},
		"what nobody asked for": {
			func(p *rawPeer, tag uint64) {
				p.write(response(1<<40, "who?"))
				p.write(response(tag, "answer"))
			}, answered("answer"),
		},
		"the answer to another channel's": {
			func(p *rawPeer, tag uint64) {
				p.write(encode(packet.Packet{Tag: tag, Channel: 7, Flags: 1}))
				p.write(response(tag, "answer"))
			}, answered("answer"),
		},
		"another caller's answer": {
			func(p *rawPeer, tag uint64) {
				other := do(soon(p.t), p.conn, pconn.Request{Type: heldType, Payload: []byte("x")})
				p.write(response(p.expectRequest(heldType, "x"), "other"))
				answered("other")(p.t.(*testing.T), receiveFrom(p.t, other))
				p.write(response(tag, "answer"))
			}, answered("answer"),
		},
		"its answer before another caller's": {
			func(p *rawPeer, tag uint64) {
				other := do(soon(p.t), p.conn, pconn.Request{Type: heldType, Payload: []byte("x")})
				b := p.expectRequest(heldType, "x")
				p.write(response(tag, "answer"))
				p.write(response(b, "other"))
				answered("other")(p.t.(*testing.T), receiveFrom(p.t, other))
			}, answered("answer"),
		},
		"ERQ": {func(p *rawPeer, tag uint64) { p.write(append(encode(erqPacket), response(tag, "answer")...)) }, answered("answer")},
	} {
		t.Run(name, func(t *testing.T) {
			p := rawPipes(t, serve(echo))
			tag, held := loneCaller(context.Background(), t, p)
			c.come(p, tag)
			c.check(t, receiveFrom(t, held))
			if name != "ERQ" {
				p.nothingMore(501)
			}
			res := do(soon(t), p.conn, pconn.Request{Type: 1})
			p.write(response(p.expectRequest(1, ""), "next"))
			answered("next")(t, receiveFrom(t, res))
		})
	}
}

// TestWhatEndsTheWaitOfACallerThatReceives ends its context, the connection, or what it reads.
func TestWhatEndsTheWaitOfACallerThatReceives(t *testing.T) {
	for name, c := range map[string]struct {
		end   func(t *testing.T, p *rawPeer, cancel func())
		check func(t *testing.T, p *rawPeer, err error)
	}{
		"its context": {
			func(_ *testing.T, _ *rawPeer, cancel func()) { cancel() },
			func(t *testing.T, p *rawPeer, err error) {
				require.Equal(t, context.Canceled, err)
				require.Empty(t, p.conn.InFlight())
				p.nothingMore(501)
				res := do(soon(t), p.conn, pconn.Request{Type: 1})
				p.write(response(p.expectRequest(1, ""), "next"))
				require.NoError(t, receiveFrom(t, res).err)
			},
		},
		"its context, when somebody else receives": {
			func(_ *testing.T, p *rawPeer, cancel func()) {
				p.nothingMore(500)
				cancel()
			},
			func(t *testing.T, p *rawPeer, err error) {
				require.Equal(t, context.Canceled, err)
				p.nothingMore(501)
			},
		},
		"Close": {
			func(_ *testing.T, p *rawPeer, _ func()) { p.conn.Close() },
			func(t *testing.T, _ *rawPeer, err error) { require.Equal(t, pconn.ErrClosed, err) },
		},
		"the peer's EOF": {
			func(_ *testing.T, p *rawPeer, _ func()) { p.write(eof) },
			func(t *testing.T, _ *rawPeer, err error) { require.Equal(t, pconn.ErrPeerClosed, err) },
		},
		"the end of the stream": {
			func(_ *testing.T, p *rawPeer, _ func()) { p.out.Close() },
			func(t *testing.T, _ *rawPeer, err error) { require.Equal(t, pconn.ErrPeerClosed, err) },
		},
		"what is no packet": {
			func(_ *testing.T, p *rawPeer, _ func()) { p.write(bytes.Repeat([]byte{0}, 20)) },
			func(t *testing.T, _ *rawPeer, err error) {
				var wrong *pconn.ProtocolError
				require.ErrorAs(t, err, &wrong)
				require.ErrorIs(t, err, packet.ErrFields)
			},
		},
		"its answer, while the connection drains": {
			func(t *testing.T, p *rawPeer, _ func()) {
				over := make(chan error, 1)
				go func() { over <- p.conn.Shutdown(soon(t)) }()
				eventually(t, "it drains", func() bool { return strings.Contains(stacks(), "pconn.(*Conn).Shutdown(") })
				p.write(response(p.conn.InFlight()[0].Tag, "answer"))
				p.expectEOF()
				p.out.Close()
				require.NoError(t, receiveFrom(t, over))
			},
			func(t *testing.T, _ *rawPeer, err error) { require.NoError(t, err) },
		},
		"its context, while the connection drains": {
			func(t *testing.T, p *rawPeer, cancel func()) {
				over := make(chan error, 1)
				go func() { over <- p.conn.Shutdown(soon(t)) }()
				eventually(t, "it drains", func() bool { return strings.Contains(stacks(), "pconn.(*Conn).Shutdown(") })
				cancel()
				p.expectEOF()
				p.out.Close()
				require.NoError(t, receiveFrom(t, over))
			},
			func(t *testing.T, _ *rawPeer, err error) { require.Equal(t, context.Canceled, err) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := rawPipes(t, serve(echo))
			ctx, cancel := context.WithCancel(soon(t))
			_, held := loneCaller(ctx, t, p)
			c.end(t, p, cancel)
			c.check(t, p, receiveFrom(t, held).err)
			cancel()
		})
	}
}

// TestCallsBehindLoneOnesThatMayNotReceive makes calls when receiving is lent, mostly, whose callers do not wait, or not for input only.
func TestCallsBehindLoneOnesThatMayNotReceive(t *testing.T) {
	ctx := context.Background()
	large := string(pattern(3 << 20))
	for name, c := range map[string]struct {
		call  func(conn *pconn.Conn, own context.Context) (pconn.Response, error)
		peer  func(p *rawPeer, cancel func())
		check func(t *testing.T, o outcome)
	}{
		"with a context of its own, that ends": {
			func(conn *pconn.Conn, own context.Context) (pconn.Response, error) {
				return conn.Do(own, pconn.Request{Type: heldType})
			},
			func(p *rawPeer, cancel func()) {
				p.expectRequest(heldType, "")
				cancel()
			},
			func(t *testing.T, o outcome) { require.Equal(t, context.Canceled, o.err) },
		},
		"Submit": {
			func(conn *pconn.Conn, _ context.Context) (pconn.Response, error) {
				r, err := conn.Submit(ctx, pconn.Request{Type: heldType})
				if err != nil {
					return pconn.Response{}, err
				}
				return r.Wait(ctx)
			},
			func(p *rawPeer, _ func()) { p.write(response(p.expectRequest(heldType, ""), "answer")) },
			func(t *testing.T, o outcome) {
				require.NoError(t, o.err)
				require.Equal(t, "answer", string(o.resp.Payload))
			},
		},
		"Notify": {
			func(conn *pconn.Conn, _ context.Context) (pconn.Response, error) {
				return pconn.Response{}, conn.Notify(ctx, pconn.Request{Type: heldType})
			},
			func(p *rawPeer, _ func()) { p.write(response(p.expectRequest(heldType, ""), "")) },
			func(t *testing.T, o outcome) { require.NoError(t, o.err) },
		},
		"with a large payload, answered before it has left": {
			func(conn *pconn.Conn, _ context.Context) (pconn.Response, error) {
				payload := []byte(large)
				defer clear(payload) // it is the caller's again
				return conn.Do(ctx, pconn.Request{Type: heldType, Payload: payload})
			},
			func(p *rawPeer, _ func()) {
				p.write(response(p.heldTag(), "answer")) // more is left of the request than a pipe holds
				eventually(p.t, "it is answered", func() bool { return len(p.conn.InFlight()) == 0 })
				p.expectRequest(heldType, large)
			},
			func(t *testing.T, o outcome) {
				require.NoError(t, o.err)
				require.Equal(t, "answer", string(o.resp.Payload))
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := rawPipes(t, serve(echo))
			for range 4 {
				own, cancel := context.WithCancel(ctx)
				out := behindLoneCalls(ctx, p, func() (pconn.Response, error) { return c.call(p.conn, own) })
				c.peer(p, cancel)
				c.check(t, receiveFrom(t, out))
				cancel()
				p.nothingMore(501)
			}
		})
	}
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
			o := receiveFrom(t, res)
			require.NoError(t, o.err)
			require.Equal(t, "answer", string(o.resp.Payload))
		}
		p.expectResponse(500, true, "behind")
	}
}

// TestLoneCallsOverWhatCannotBeInterrupted ends the context of a call over a reader that reads in its own way.
func TestLoneCallsOverWhatCannotBeInterrupted(t *testing.T) {
	theirs, out := io.Pipe()
	in, ours := io.Pipe()
	conn, err := pconn.New(bufio.NewInput(theirs), bufio.OwnOutput(ours), nil)
	require.NoError(t, err)
	p := rawEnd(t, conn, bufio.OwnInput(in), bufio.OwnOutput(out))
	ctx, cancel := context.WithCancel(context.Background())
	held := behindLoneCalls(ctx, p, func() (pconn.Response, error) { return conn.Do(ctx, pconn.Request{Type: heldType}) })
	p.expectRequest(heldType, "")
	cancel()
	require.Equal(t, context.Canceled, receiveFrom(t, held).err)
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

// TestAnswerToWhatHasNotLeft answers a request that waits behind others when the connection is closed: it is never said to have been
// answered, and not to have left.
func TestAnswerToWhatHasNotLeft(t *testing.T) {
	for n := range 100 {
		p := rawSized(t, serve(echo), 1<<20, 4<<10)
		var sent bool
		out := behindLoneCalls(context.Background(), p, func() (resp pconn.Response, err error) {
			if err := p.conn.Notify(context.Background(), pconn.Request{Payload: make([]byte, 100_000)}); err != nil {
				return resp, err
			}
			resp, sent, err = p.conn.Attempt(context.Background(), pconn.Request{Type: heldType})
			return resp, err
		})
		tag := p.heldTag()
		closed := make(chan error, 1)
		go func() {
			for range n % 20 {
				runtime.Gosched()
			}
			closed <- p.conn.Close()
		}()
		_ = p.tryWrite(response(tag, "")) // it may be closed already
		p.in.Close()
		require.NoError(t, receiveFrom(t, closed))
		if receiveFrom(t, out).err == nil {
			require.True(t, sent)
		}
	}
}

// TestContextEndsWithTheAnswer has the answer and the end of the context come at once, to a caller that receives or not.
func TestContextEndsWithTheAnswer(t *testing.T) {
	p := rawPipes(t, serve(echo))
	for range 50 {
		ctx, cancel := context.WithCancel(soon(t))
		tag, held := loneCaller(ctx, t, p)
		go cancel()
		p.write(response(tag, "answer"))
		if o := receiveFrom(t, held); o.err == nil {
			require.Equal(t, "answer", string(o.resp.Payload))
		} else {
			require.Equal(t, context.Canceled, o.err)
		}
		cancel()
	}
	p.nothingMore(501)
}

// TestNobodyCallsBehindLoneCalls checks that the peer is heard when calls that received for themselves have ceased, and that
// one goroutine is left which receives.
func TestNobodyCallsBehindLoneCalls(t *testing.T) {
	p := rawPipes(t, serve(echo))
	tag, held := loneCaller(context.Background(), t, p)
	p.write(response(tag, ""))
	require.NoError(t, receiveFrom(t, held).err)
	p.nothingMore(501)
	require.Equal(t, 1, strings.Count(stacks(), "pconn.(*Conn).receive("))
}

// TestConnectionsEndBehindLoneCalls closes connections at once behind a call that has lent receiving.
func TestConnectionsEndBehindLoneCalls(t *testing.T) {
	for range 300 {
		a, b, err := pconn.Pipe(nil, serve(echo))
		require.NoError(t, err)
		for range 40 {
			_, err := a.Do(context.Background(), pconn.Request{})
			require.NoError(t, err)
		}
		within(t, func() {
			require.NoError(t, a.Close())
			require.NoError(t, b.Close())
		})
	}
}

// TestLoneCallersAtBothEnds has both ends call, one by one for a while and then together, with contexts that end, and pauses.
func TestLoneCallersAtBothEnds(t *testing.T) {
	for name, ends := range map[string]func(t testing.TB, a, b *pconn.Options) (*pconn.Conn, *pconn.Conn){"pipes": pipes, "memory": pair} {
		t.Run(name, func(t *testing.T) {
			a, b := ends(t, serve(echo), serve(echo))
			var callers sync.WaitGroup
			for g, conn := range []*pconn.Conn{a, b, a} {
				callers.Go(func() { callForAWhile(t, conn, g) })
			}
			callers.Wait()
			require.Empty(t, a.InFlight())
			require.Empty(t, b.InFlight())
		})
	}
}

func callForAWhile(t *testing.T, conn *pconn.Conn, g int) {
	random := rand.New(rand.NewPCG(uint64(g), 1))
	for round := range 60 {
		ctx, cancel := context.WithCancel(soon(t))
		for i := range 60 {
			want := fmt.Appendf(nil, "%d %d %d", g, round, i)
			resp, err := conn.Do(ctx, pconn.Request{Payload: want})
			if err != nil {
				assert.Equal(t, context.Canceled, err)
				break
			}
			if !assert.Equal(t, string(want), string(resp.Payload)) {
				break
			}
			if i == 50 && random.IntN(2) == 0 {
				go cancel()
			}
		}
		cancel()
		switch random.IntN(3) {
		case 0:
			time.Sleep(time.Duration(random.IntN(2000)) * time.Microsecond) // the others are alone
		case 1:
			runtime.Gosched()
		}
	}
}
