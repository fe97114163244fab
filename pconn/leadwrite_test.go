package pconn_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet/frame"
	"github.com/packetstream/packetstream/pconn"
)

// leadBlock is what the peer of a Write that receives allows at a time: less than a pipe holds.
const leadBlock = 32 << 10

var endedWrites = waysToEnd{
	"a deadline passes": {func(_ *rawPeer, s *pconn.Stream) { _ = s.SetWriteDeadline(time.Now()) }, os.ErrDeadlineExceeded},
	"a deadline to come": {func(_ *rawPeer, s *pconn.Stream) {
		_ = s.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	}, os.ErrDeadlineExceeded},
	"Close":                  {func(_ *rawPeer, s *pconn.Stream) { s.Close() }, net.ErrClosed},
	"CloseWrite":             {func(_ *rawPeer, s *pconn.Stream) { _ = s.CloseWrite() }, net.ErrClosed},
	"Reset":                  {func(_ *rawPeer, s *pconn.Stream) { s.Reset(7) }, &pconn.StreamError{}},
	"the peer wants no more": {func(p *rawPeer, _ *pconn.Stream) { p.sendFrame(frame.KindStop, 1, frame.FlagReceivers, nil) }, &pconn.StreamError{}},
	"the peer resets":        {func(p *rawPeer, _ *pconn.Stream) { p.sendFrame(frame.KindReset, 1, frame.FlagReceivers, nil) }, &pconn.StreamError{}},
}

// writeThatReceives is a raw peer for which a Write of stream 1 waits to be allowed to send its last block, and receives for
// that. Its result follows, and then those of others, of a block each, up to an error.
func writeThatReceives(t *testing.T) (*rawPeer, *pconn.Stream, <-chan error) {
	return thatReceives(t, "(*Stream).receiveCredit", writes)
}

// writes is a raw peer whose stream 1 has Writes at work one after another. goOn allows some of them to end.
func writes(t *testing.T) (p *rawPeer, s *pconn.Stream, results <-chan error, goOn func()) {
	p = rawPipes(t, &pconn.Options{Handler: pconn.HandlerFunc(echo)})
	p.extended(frame.Hello{MaxStreams: 9, StreamCredit: leadBlock})
	s, err := p.conn.OpenStream(soon(t), "", nil)
	require.NoError(t, err)
	p.expectStream(frame.KindOpen, 1, 0)
	block := pattern(leadBlock)
	wrote := make(chan error, 1)
	t.Cleanup(func() { go drained(wrote) })
	go func() {
		defer close(wrote)
		for err := error(nil); err == nil; {
			_, err = s.Write(block)
			wrote <- err
		}
	}()
	p.expectBlock()
	require.NoError(t, receiveFrom(t, wrote))
	return p, s, wrote, func() {
		for range 64 {
			p.allow(leadBlock)
			p.expectBlock()
			require.NoError(t, receiveFrom(t, wrote))
		}
	}
}

// drained takes what is left of results, of which there are more until the connection ends.
func drained(results <-chan error) {
	for range results {
	}
}

// expectBlock takes DATA of stream 1 of the connection, a block of it.
func (p *rawPeer) expectBlock() {
	p.t.Helper()
	var block []byte
	for len(block) < leadBlock {
		got := p.read()
		require.True(p.t, got.Channel == frame.Channel && frame.Kind(got.Type-1) == frame.KindData && got.Tag == 1)
		block = append(block, got.Payload...)
	}
	require.True(p.t, bytes.Equal(pattern(leadBlock), block))
}

// allow sends a CREDIT for stream 1 of the connection.
func (p *rawPeer) allow(n uint64) {
	p.t.Helper()
	p.sendFrame(frame.KindCredit, 1, n<<1|frame.FlagReceivers, nil)
}

func TestEndsOfAWriteThatReceives(t *testing.T) { endAll(t, writeThatReceives, endedWrites) }

func TestWriteThatReceivesGoesOn(t *testing.T) {
	for name, between := range map[string]func(t *testing.T, p *rawPeer, s *pconn.Stream){
		"nothing": func(*testing.T, *rawPeer, *pconn.Stream) {},
		"a request of the peer's": func(_ *testing.T, p *rawPeer, _ *pconn.Stream) {
			p.write(request(50, 1, "beside it"))
			p.expectResponse(50, true, "beside it")
		},
		"a call": func(t *testing.T, p *rawPeer, _ *pconn.Stream) {
			called := do(context.Background(), p.conn, pconn.Request{Type: 3})
			p.write(response(p.expectRequest(3, ""), "answer"))
			require.NoError(t, receiveFrom(t, called).err)
		},
		"data the other way": func(t *testing.T, p *rawPeer, s *pconn.Stream) {
			p.sendFrame(frame.KindData, 1, frame.FlagReceivers, []byte("data"))
			b := make([]byte, 9)
			n, err := s.Read(b)
			require.NoError(t, err)
			require.Equal(t, "data", string(b[:n]))
		},
		"half a frame": func(_ *testing.T, p *rawPeer, _ *pconn.Stream) {
			p.write(frameBytes(frame.KindCredit, 1, leadBlock<<1|frame.FlagReceivers, nil)[:3])
			p.write(frameBytes(frame.KindCredit, 1, leadBlock<<1|frame.FlagReceivers, nil)[3:])
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, s, wrote := writeThatReceives(t)
			between(t, p, s)
			p.allow(leadBlock)
			p.expectBlock()
			require.NoError(t, receiveFrom(t, wrote))
		})
	}
}

// Between two Writes of a stream that receives for itself nobody does: who waits for an answer then does not wait for the
// next Write.
func TestCallBetweenWritesThatReceive(t *testing.T) {
	p, _, wrote := writeThatReceives(t)
	p.allow(2 * leadBlock)
	p.expectBlock()
	p.expectBlock()
	called := do(context.Background(), p.conn, pconn.Request{Type: 3})
	p.write(response(p.expectRequest(3, ""), "answer"))
	require.NoError(t, receiveFrom(t, called).err)
	p.write(request(50, 1, "and back"))
	p.expectResponse(50, true, "and back")
	require.NoError(t, receiveFrom(t, wrote))
}

// A CREDIT that is wrong is found by whoever receives.
func TestBadCreditForAWriteThatReceives(t *testing.T) {
	for name, bad := range map[string]struct {
		b    []byte
		want string
	}{
		"of nothing":     {frameBytes(frame.KindCredit, 1, frame.FlagReceivers, nil), "CREDIT of 0 bytes"},
		"with a payload": {frameBytes(frame.KindCredit, 1, leadBlock<<1|frame.FlagReceivers, []byte("x")), "with a payload"},
		"of no stream":   {frameBytes(frame.KindCredit, 9, leadBlock<<1|frame.FlagReceivers, nil), "never opened"},
	} {
		t.Run(name, func(t *testing.T) {
			p, _, wrote := writeThatReceives(t)
			p.write(bad.b)
			require.Error(t, receiveFrom(t, wrote))
			p.expectViolation(bad.want)
		})
	}
}
