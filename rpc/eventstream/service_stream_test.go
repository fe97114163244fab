package eventstream_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/rpc/eventstream"
)

func allHeaders() eventstream.Headers {
	return eventstream.Headers{
		eventstream.Bool("t", true), eventstream.Bool("f", false),
		eventstream.Byte("b-min", -128), eventstream.Byte("b-max", 127),
		eventstream.Int16("s-min", -32768), eventstream.Int32("i-max", 1<<31-1), eventstream.Int64("l-min", -1<<63),
		eventstream.Bytes("buf", []byte{0, 1, 254, 255}), eventstream.Bytes("buf-empty", nil),
		eventstream.String("str", "noodles"), eventstream.String("str-empty", ""),
		eventstream.Timestamp("ts", 1700000000), eventstream.UUID("id", [16]byte{1, 2, 15: 3}),
	}
}

func checkEcho(t *testing.T, s service) {
	c := s.open(t)
	got, err := c.Call(t.Context(), "interop#Echo", &eventstream.Message{Headers: allHeaders(), Payload: []byte("hello")})
	require.NoError(t, err)
	assert.Equal(t, "hello", string(got.Payload))
	assert.Equal(t, allHeaders(), got.Headers.User())
	assert.Equal(t, eventstream.FlagTerminateStream, got.Flags)
	got, err = c.Call(t.Context(), "interop#Echo", nil)
	require.NoError(t, err)
	assert.Empty(t, got.Payload)
	id, _ := got.Headers.Lookup(":stream-id")
	assert.Equal(t, eventstream.Int32(":stream-id", 2), id)
}

func checkEchoError(t *testing.T, s service) {
	c := s.open(t)
	_, err := c.Call(t.Context(), "interop#Echo", &eventstream.Message{
		Type: eventstream.MessageTypeApplicationError, Payload: []byte("x"),
	})
	var failure *eventstream.ApplicationError
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, "x", string(failure.Payload))
	assert.Contains(t, err.Error(), "application error")
}

func checkLarge(t *testing.T, s service) {
	c := s.open(t)
	for _, size := range []int{65536, 1 << 20, eventstream.MaxMessageLen - 200} {
		body := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		got, err := c.Call(t.Context(), "interop#Echo", &eventstream.Message{Payload: body})
		require.NoError(t, err)
		require.True(t, bytes.Equal(body, got.Payload), "%d bytes", size)
	}
}

func checkCount(t *testing.T, s service) {
	c := s.open(t)
	for _, n := range []int{0, 1, 5, 1000} {
		st, err := c.OpenStream(t.Context(), "interop#Count", text(strconv.Itoa(n)))
		require.NoError(t, err)
		for i := range n {
			m, err := st.Recv(t.Context())
			require.NoError(t, err)
			require.Equal(t, strconv.Itoa(i), string(m.Payload))
		}
		_, err = st.Recv(t.Context())
		require.Equal(t, io.EOF, err)
		require.ErrorIs(t, st.Send(t.Context(), text("late")), eventstream.ErrStreamClosed)
		require.NoError(t, st.Close())
	}
}

func checkFail(t *testing.T, s service) {
	c := s.open(t)
	var failure *eventstream.ApplicationError
	_, err := c.Call(t.Context(), "interop#Fail", text("why"))
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, "why", string(failure.Payload))
	assert.Equal(t, "InteropFailure", failure.Headers.Text("error-code"))
	assert.Contains(t, err.Error(), "InteropFailure")

	st, err := c.OpenStream(t.Context(), "interop#NoSuch", nil)
	require.NoError(t, err)
	_, err = st.Recv(t.Context())
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, "interop#NoSuch", string(failure.Payload))
	_, err = st.Recv(t.Context())
	assert.Equal(t, io.EOF, err)
}

// stats asks the server what it has seen of this connection.
func stats(t *testing.T, c *eventstream.ClientConn) (st eventstream.ConnStats) {
	t.Helper()
	m, err := c.Call(t.Context(), "interop#Stats", nil)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(m.Payload, &st))
	return st
}

func checkChat(t *testing.T, s service) {
	c := s.open(t)
	st, err := c.OpenStream(t.Context(), "interop#Chat", text("0"))
	require.NoError(t, err)
	for i := range 50 {
		m, err := st.Recv(t.Context())
		require.NoError(t, err)
		require.Equal(t, strconv.Itoa(i), string(m.Payload))
		require.NoError(t, st.Send(t.Context(), text(strconv.Itoa(i+1))))
	}
	_, err = st.Recv(t.Context())
	require.NoError(t, err)
	require.NoError(t, st.Send(t.Context(), &eventstream.Message{Flags: eventstream.FlagTerminateStream}))
	require.ErrorIs(t, st.Send(t.Context(), text("late")), eventstream.ErrStreamClosed)
	_, err = st.Recv(t.Context())
	require.Equal(t, io.EOF, err)
	assert.Equal(t, eventstream.ConnStats{Opened: 2, Closed: 1, Messages: 53}, stats(t, c))
}

func checkTerminateFirst(t *testing.T, s service) {
	c := s.open(t)
	st, err := c.OpenStream(t.Context(), "interop#Chat", &eventstream.Message{Flags: eventstream.FlagTerminateStream})
	require.NoError(t, err)
	require.ErrorIs(t, st.Send(t.Context(), text("late")), eventstream.ErrStreamClosed)
	_, err = st.Recv(t.Context())
	require.Equal(t, io.EOF, err)
	_, err = c.Call(t.Context(), "interop#Chat", &eventstream.Message{Flags: eventstream.FlagTerminateStream})
	require.Equal(t, io.EOF, err)
	assert.Equal(t, eventstream.ConnStats{Opened: 3, Closed: 2, Messages: 3}, stats(t, c))
}

func checkSink(t *testing.T, s service) {
	c := s.open(t)
	st, err := c.OpenStream(t.Context(), "interop#Sink", text("0123456789"))
	require.NoError(t, err)
	for range 200 {
		require.NoError(t, st.Send(t.Context(), &eventstream.Message{Payload: make([]byte, 100)}))
	}
	require.NoError(t, st.Send(t.Context(), text("end")))
	m, err := st.Recv(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "20010", string(m.Payload))
	require.NoError(t, st.Close())
	_, err = st.Recv(t.Context())
	require.ErrorIs(t, err, io.EOF)
}

func checkFlushOrder(t *testing.T, s service) {
	c := connected(t, s, nil, nil)
	var order []string
	done := make(chan struct{})
	k := c.NewStream(&eventstream.ContinuationHandler{
		Closed: func(_ *eventstream.Continuation, reason error) { order = append(order, fmt.Sprint("closed ", reason)) },
	})
	note := func(i int) func(error) {
		return func(err error) { order = append(order, fmt.Sprint(i, " ", err)) }
	}
	require.NoError(t, k.Activate("interop#Hold", text(""), note(0)))
	for i := 1; i < 20; i++ {
		require.NoError(t, k.SendMessage(text(""), note(i)))
	}
	require.NoError(t, k.SendMessage(&eventstream.Message{Flags: eventstream.FlagTerminateStream}, func(err error) {
		note(20)(err)
		close(done)
	}))
	require.ErrorIs(t, k.SendMessage(text("after"), nil), eventstream.ErrStreamClosed)
	await(t, done, "the last flush")
	<-k.Closed()
	assert.True(t, k.IsClosed())
	require.NoError(t, k.Err())
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprint(i, " <nil>"))
	}
	assert.Equal(t, append(want, "closed <nil>", "20 <nil>"), order)
}

func checkMany(t *testing.T, s service) {
	c := s.open(t)
	var calls sync.WaitGroup
	for i := range 200 {
		calls.Go(func() {
			m, err := c.Call(t.Context(), "interop#Echo", text(strconv.Itoa(i)))
			if assert.NoError(t, err) {
				assert.Equal(t, strconv.Itoa(i), string(m.Payload))
			}
		})
	}
	calls.Wait()
}

func checkCancelledCall(t *testing.T, s service) {
	c := s.open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := c.Call(ctx, "interop#Hold", nil)
	require.Equal(t, context.DeadlineExceeded, err)
	_, err = c.Call(ctx, "interop#Echo", nil)
	require.Equal(t, context.DeadlineExceeded, err)
	assert.Equal(t, eventstream.ConnStats{Opened: 2, Closed: 1, Messages: 3}, stats(t, c))
}
