package pconn_test

import (
	"context"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet/frame"
	"github.com/packetstream/packetstream/pconn"
)

// behindLone is a call that is made when receiving is lent, mostly, but whose caller does not wait, or not for input only.
type behindLone struct {
	call  func(conn *pconn.Conn, own context.Context) (pconn.Response, error)
	peer  func(p *rawPeer, cancel func())
	check func(t *testing.T, o outcome)
}

// madeBehindLoneCalls makes each of calls several times.
func madeBehindLoneCalls(t *testing.T, calls map[string]behindLone) {
	t.Helper()
	ctx := context.Background()
	for name, c := range calls {
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

// TestCallsBehindLoneOnesThatMayNotReceive makes calls whose callers wait for something else besides, or not at all.
func TestCallsBehindLoneOnesThatMayNotReceive(t *testing.T) {
	ctx := context.Background()
	madeBehindLoneCalls(t, map[string]behindLone{
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
			answered("answer"),
		},
		"Notify": {
			func(conn *pconn.Conn, _ context.Context) (pconn.Response, error) {
				return pconn.Response{}, conn.Notify(ctx, pconn.Request{Type: heldType})
			},
			func(p *rawPeer, _ func()) { p.write(response(p.expectRequest(heldType, ""), "")) },
			answered(""),
		},
	})
}

// TestLargeCallBehindLoneOnes has its answer come before the request has left, whose payload is the caller's own memory.
func TestLargeCallBehindLoneOnes(t *testing.T) {
	large := string(pattern(3 << 20))
	madeBehindLoneCalls(t, map[string]behindLone{
		"answered early": {
			func(conn *pconn.Conn, _ context.Context) (pconn.Response, error) {
				payload := []byte(large)
				defer clear(payload) // it is the caller's again
				return conn.Do(context.Background(), pconn.Request{Type: heldType, Payload: payload})
			},
			func(p *rawPeer, _ func()) {
				p.write(response(p.heldTag(), "answer")) // more is left of the request than a pipe holds
				eventually(p.t, "it is answered", func() bool { return len(p.conn.InFlight()) == 0 })
				p.expectRequest(heldType, large)
			},
			answered("answer"),
		},
	})
}

// TestReceivingGoesOnOverWhatCannotBeTried has lone calls over an input that is read by a goroutine of its own. It cannot be tried
// without waiting, and whoever waits for it is woken by that goroutine: a caller that received would gain nothing, and so none does.
func TestReceivingGoesOnOverWhatCannotBeTried(t *testing.T) {
	theirs, out := io.Pipe()
	in, ours := io.Pipe()
	input := bufio.NewInput(theirs)
	require.False(t, input.NonBlocking())
	conn, err := pconn.New(input, bufio.OwnOutput(ours), nil)
	require.NoError(t, err)
	p := rawEnd(t, conn, bufio.OwnInput(in), bufio.OwnOutput(out))
	for range 8 { // a caller that may receive does not each time
		ctx, cancel := context.WithCancel(context.Background())
		held := behindLoneCalls(ctx, p, func() (pconn.Response, error) { return conn.Do(ctx, pconn.Request{Type: heldType}) })
		_, receives := p.heldCaller()
		require.False(t, receives)
		require.Equal(t, 1, strings.Count(stacks(), "pconn.(*Conn).receive("))
		cancel()
		require.Equal(t, context.Canceled, receiveFrom(t, held).err)
	}
}

// TestCallersDoNotCallWhatLooksOn has lone calls over a connection that somebody looks on at. What looks on to what is received is called
// by the connection's goroutines, of which none survives its panic; a caller may.
func TestCallersDoNotCallWhatLooksOn(t *testing.T) {
	const calls = 200
	var looks, callers atomic.Int64
	opts := &pconn.Options{RecvLen: func(int) {
		looks.Add(1)
		buf := make([]byte, 64<<10)
		if own := string(buf[:runtime.Stack(buf, false)]); strings.Contains(own, "pconn.(*Conn).Do(") {
			callers.Add(1)
		}
	}}
	a, _ := pipes(t, opts, serve(echo))
	for range calls {
		_, err := a.Do(context.Background(), pconn.Request{})
		require.NoError(t, err)
	}
	require.EqualValues(t, calls, looks.Load())
	require.Zero(t, callers.Load())
}

// between is what else there is with the calls but the last of enoughLone that are made one by one.
type between struct {
	also     func(conn *pconn.Conn, i int) error // made behind a call; nil is nothing
	answers  func(p *rawPeer, i int, tag uint64) // to the call, and what else the peer says
	receives bool                                // whether a call behind them may receive
}

// enoughLone is how many answers have to come one by one until the caller is given receiving: one more takes it from there.
const enoughLone = 32

// TestOnlyLoneCallersReceive makes as many calls as it takes to be given receiving, with something else between them or without. A
// caller that receives would gain nothing where receiving has more to do than take its answers.
func TestOnlyLoneCallersReceive(t *testing.T) {
	large := string(pattern(200_000)) // more than is buffered of an answer
	answers := func(p *rawPeer, _ int, tag uint64) { p.write(response(tag, "")) }
	for name, c := range map[string]between{
		"nothing else":           {answers: answers, receives: true},
		"PING between":           {pingToo, pong, false},
		"another call meanwhile": {submitToo, new(meanwhile).answers, false},
		"large answers":          {nil, func(p *rawPeer, _ int, tag uint64) { p.write(response(tag, large)) }, false},
		"the peer's requests between": {nil, func(p *rawPeer, i int, tag uint64) {
			p.nothingMore(500)
			answers(p, i, tag)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := rawPipes(t, serve(echo))
			p.sayHello(plainHello())
			receives := false
			for i := 0; i < tries && !receives; i++ { // a caller that may receive does not each time
				p.nothingMore(501) // nothing counts that came before
				held := p.behindWith(c)
				var tag uint64
				tag, receives = p.heldCaller()
				p.write(response(tag, ""))
				require.NoError(t, receiveFrom(t, held).err)
			}
			require.Equal(t, c.receives, receives)
		})
	}
}

func pingToo(conn *pconn.Conn, _ int) error {
	_, err := conn.Ping(context.Background())
	return err
}

// pong answers a call and the PING behind it.
func pong(p *rawPeer, _ int, tag uint64) {
	p.t.Helper()
	p.write(response(tag, ""))
	p.write(answer(p.expectFrame(frame.KindPing).Tag, true, nil))
}

// submitToo makes another call behind the first.
func submitToo(conn *pconn.Conn, i int) error {
	if i > 0 {
		return nil
	}
	_, err := conn.Submit(context.Background(), pconn.Request{Type: 8})
	return err
}

// meanwhile has the tag of a call that is not answered before many others.
type meanwhile struct{ tag uint64 }

func (m *meanwhile) answers(p *rawPeer, i int, tag uint64) {
	p.t.Helper()
	if i == enoughLone-2 {
		p.writeAndSee(response(m.tag, ""))
	}
	p.write(response(tag, ""))
	if i == 0 {
		m.tag = p.expectRequest(8, "")
	}
}

// behindWith makes a call of heldType right behind others, with something between those.
func (p *rawPeer) behindWith(c between) <-chan outcome {
	p.t.Helper()
	ctx := context.Background()
	return p.behind(enoughLone, func(i int) error {
		if _, err := p.conn.Do(ctx, pconn.Request{}); err != nil || i == enoughLone-1 || c.also == nil {
			return err
		}
		return c.also(p.conn, i)
	}, func(i int) {
		if tag := p.expectRequest(0, ""); i < enoughLone-1 {
			c.answers(p, i, tag)
		} else {
			p.write(response(tag, ""))
		}
	}, func() (pconn.Response, error) { return p.conn.Do(ctx, pconn.Request{Type: heldType}) })
}
