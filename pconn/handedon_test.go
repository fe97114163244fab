package pconn_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

// TestFiveConnectionsInOneBurst has the bytes of five connections, one after another, in one write, and
// hands the same input to each.
func TestFiveConnectionsInOneBurst(t *testing.T) {
	keepsDescriptors(t)
	toR, toW, err := os.Pipe()
	require.NoError(t, err)
	fromR, fromW, err := os.Pipe()
	require.NoError(t, err)
	defer func() {
		for _, f := range []*os.File{toR, toW, fromR, fromW} {
			f.Close()
		}
	}()
	var burst []byte
	for i := range uint64(5) {
		for tag := range uint64(3) {
			burst = append(burst, request(10+tag, i, fmt.Sprint(i, tag))...)
		}
		burst = append(burst, eof...)
	}
	_, err = toW.Write(append(burst, "left over"...))
	require.NoError(t, err)
	in := bufio.NewInput(toR)
	defer in.Close()
	answers := bufio.NewInput(fromR)
	defer answers.Close()
	for i := range uint64(5) {
		conn, err := pconn.New(in, bufio.NewOutput(fromW), serve(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
			assert.Equal(t, i, req.Type)
			return pconn.Bytes(req.Payload), nil
		}))
		require.NoError(t, err)
		if i%2 == 1 {
			_, err = conn.Do(soon(t), pconn.Request{}) // its peer is gone already, or about to be
			require.Error(t, err)
		}
		within(t, func() { require.NoError(t, conn.Wait()) })
		require.EqualValues(t, 4, conn.Counters().PacketsIn.Load())
		got := map[uint64]string{}
		for {
			p, err := packet.Read(answers, 1<<20)
			require.NoError(t, err)
			if p.Request && p.Type == 0 {
				break
			}
			if !p.Request {
				got[p.Tag] = string(p.Payload)
			}
		}
		require.Equal(t, map[uint64]string{10: fmt.Sprint(i, 0), 11: fmt.Sprint(i, 1), 12: fmt.Sprint(i, 2)}, got)
	}
	rest := make([]byte, 9)
	require.NoError(t, in.ReadFull(rest))
	require.Equal(t, "left over", string(rest))
}

// TestConnectionsAfterClose takes the input over from a connection that was closed in the middle of
// waiting.
func TestConnectionsAfterClose(t *testing.T) {
	in, out := bufio.Pipe(0)
	for i := range 5 {
		_, connOut := bufio.Pipe(0)
		conn, err := pconn.New(in, connOut, serve(echo))
		require.NoError(t, err)
		if i%2 == 0 {
			res := do(soon(t), conn, pconn.Request{})
			eventually(t, "the call is out", func() bool { return len(conn.InFlight()) == 1 })
			p := &rawPeer{t: t, out: out}
			p.write(response(2, "answered"))
			require.NoError(t, receiveFrom(t, res).err)
		}
		within(t, func() { require.NoError(t, conn.Close()) })
	}
	p := &rawPeer{t: t, out: out}
	p.write([]byte("x"))
	b, err := in.Peek(1)
	require.ErrorIs(t, err, bufio.ErrInterrupted, "whoever goes on reading resumes it")
	require.Empty(t, b)
	in.Resume()
	b, err = in.Peek(1)
	require.NoError(t, err)
	require.Equal(t, "x", string(b))
}

func TestDescriptorsThatWerePassedInStayOpen(t *testing.T) {
	keepsDescriptors(t)
	toR, toW, err := os.Pipe()
	require.NoError(t, err)
	fromR, fromW, err := os.Pipe()
	require.NoError(t, err)
	defer toR.Close()
	fd := func(f *os.File) int {
		var n int
		rc, err := f.SyscallConn()
		require.NoError(t, err)
		require.NoError(t, rc.Control(func(fd uintptr) { n = int(fd) }))
		return n
	}
	before := descriptors(t)
	in, err := bufio.InputFD(fd(toR))
	require.NoError(t, err)
	out, err := bufio.OutputFD(fd(fromW))
	require.NoError(t, err)
	conn, err := pconn.New(in, out, &pconn.Options{CloseInput: true})
	require.NoError(t, err)
	_, err = toW.Write(eof)
	require.NoError(t, err)
	within(t, func() { require.NoError(t, conn.Wait()) })
	require.Equal(t, before, descriptors(t), "what the connection opened is closed")
	// The owner's are open: there is no end of stream yet, and they can be used.
	_, err = fromW.Write([]byte("more"))
	require.NoError(t, err)
	require.NoError(t, fromW.Close())
	all, err := io.ReadAll(fromR)
	require.NoError(t, err)
	require.Equal(t, append(bytes.Clone(eof), "more"...), all)
	require.NoError(t, fromR.Close())
	require.NoError(t, toW.Close())
	n, err := toR.Read(make([]byte, 1))
	require.Zero(t, n)
	require.Equal(t, io.EOF, err)
}

func TestOutputIsClosedAsSoonAsEOFIsSent(t *testing.T) {
	p := rawPipes(t, nil)
	go p.conn.Shutdown(soon(t))
	p.expectEOF() // the end of the stream too, though the peer's EOF is missing
	require.NoError(t, p.conn.Err())
	p.write(eof)
	receiveFrom(t, p.conn.Done())
}

func TestCloseInput(t *testing.T) {
	for _, set := range []bool{true, false} {
		p := raw(t, &pconn.Options{CloseInput: set})
		p.write(eof)
		receiveFrom(t, p.conn.Done())
		err := p.tryWrite([]byte("more"))
		if set {
			require.ErrorIs(t, err, bufio.ErrPeerGone)
		} else {
			require.NoError(t, err)
		}
	}
}
