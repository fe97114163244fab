package prpc_test

import (
	"encoding/hex"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

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

// joined is the two pipes of a subprocess as one stream.
type joined struct {
	io.ReadCloser
	w io.WriteCloser
}

func (j joined) Write(b []byte) (int, error) { return j.w.Write(b) }

func (j joined) Close() error {
	_ = j.w.Close()
	return j.ReadCloser.Close()
}

// Over the pipes of a subprocess, which is this test again, started as a helper.
func TestSubprocess(t *testing.T) {
	if os.Getenv("PRPC_TEST_HELPER") != "" {
		helper(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestSubprocess$")
	cmd.Env = append(os.Environ(), "PRPC_TEST_HELPER=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	methods, err := prpc.NewTree(prpc.Tree{"add": func(a, b int) int { return a + b }})
	require.NoError(t, err)
	c, err := prpc.Connect(t.Context(), prpc.NewByteStream(joined{out, in}, 0), &prpc.Options{Methods: methods})
	require.NoError(t, err)
	sum, err := prpc.Invoke[int](t.Context(), c, "util.call_back", "add", 2, 3)
	require.NoError(t, err)
	assert.Equal(t, 5, sum)
	require.NoError(t, c.Close())
	require.NoError(t, cmd.Wait())
}

// helper serves the kit's services on its standard input and output.
func helper(t *testing.T) {
	carrier := prpc.NewByteStream(joined{os.Stdin, os.Stdout}, 0)
	c, err := prpc.Accept(t.Context(), carrier, &prpc.Options{Methods: testServices(t)})
	if err == nil {
		c.Wait()
	}
	os.Exit(0) // the test framework would print its result into the connection
}
