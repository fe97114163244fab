package eventstream_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/rpc/eventstream"
)

func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestManySmallHeadersAreHeldBack floods a handler with messages that are some twenty times as large in memory as
// they are on the wire.
func TestManySmallHeadersAreHeldBack(t *testing.T) {
	const queue = 1 << 20
	started, release := make(chan struct{}), make(chan struct{})
	s := handle("op", func(ctx context.Context, _ *eventstream.ServerStream) error {
		close(started)
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil
	})
	s.ReceiveQueue = queue
	// The client's own queue is small too, so that a Send that waits means a server that does not read.
	c, _ := pair(t, s, &eventstream.Options{SendQueue: 64 << 10})
	st, err := c.OpenStream(t.Context(), "op", nil)
	require.NoError(t, err)
	await(t, started, "handler")
	headers := make(eventstream.Headers, eventstream.MaxHeaders-3)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	sent := 0
	for sent < 1000 && st.Send(ctx, &eventstream.Message{Headers: headers}) == nil {
		sent++
	}
	// 20 messages of 52 KB fit into the server's queue, and 24 of 2.7 KB into the client's; a pipe holds none.
	assert.Less(t, sent, 60)
	close(release)
}

// TestTakenMessageIsFree has a handler take a large block of headers and keep its stream.
func TestTakenMessageIsFree(t *testing.T) {
	taken := make(chan struct{})
	s := handle("op", func(ctx context.Context, s *eventstream.ServerStream) error {
		if _, err := s.Recv(ctx); err != nil {
			return err
		}
		close(taken)
		<-ctx.Done()
		return nil
	})
	c, _ := pair(t, s, nil)
	before := heapInUse()
	value := strings.Repeat("x", eventstream.MaxHeaderValueLen)
	headers := make(eventstream.Headers, 600)
	for i := range headers {
		headers[i] = eventstream.String("h", value)
	}
	st, err := c.OpenStream(t.Context(), "op", &eventstream.Message{Headers: headers})
	require.NoError(t, err)
	await(t, taken, "message")
	assert.Less(t, heapInUse()-before, int64(8<<20), "19 MiB of headers were dropped")
	require.NoError(t, st.Close())
}
