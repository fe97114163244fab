package grpclinks_test

import (
	"context"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/packetstream/packetstream/rpc/grpclinks"
	"github.com/packetstream/packetstream/rpc/links"
)

// TestKilledChild kills the server's process at a moment of chance.
func TestKilledChild(t *testing.T) { killTimes(t, 20) }

// killTimes kills so many children, one after another, and requires that nothing is left of each.
func killTimes(t *testing.T, kills int) {
	t.Helper()
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	before := runtime.NumGoroutine()
	for i := range kills {
		killOnce(t, i, random.IntN(300))
		requireGoroutines(t, before)
	}
}

// killOnce kills the child after so many steps of its callers, and requires each of those to end with the reason.
func killOnce(t *testing.T, i, after int) {
	t.Helper()
	c := startChild(t, "plain")
	conn, err := links.NewConn(links.StreamCarrier(c.stream), &links.ConnOptions{Reason: c.reason})
	require.NoError(t, err)
	cc := grpclinks.NewClientConn(conn, nil)
	e := &env{name: "child", ctx: context.Background(), cc: cc}
	var steps atomic.Int64
	enough := make(chan struct{})
	step := func() {
		if steps.Add(1) == int64(after)+1 {
			close(enough)
		}
	}
	ends := make(chan error, 100)
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for {
				if _, err := e.invoke("Echo", "x"); err != nil {
					ends <- err
					return
				}
				step()
			}
		})
		callers.Go(func() { ends <- pingPong(e, step) })
		callers.Go(func() {
			_, err := e.invoke("Wait", "for ever")
			ends <- err
		})
	}
	<-enough
	require.NoError(t, c.cmd.Process.Kill())
	callers.Wait()
	_, err = e.invoke("Echo", "late")
	ends <- err
	close(ends)
	for err := range ends {
		require.Equal(t, codes.Unavailable, status.Code(err), "kill %d: %v", i, err)
		require.ErrorContains(t, err, "signal: killed")
	}
	<-conn.Done()
	require.NoError(t, cc.Close())
	require.NoError(t, conn.Close())
}

// pingPong runs a stream to its end and returns why it ended.
func pingPong(e *env, step func()) error {
	s, err := e.cc.NewStream(e.ctx, streamDesc("EchoStream"), "/test.S/EchoStream")
	if err != nil {
		return err
	}
	for {
		if err := s.SendMsg(say("x")); err != nil && err != io.EOF {
			return err
		}
		if err := s.RecvMsg(new(text)); err != nil {
			return err
		}
		step()
	}
}
