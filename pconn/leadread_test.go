package pconn_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet/frame"
	"github.com/packetstream/packetstream/pconn"
)

// tries is how many connections are made for one on which a call comes to receive.
const tries = 20

// waitsSoon does something again and again until a goroutine waits for input in a function, and reports whether one does. Whether
// a stream's calls come to receive depends on who is there first, and on how busy the machine is: who was seen to be kept from
// its next call is tried again after many calls only, so that another connection gets there sooner.
func waitsSoon(function string, do func()) bool {
	buf := make([]byte, 1<<20)
	for end := time.Now().Add(patience / tries); time.Now().Before(end); {
		do()
		for range 20 {
			for stack := range bytes.SplitSeq(buf[:runtime.Stack(buf, true)], []byte("\n\n")) {
				if bytes.Contains(stack, []byte(function)) && bytes.Contains(stack, []byte("(*Conn).awaitInput")) {
					return true
				}
			}
		}
	}
	return false
}

// thatReceives returns what start made, whose call receives once it has gone on for a while, and the results of that and of those
// that follow.
func thatReceives(t *testing.T, function string, start func(*testing.T) (*rawPeer, *pconn.Stream, <-chan error, func())) (*rawPeer, *pconn.Stream, <-chan error) {
	t.Helper()
	for range tries {
		p, s, results, goOn := start(t)
		if waitsSoon(function, goOn) {
			return p, s, results
		}
		p.conn.Close()
		drained(results)
	}
	require.FailNow(t, function+" does not wait")
	return nil, nil, nil
}

// waysToEnd are ways in which a call on a stream may end that waits and receives for that.
type waysToEnd map[string]struct {
	do   func(p *rawPeer, s *pconn.Stream)
	want error
}

// endedReads are those of a Read. None of them ends the connection.
var endedReads = waysToEnd{
	"a deadline passes": {func(_ *rawPeer, s *pconn.Stream) { _ = s.SetReadDeadline(time.Now()) }, os.ErrDeadlineExceeded},
	"a deadline to come": {func(_ *rawPeer, s *pconn.Stream) {
		_ = s.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	}, os.ErrDeadlineExceeded},
	"Close":           {func(_ *rawPeer, s *pconn.Stream) { s.Close() }, net.ErrClosed},
	"CloseRead":       {func(_ *rawPeer, s *pconn.Stream) { _ = s.CloseRead() }, net.ErrClosed},
	"Reset":           {func(_ *rawPeer, s *pconn.Stream) { s.Reset(7) }, &pconn.StreamError{}},
	"the peer ends":   {func(p *rawPeer, _ *pconn.Stream) { p.sendFrame(frame.KindEnd, 1, 0, nil) }, io.EOF},
	"the peer resets": {func(p *rawPeer, _ *pconn.Stream) { p.sendFrame(frame.KindReset, 1, 0, nil) }, &pconn.StreamError{}},
}

// endedConns end the connection.
var endedConns = waysToEnd{
	"the connection closes": {func(p *rawPeer, _ *pconn.Stream) { go p.conn.Close() }, pconn.ErrClosed},
	"the peer is gone":      {func(p *rawPeer, _ *pconn.Stream) { _ = p.out.Close() }, pconn.ErrPeerClosed},
	"the peer says EOF":     {func(p *rawPeer, _ *pconn.Stream) { _ = p.tryWrite(eof) }, pconn.ErrPeerClosed},
	"what is no packet":     {func(p *rawPeer, _ *pconn.Stream) { _ = p.tryWrite(bytes.Repeat([]byte{0xff}, 20)) }, &pconn.ProtocolError{}},
}

// expectError checks an error against one of waysToEnd.
func expectError(t testing.TB, err, want error) {
	t.Helper()
	switch want.(type) {
	case *pconn.StreamError:
		require.ErrorAs(t, err, new(*pconn.StreamError))
	case *pconn.ProtocolError:
		require.ErrorAs(t, err, new(*pconn.ProtocolError))
	default:
		require.ErrorIs(t, err, want)
	}
}

// leadFrame is how much a Read that receives asks for, and comes in one frame.
const leadFrame = 60_000

// readThatReceives is a raw peer whose stream 1 has a Read at work that waits, and receives for that. Its result follows,
// and then those of others, up to an error.
func readThatReceives(t *testing.T) (*rawPeer, *pconn.Stream, <-chan error) {
	return thatReceives(t, "(*Stream).receiveHere", reads)
}

// reads is a raw peer whose stream 1 has Reads at work one after another. goOn has some of them end.
func reads(t *testing.T) (p *rawPeer, s *pconn.Stream, results <-chan error, goOn func()) {
	p, s = rawBulk(t, pconn.HandlerFunc(echo))
	want := pattern(leadFrame)
	data := frameBytes(frame.KindData, 1, 0, want)
	read := make(chan error, 1)
	t.Cleanup(func() { go drained(read) })
	go func() {
		defer close(read)
		for buf, err := make([]byte, leadFrame), error(nil); err == nil; {
			if _, err = io.ReadFull(s, buf); err == nil && !bytes.Equal(buf, want) {
				err = errors.New("not what was sent")
			}
			read <- err
		}
	}()
	return p, s, read, func() {
		for range 32 { // one leads that has waited for what comes and got all of it
			p.write(data)
			require.NoError(t, receiveFrom(t, read))
		}
	}
}

// endAll has a call at work that receives, as start makes one, end in each of the ways, after which all else goes on, and in
// those that end the connection.
func endAll(t *testing.T, start func(*testing.T) (*rawPeer, *pconn.Stream, <-chan error), ways waysToEnd) {
	for name, end := range ways {
		t.Run(name, func(t *testing.T) {
			p, s, results := start(t)
			end.do(p, s)
			expectError(t, receiveFrom(t, results), end.want)
			p.write(request(50, 1, "goes on"))
			p.skipToResponse(50)
			require.NoError(t, p.conn.Err())
		})
	}
	for name, end := range endedConns {
		t.Run(name, func(t *testing.T) {
			p, s, results := start(t)
			end.do(p, s)
			expectError(t, receiveFrom(t, results), end.want)
			receiveFrom(t, p.conn.Done())
		})
	}
}

// skipToResponse passes over frames up to the response with a tag.
func (p *rawPeer) skipToResponse(tag uint64) {
	p.t.Helper()
	for got := p.read(); got.Tag != tag || got.Channel != 0; got = p.read() {
	}
}

func TestEndsOfAReadThatReceives(t *testing.T) { endAll(t, readThatReceives, endedReads) }

func TestReadThatReceivesGoesOn(t *testing.T) {
	p, s, read := readThatReceives(t)
	p.write(request(50, 1, "beside it"))
	p.skipToResponse(50)
	data := frameBytes(frame.KindData, 1, 0, pattern(leadFrame))
	p.write(data[:2]) // of the header
	p.write(data[2:30_000])
	p.write(data[30_000:])
	require.NoError(t, receiveFrom(t, read))

	// What a deadline has ended goes on behind it.
	require.NoError(t, s.SetReadDeadline(time.Now()))
	require.ErrorIs(t, receiveFrom(t, read), os.ErrDeadlineExceeded)
	require.NoError(t, s.SetReadDeadline(time.Time{}))
	p.write(data)
	got := make([]byte, leadFrame)
	_, err := io.ReadFull(s, got)
	require.NoError(t, err)
	require.True(t, bytes.Equal(pattern(leadFrame), got))
}
