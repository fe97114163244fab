package pconn_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

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
			conns := []*pconn.Conn{a, b, a}
			var all crowd
			all.active.Store(int32(len(conns)))
			var callers sync.WaitGroup
			for g, conn := range conns {
				callers.Go(func() { callForAWhile(t, conn, g, &all) })
			}
			callers.Wait()
			require.Empty(t, a.InFlight())
			require.Empty(t, b.InFlight())
		})
	}
}

// crowd is goroutines that call, and pause in between.
type crowd struct {
	calls  atomic.Int64 // made by all of them
	active atomic.Int32 // how many do not pause
}

// pause waits until the others have made so many calls as to have been given receiving if they are alone, or all pause.
func (c *crowd) pause(t *testing.T) {
	t.Helper()
	c.active.Add(-1)
	enough := c.calls.Load() + 40
	assert.Eventually(t, func() bool { return c.calls.Load() >= enough || c.active.Load() == 0 }, patience, time.Millisecond)
	c.active.Add(1)
}

func callForAWhile(t *testing.T, conn *pconn.Conn, g int, all *crowd) {
	t.Helper()
	defer all.active.Add(-1)
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
			all.calls.Add(1)
			if i == 50 && random.IntN(2) == 0 {
				go cancel()
			}
		}
		cancel()
		switch random.IntN(3) {
		case 0:
			all.pause(t) // the others are alone
		case 1:
			runtime.Gosched()
		}
	}
}
