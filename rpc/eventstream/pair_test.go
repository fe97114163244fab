package eventstream_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/rpc/eventstream"
)

var connect = rawMessage(eventstream.Message{Type: eventstream.MessageTypeConnect}, 0, "")

// pair connects a client to a server inside a bubble of synctest.
func pair(t *testing.T, s *eventstream.Server, opts *eventstream.Options) (c *eventstream.ClientConn, ended <-chan error) {
	t.Helper()
	client, ended := serve(t, s)
	c, err := eventstream.NewClient(t.Context(), client, opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(); <-c.Done() })
	return c, ended
}

func handle(operation string, f eventstream.HandlerFunc) *eventstream.Server {
	mux := eventstream.NewMux()
	mux.Handle(operation, f)
	return &eventstream.Server{Handler: mux}
}

// connectOver connects a client to a server over a transport with deadlines or one without.
func connectOver(t *testing.T, transport string, s *eventstream.Server) *eventstream.ClientConn {
	t.Helper()
	var c *eventstream.ClientConn
	var err error
	if transport == "tcp" {
		l := listen(t, "tcp", "127.0.0.1:0")
		startServer(t, s, l)
		c, err = eventstream.Dial(t.Context(), "tcp", l.Addr().String(), nil)
	} else {
		client, ended := serve(t, s)
		t.Cleanup(func() { _ = s.Close(); await(t, ended, "ServeConn") })
		c, err = eventstream.NewClient(t.Context(), client, nil)
	}
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(); <-c.Done() })
	return c
}
