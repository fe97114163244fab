package eventstream_test

import (
	"context"
	"errors"
	"io"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/rpc/eventstream"
)

func TestErrorTexts(t *testing.T) {
	var f eventstream.Frame
	_, frame := eventstream.ParseFrame(rawFrame([]byte("\x01h\x0a"), nil), &f)
	violation := &eventstream.ViolationError{Reason: "malformed header", Err: frame}
	for want, err := range map[string]error{
		"eventstream: undefined header type: header 0: type 10":                                                    frame,
		"eventstream: RPC protocol error: malformed header: eventstream: undefined header type: header 0: type 10": violation,
		"eventstream: RPC protocol error: stream id gap":                                                           &eventstream.ViolationError{Reason: "stream id gap"},
		`eventstream: connection closed by the peer after PROTOCOL_ERROR: "x"`:                                     &eventstream.PeerError{Message: &eventstream.Message{Type: 6, Payload: []byte("x")}},
		`eventstream: application error: "x"`:                                                                      &eventstream.ApplicationError{Payload: []byte("x")},
		`eventstream: connection rejected: "x"`:                                                                    &eventstream.RejectedError{Message: &eventstream.Message{Payload: []byte("x")}},
		`eventstream: message ends early: 1 of 12 bytes of the prelude`:                                            parseError([]byte{0}),
		"eventstream: total length is below the smallest message: total length 0":                                  parseError(make([]byte, 16)),
	} {
		assert.EqualError(t, err, want)
	}
	assert.ErrorIs(t, violation, eventstream.ErrProtocol)
	assert.ErrorIs(t, violation, eventstream.ErrHeaderType)
	assert.Equal(t, "APPLICATION_ERROR", eventstream.MessageTypeApplicationError.String())
	assert.Equal(t, "message type 8", eventstream.MessageType(8).String())
}

func parseError(b []byte) error {
	var f eventstream.Frame
	_, err := eventstream.ParseFrame(b, &f)
	return err
}

// TestLostTransport keeps what the transport said.
func TestLostTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := newPipe()
		c, err := eventstream.NewConn(client, nil, nil)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.Equal(t, context.Canceled, c.Wait(ctx))
		server.reset(syscall.ECONNRESET)
		err = c.Wait(t.Context())
		require.ErrorIs(t, err, eventstream.ErrPeerClosed)
		require.ErrorIs(t, err, syscall.ECONNRESET)
		assert.Contains(t, err.Error(), "reset")
	})
}

// TestStreamIDs tells both ends' streams apart by the ids on the wire.
func TestStreamIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := handle("ID", func(ctx context.Context, s *eventstream.ServerStream) error {
			return s.Send(ctx, &eventstream.Message{Payload: []byte{byte(s.ID())}})
		})
		c, _ := pair(t, s, nil)
		for id := range byte(3) {
			st, err := c.OpenStream(t.Context(), "ID", nil)
			require.NoError(t, err)
			assert.EqualValues(t, id+1, st.ID())
			m, err := st.Recv(t.Context())
			require.NoError(t, err)
			assert.Equal(t, []byte{id + 1}, m.Payload)
			_, err = st.Recv(t.Context())
			assert.Equal(t, io.EOF, err)
		}
	})
}

// TestBadMessages are refused before anything is sent, and the connection and the stream live on.
func TestBadMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := &eventstream.Message{Headers: eventstream.Headers{eventstream.String("h", string(make([]byte, 40000)))}}
		ping := &eventstream.Message{Type: eventstream.MessageTypePing}
		errs := make(chan error, 4)
		refused := make(chan struct{})
		s := handle("Op", func(ctx context.Context, s *eventstream.ServerStream) error {
			errs <- s.Send(ctx, long)
			errs <- s.Send(ctx, ping)
			errs <- s.Conn().SendProtocolMessage(ctx, &eventstream.Message{Type: eventstream.MessageTypePing, Headers: long.Headers})
			errs <- s.Conn().Fail(&eventstream.Message{Type: eventstream.MessageTypeProtocolError, Headers: long.Headers})
			<-refused
			_, err := s.Recv(ctx)
			return errors.Join(err, s.Send(ctx, text("fine")))
		})
		c, _ := pair(t, s, nil)
		_, err := c.Call(t.Context(), "Op", long)
		require.ErrorIs(t, err, eventstream.ErrHeader)
		_, err = c.Call(t.Context(), "", nil)
		require.ErrorIs(t, err, eventstream.ErrOperation)
		_, err = c.Call(t.Context(), string(make([]byte, 40000)), nil)
		require.ErrorIs(t, err, eventstream.ErrHeader)
		st, err := c.OpenStream(t.Context(), "Op", nil)
		require.NoError(t, err)
		require.ErrorIs(t, st.Send(t.Context(), long), eventstream.ErrHeader)
		require.ErrorIs(t, st.Send(t.Context(), ping), eventstream.ErrMessageType)
		close(refused)
		m, err := st.Recv(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "fine", string(m.Payload))
		for _, want := range []error{eventstream.ErrHeader, eventstream.ErrMessageType, eventstream.ErrHeader, eventstream.ErrHeader} {
			require.ErrorIs(t, <-errs, want)
		}
	})
}
