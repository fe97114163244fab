package eventstream_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/rpc/eventstream"
)

// TestSubprocess talks to a server on a child's standard input and output.
func TestSubprocess(t *testing.T) {
	conn := childtest.Connect(t, childtest.Command("serve"))
	c, err := eventstream.NewClient(t.Context(), conn, nil)
	require.NoError(t, err)
	m, err := c.Call(t.Context(), "interop#Echo", text("through pipes"))
	require.NoError(t, err)
	assert.Equal(t, "through pipes", string(m.Payload))
	body := bytes.Repeat([]byte("x"), 1<<20)
	m, err = c.Call(t.Context(), "interop#Echo", &eventstream.Message{Payload: body})
	require.NoError(t, err)
	assert.True(t, bytes.Equal(body, m.Payload))
	require.NoError(t, c.Close())
}
