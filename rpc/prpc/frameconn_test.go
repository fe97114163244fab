package prpc

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"testing"

	"github.com/packetstream/packetstream/bufio"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// socketPair returns a server's frameConn on a socket with little room, and the client's end of it.
func socketPair(t *testing.T) (*frameConn, *net.TCPConn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	client, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	server, err := listener.Accept()
	require.NoError(t, err)
	require.NoError(t, server.(*net.TCPConn).SetWriteBuffer(4<<10))
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
	})
	return newFrameConn(server, bufio.NewInput(server), bufio.NewOutput(server), true), client.(*net.TCPConn)
}

// readFrames returns the payloads of all frames up to the end.
func readFrames(t *testing.T, r io.Reader) (payloads []string) {
	t.Helper()
	in := bufio.NewInput(r)
	for {
		h, err := peekFrame(in)
		if err == io.EOF {
			return payloads
		}
		require.NoError(t, err)
		require.NoError(t, in.Skip(int64(h.size)))
		payload, err := in.Take(int(h.length))
		require.NoError(t, err)
		payloads = append(payloads, string(payload))
	}
}

// A control frame does not get into a message that the socket has taken a part of.
func TestControlFrameBehindAPartOfAMessage(t *testing.T) {
	c, client := socketPair(t)
	message := bytes.Repeat([]byte{'m'}, 3000)
	sent := 1
	for c.trySend(message) {
		sent++
	}
	_, err := c.Write([]byte{0x8a, 1, 'p'})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		err := c.send([][]byte{message})
		_ = c.Close()
		done <- err
	}()
	payloads := readFrames(t, client)
	require.NoError(t, <-done)
	assert.Len(t, payloads, sent+2)
	assert.Equal(t, "p", payloads[sent])
}

// A message that must not wait does not wait for a control frame that is stuck.
func TestTrySendBehindAStuckControlFrame(t *testing.T) {
	c, client := socketPair(t)
	stuck := make(chan error, 1)
	control := appendFrame(nil, make([]byte, 16<<20), nil) // more than any socket takes
	go func() {
		_, err := c.Write(control)
		stuck <- err
	}()
	for len(c.writing) > 0 {
		runtime.Gosched() // until the write has begun; the test's time limit ends it
	}
	assert.False(t, c.trySend([]byte("message")))
	done := make(chan error, 1)
	go func() {
		err := c.send(nil)
		_ = c.Close()
		done <- err
	}()
	payloads := readFrames(t, client)
	require.NoError(t, <-stuck)
	require.NoError(t, <-done)
	require.Len(t, payloads, 2)
	assert.Equal(t, "message", payloads[1])
}

// A portion is half of what comes between two waits, within its bounds.
func TestPortion(t *testing.T) {
	var frames []byte
	for range 200 {
		frames = appendFrame(frames, []byte("message"), nil)
	}
	c := newFrameConn(io.NopCloser(nil), bufio.InputBytes(frames), bufio.NewOutput(io.Discard), false)
	c.beforeWait(func() {})
	s := &session{lender: &wsCarrier{frames: c}}
	assert.Equal(t, minPortion, s.portion())
	for _, step := range []struct {
		messages int
		waits    bool // before them
		want     int
	}{
		{10, false, minPortion},
		{40, false, 25},
		{50, false, maxPortion},
		{1, true, maxPortion}, // a hundred came before
		{44, true, 22},
		{1, true, 22},
		{1, true, minPortion},
	} {
		if step.waits {
			c.aboutToWait()
		}
		for range step.messages {
			_, lent, err := c.receive(100)
			require.NoError(t, err)
			require.True(t, lent)
			c.giveBack()
		}
		assert.Equal(t, step.want, s.portion(), "%+v", step)
	}
	assert.Equal(t, minPortion, (&session{}).portion())
}
