package prpc_test

import (
	"encoding/hex"
	"io"
	"net"
	"testing"
	"time"

	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/rpc/prpc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A stranger can speak the framing: a length of four bytes before each message,
// and length 0 with a code to close.
func TestByteStreamFraming(t *testing.T) {
	ours, theirs := net.Pipe()
	carrier := prpc.NewByteStream(ours, 100)
	sent := make(chan error, 1)
	go func() { sent <- carrier.Send([][]byte{{1, 2, 3}, {4}}) }()
	got := make([]byte, 12)
	_, err := io.ReadFull(theirs, got)
	require.NoError(t, err)
	require.NoError(t, <-sent)
	assert.Equal(t, "000000030102030000000104", hex.EncodeToString(got))

	go func() { _, _ = theirs.Write([]byte{0, 0, 0, 2, 8, 9, 0, 0, 0, 0, 0x03, 0xea}) }()
	message, err := carrier.Receive()
	require.NoError(t, err)
	assert.Equal(t, []byte{8, 9}, message)
	_, err = carrier.Receive()
	assert.Equal(t, &prpc.CloseError{Code: 1002}, err)
	closed := make(chan error, 1)
	go func() { closed <- carrier.Close(prpc.CloseNormal) }()
	rest, err := io.ReadAll(theirs)
	require.NoError(t, err)
	assert.Equal(t, "0000000003e8", hex.EncodeToString(rest))
	require.NoError(t, <-closed)
	require.NoError(t, carrier.Close(prpc.CloseNormal), "closing again")
}

func TestByteStreamBadInput(t *testing.T) {
	for name, row := range map[string]struct {
		input string
		want  error
	}{
		"too large":      {"00000065", prpc.ErrTooLarge},
		"huge":           {"ffffffff", prpc.ErrTooLarge},
		"end":            {"", io.EOF},
		"short header":   {"0000", io.ErrUnexpectedEOF},
		"short message":  {"0000000501", io.ErrUnexpectedEOF},
		"missing":        {"00000005", io.ErrUnexpectedEOF},
		"missing code":   {"00000000", io.ErrUnexpectedEOF},
		"half of a code": {"0000000003", io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			carrier := prpc.NewByteStream(ours, 100)
			input, err := hex.DecodeString(row.input)
			require.NoError(t, err)
			go func() {
				_, _ = theirs.Write(input)
				_ = theirs.Close()
			}()
			_, err = carrier.Receive()
			require.ErrorIs(t, err, row.want)
			_ = carrier.Close(prpc.CloseProtocol)
		})
	}
}

// A connection over TCP, closed by either end, tells the other why.
func TestByteStreamConn(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	for _, serverCloses := range []bool{false, true} {
		accepted := make(chan net.Conn, 1)
		go func() {
			conn, err := listener.Accept()
			if err == nil {
				accepted <- conn
			}
		}()
		dialed, err := net.Dial("tcp", listener.Addr().String())
		require.NoError(t, err)
		methods, err := prpc.NewTree(prpc.Tree{"echo": func(b []byte) []byte { return b }})
		require.NoError(t, err)
		c, s := join(t, prpc.NewByteStream(dialed, 0), prpc.NewByteStream(<-accepted, 0), nil, &prpc.Options{Methods: methods})
		for _, size := range []int{0, 10, 100_000, 4_000_000} {
			got, err := prpc.Invoke[[]byte](t.Context(), c, "echo", make([]byte, size))
			require.NoError(t, err)
			assert.Len(t, got, size)
		}
		one, other := c, s
		if serverCloses {
			one, other = s, c
		}
		require.NoError(t, one.Close())
		<-other.Done()
		var closed *prpc.CloseError
		require.ErrorAs(t, other.Err(), &closed)
		assert.Equal(t, prpc.CloseNormal, closed.Code)
	}
}

// A peer that neither reads nor closes does not keep Close from returning.
func TestByteStreamCloseIsBounded(t *testing.T) {
	ours, theirs := net.Pipe()
	defer func() { _ = theirs.Close() }()
	carrier := prpc.NewByteStream(ours, 0)
	sent := make(chan error, 1)
	go func() { sent <- carrier.Send([][]byte{{1}}) }()
	_, err := io.ReadFull(theirs, make([]byte, 1)) // the write is under way
	require.NoError(t, err)
	require.NoError(t, carrier.Close(prpc.CloseNormal))
	require.Error(t, <-sent)

	ours, silent := net.Pipe()
	defer func() { _ = silent.Close() }()
	start := time.Now()
	_ = prpc.NewByteStream(ours, 0).Close(prpc.CloseNormal)
	assert.Less(t, time.Since(start), 5*time.Second)
}

// Over the pipes of a subprocess, which is this program again.
func TestSubprocess(t *testing.T) {
	conn := childtest.Connect(t, childtest.Command(serveStdio))
	methods, err := prpc.NewTree(prpc.Tree{"add": func(a, b int) int { return a + b }})
	require.NoError(t, err)
	c, err := prpc.Connect(t.Context(), prpc.NewByteStream(conn, 0), &prpc.Options{Methods: methods})
	require.NoError(t, err)
	sum, err := prpc.Invoke[int](t.Context(), c, "util.call_back", "add", 2, 3)
	require.NoError(t, err)
	assert.Equal(t, 5, sum)
	require.NoError(t, c.Close())
}
