package eventstream_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/eventstreamtest"
	"github.com/packetstream/packetstream/rpc/eventstream"
)

// service is a server of the interop service to be checked, whoever wrote it.
type service struct {
	dial func(ctx context.Context, opts *eventstream.Options) (*eventstream.ClientConn, error)
	raw  func(ctx context.Context) (net.Conn, error)
	java bool // it is the reference's server, with the defects of its binding
}

func (s service) open(t *testing.T) *eventstream.ClientConn {
	t.Helper()
	c, err := s.dial(t.Context(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// handled opens a connection in the form with callbacks.
func (s service) handled(t *testing.T, h *eventstream.ConnHandler) *eventstream.ClientConn {
	t.Helper()
	conn, err := s.raw(t.Context())
	require.NoError(t, err)
	c, err := eventstream.NewConn(conn, h, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(); <-c.Done() })
	return c
}

func await[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(10 * time.Second):
		require.Fail(t, "waited too long for "+what)
		panic("unreachable")
	}
}

func text(s string) *eventstream.Message { return &eventstream.Message{Payload: []byte(s)} }

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

var serviceChecks = []struct {
	name  string
	check func(t *testing.T, s service)
}{
	{"connect", checkConnect},
	{"reject", checkReject},
	{"ping", checkPing},
	{"echo", checkEcho},
	{"echo of an error", checkEchoError},
	{"large", checkLarge},
	{"count", checkCount},
	{"fail", checkFail},
	{"chat", checkChat},
	{"terminate first", checkTerminateFirst},
	{"sink", checkSink},
	{"flush order", checkFlushOrder},
	{"many", checkMany},
	{"close with open streams", checkCloseOpenStreams},
	{"server drops", checkServerDrop},
	{"protocol errors", checkProtocolErrors},
	{"protocol error, left open", checkProtocolErrorOpen},
	{"cancelled call", checkCancelledCall},
	{"wrong states", checkWrongStates},
	{"refuse", checkRefuse},
}

func checkService(t *testing.T, s service) {
	for _, c := range serviceChecks {
		t.Run(c.name, func(t *testing.T) { c.check(t, s) })
	}
}

func checkConnect(t *testing.T, s service) {
	c, err := s.dial(t.Context(), &eventstream.Options{
		ConnectHeaders: eventstream.Headers{eventstream.String("note", "hello")}, ConnectPayload: []byte("pay"),
	})
	require.NoError(t, err)
	assert.True(t, c.IsOpen())
	assert.Equal(t, "pay", string(c.Ack().Payload))
	assert.Equal(t, "0.1.0", c.Ack().Headers.Text(":version"))
	assert.Equal(t, "hello", c.Ack().Headers.Text("note"))
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	require.NoError(t, c.Wait(t.Context()))
	assert.False(t, c.IsOpen())
}

func checkReject(t *testing.T, s service) {
	_, err := s.dial(t.Context(), &eventstream.Options{
		ConnectHeaders: eventstream.Headers{eventstream.String("interop-connect", "reject")}, ConnectPayload: []byte("no"),
	})
	var rejected *eventstream.RejectedError
	require.ErrorAs(t, err, &rejected)
	assert.Equal(t, "no", string(rejected.Message.Payload))
	assert.Contains(t, err.Error(), "rejected")
}

// connected opens a connection with callbacks and finishes the handshake by hand.
func connected(t *testing.T, s service, messages chan<- *eventstream.Message, ended chan<- error) *eventstream.ClientConn {
	t.Helper()
	acks := make(chan *eventstream.Message, 1)
	c := s.handled(t, &eventstream.ConnHandler{
		ProtocolMessage: func(_ *eventstream.ClientConn, m *eventstream.Message) {
			if m.Type == eventstream.MessageTypeConnectAck {
				acks <- m
				return
			}
			messages <- m
		},
		Shutdown: func(_ *eventstream.ClientConn, reason error) {
			if ended != nil {
				ended <- reason
			}
		},
	})
	connect := &eventstream.Message{
		Type: eventstream.MessageTypeConnect, Headers: eventstream.Headers{eventstream.String(":version", "0.1.0")},
	}
	require.NoError(t, c.SendProtocolMessage(connect, nil))
	ack := await(t, acks, "CONNECT_ACK")
	require.Equal(t, eventstream.FlagConnectionAccepted, ack.Flags)
	return c
}

func checkPing(t *testing.T, s service) {
	messages := make(chan *eventstream.Message, 1)
	c := connected(t, s, messages, nil)
	headers := allHeaders()
	if !s.java {
		headers = append(headers, eventstream.String("str-utf8", "é漢😀"))
	}
	require.NoError(t, c.SendProtocolMessage(&eventstream.Message{
		Type: eventstream.MessageTypePing, Headers: headers, Payload: []byte{0, 0xde, 0xad},
	}, nil))
	got := await(t, messages, "PING_RESPONSE")
	assert.Equal(t, eventstream.MessageTypePingResponse, got.Type)
	assert.Equal(t, headers, got.Headers.User())
	assert.Equal(t, []byte{0, 0xde, 0xad}, got.Payload)
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

func checkCloseOpenStreams(t *testing.T, s service) {
	r := &recorder{}
	var c *eventstream.ClientConn
	acked := make(chan struct{})
	h := r.connHandler()
	h.ProtocolMessage = func(*eventstream.ClientConn, *eventstream.Message) { close(acked) }
	c = s.handled(t, h)
	require.NoError(t, c.SendProtocolMessage(&eventstream.Message{Type: eventstream.MessageTypeConnect}, nil))
	await(t, acked, "CONNECT_ACK")
	for range 3 {
		require.NoError(t, c.NewStream(r.streamHandler()).Activate("interop#Hold", text(""), nil))
	}
	never := c.NewStream(r.streamHandler())
	require.NoError(t, c.Close())
	await(t, c.Done(), "the end")
	log := r.take()
	require.Len(t, log, 5)
	assert.Equal(t, "setup", log[0])
	assert.ElementsMatch(t, []string{"stream1:closed", "stream2:closed", "stream3:closed"}, log[1:4])
	assert.Equal(t, "shutdown", log[4])
	require.NoError(t, c.Err())
	require.ErrorIs(t, never.Activate("x", text(""), nil), eventstream.ErrClosed)
	require.ErrorIs(t, c.SendProtocolMessage(&eventstream.Message{Type: eventstream.MessageTypePing}, nil), eventstream.ErrClosed)
	assert.False(t, never.IsClosed())
}

func checkServerDrop(t *testing.T, s service) {
	c := s.open(t)
	hold, err := c.OpenStream(t.Context(), "interop#Hold", nil)
	require.NoError(t, err)
	_, err = c.Call(t.Context(), "interop#Drop", nil)
	require.ErrorIs(t, err, eventstream.ErrPeerClosed)
	_, err = hold.Recv(t.Context())
	require.ErrorIs(t, err, eventstream.ErrPeerClosed)
	require.ErrorIs(t, c.Wait(t.Context()), eventstream.ErrPeerClosed)
	_, err = c.OpenStream(t.Context(), "interop#Echo", nil)
	require.ErrorIs(t, err, eventstream.ErrPeerClosed)
}

func checkProtocolErrors(t *testing.T, s service) {
	for action, want := range map[string]eventstream.MessageType{
		"protocol-error": eventstream.MessageTypeProtocolError,
		"internal-error": eventstream.MessageTypeInternalError,
		"close":          -1,
	} {
		messages, ended := make(chan *eventstream.Message, 1), make(chan error, 1)
		c := connected(t, s, messages, ended)
		require.NoError(t, c.SendProtocolMessage(&eventstream.Message{
			Type: eventstream.MessageTypePing, Headers: eventstream.Headers{eventstream.String("interop-action", action)},
		}, nil))
		if want >= 0 {
			m := await(t, messages, action)
			assert.Equal(t, want, m.Type)
			assert.Equal(t, "told to", string(m.Payload))
		}
		err := await(t, ended, "the end")
		require.ErrorIs(t, err, eventstream.ErrPeerClosed)
		var told *eventstream.PeerError
		if want >= 0 && assert.ErrorAs(t, err, &told) {
			assert.Equal(t, want, told.Message.Type)
			assert.Contains(t, err.Error(), "told to")
		}
	}
}

func checkProtocolErrorOpen(t *testing.T, s service) {
	messages := make(chan *eventstream.Message, 1)
	c := connected(t, s, messages, nil)
	require.NoError(t, c.SendProtocolMessage(&eventstream.Message{
		Type:    eventstream.MessageTypePing,
		Headers: eventstream.Headers{eventstream.String("interop-action", "protocol-error-open")},
	}, nil))
	assert.Equal(t, eventstream.MessageTypeProtocolError, await(t, messages, "the error").Type)
	m, err := c.Call(t.Context(), "interop#Echo", text("still here"))
	require.NoError(t, err)
	assert.Equal(t, "still here", string(m.Payload))
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

func checkWrongStates(t *testing.T, s service) {
	c := s.handled(t, nil)
	k := c.NewStream(nil)
	require.ErrorIs(t, k.Activate("interop#Hold", text(""), nil), eventstream.ErrHandshake)
	ping := &eventstream.Message{Type: eventstream.MessageTypePing}
	require.ErrorIs(t, c.SendProtocolMessage(ping, nil), eventstream.ErrHandshake)
	require.True(t, c.IsOpen())

	c = connected(t, s, nil, nil)
	require.ErrorIs(t, c.SendProtocolMessage(&eventstream.Message{Type: eventstream.MessageTypeConnect}, nil), eventstream.ErrHandshake)
	require.ErrorIs(t, c.SendProtocolMessage(text(""), nil), eventstream.ErrMessageType)
	k = c.NewStream(nil)
	require.ErrorIs(t, k.SendMessage(text(""), nil), eventstream.ErrNotActivated)
	require.ErrorIs(t, k.Activate("", text(""), nil), eventstream.ErrOperation)
	require.ErrorIs(t, k.Activate("op", ping, nil), eventstream.ErrMessageType)
	long := &eventstream.Message{Headers: eventstream.Headers{eventstream.Bytes("h", make([]byte, 40000))}}
	require.ErrorIs(t, k.Activate("op", long, nil), eventstream.ErrHeader)
	require.ErrorIs(t, c.SendProtocolMessage(&eventstream.Message{Type: 2, Payload: make([]byte, 25<<20)}, nil), eventstream.ErrTooLarge)
	require.Zero(t, k.ID())
	require.NoError(t, k.Activate("interop#Hold", text(""), nil))
	require.EqualValues(t, 1, k.ID())
	require.ErrorIs(t, k.Activate("interop#Hold", text(""), nil), eventstream.ErrActivated)
	require.ErrorIs(t, k.SendMessage(ping, nil), eventstream.ErrMessageType)
	require.ErrorIs(t, k.SendMessage(long, nil), eventstream.ErrHeader)
	require.NoError(t, k.SendMessage(text("fine"), nil))
	require.True(t, c.IsOpen())
}

func checkRefuse(t *testing.T, s service) {
	if s.java {
		// The reference's binding ends its process instead.
		return
	}
	c := s.open(t)
	_, err := c.Call(t.Context(), "interop#Refuse", nil)
	var told *eventstream.PeerError
	require.ErrorAs(t, err, &told)
	assert.Equal(t, eventstream.MessageTypeInternalError, told.Message.Type)
}

// startServer serves the interop service on l until the test ends.
func startServer(t *testing.T, s *eventstream.Server, l net.Listener) {
	t.Helper()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		assert.NoError(t, s.Close())
		assert.ErrorIs(t, await(t, served, "Serve"), eventstream.ErrServerClosed)
	})
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	require.NoError(t, err)
	return l
}

// serviceAt is a service behind an address.
func serviceAt(network, address string) service {
	return service{
		dial: func(ctx context.Context, opts *eventstream.Options) (*eventstream.ClientConn, error) {
			return eventstream.Dial(ctx, network, address, opts)
		},
		raw: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
}

func TestServiceTCP(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	startServer(t, eventstreamtest.New(), l)
	checkService(t, serviceAt("tcp", l.Addr().String()))
}

func TestServiceUnix(t *testing.T) {
	l := listen(t, "unix", t.TempDir()+"/s")
	startServer(t, eventstreamtest.New(), l)
	checkService(t, serviceAt("unix", l.Addr().String()))
}

// TestServicePipe runs over net.Pipe, where a write waits for the other end to read it.
func TestServicePipe(t *testing.T) {
	s := eventstreamtest.New()
	var conns sync.WaitGroup
	t.Cleanup(func() { assert.NoError(t, s.Close()); conns.Wait() })
	raw := func(context.Context) (net.Conn, error) {
		client, server := net.Pipe()
		conns.Go(func() { _ = s.ServeConn(context.Background(), server) })
		return client, nil
	}
	checkService(t, service{
		dial: func(ctx context.Context, opts *eventstream.Options) (*eventstream.ClientConn, error) {
			conn, _ := raw(ctx)
			return eventstream.NewClient(ctx, conn, opts)
		},
		raw: raw,
	})
}
