package eventstream_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/rpc/eventstream"
)

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
