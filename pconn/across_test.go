package pconn_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet/frame"
	"github.com/packetstream/packetstream/pconn"
)

// longFlags makes a header as long as that of a large DATA of ours.
const longFlags = 1 << 61

// TestDataGoesInPieces has one Write leave as fast as it may.
func TestDataGoesInPieces(t *testing.T) {
	p := rawPipes(t, nil)
	p.extended(frame.Hello{MaxStreams: 1})
	l, err := p.conn.Listen("")
	require.NoError(t, err)
	p.sendFrame(frame.KindOpen, 1, 0, (&frame.Open{Credit: 1 << 20}).Append(nil))
	s, err := l.AcceptStream(soon(t))
	require.NoError(t, err)
	want := pattern(1 << 20)
	wrote := make(chan error, 1)
	go func() { _, err := s.Write(want); wrote <- err }()
	var got []byte
	for len(got) < len(want) {
		data := p.read()
		require.LessOrEqual(t, len(data.Payload), 32<<10)
		got = append(got, data.Payload...)
	}
	require.NoError(t, receiveFrom(t, wrote))
	require.True(t, bytes.Equal(want, got))
}

// TestReadsAcrossFrames has frames come of all sizes, in as few reads as the reader likes, with other things between, for
// one who reads large blocks and receives as long as there is nothing else.
func TestReadsAcrossFrames(t *testing.T) {
	const total = 24 << 20
	p, s := rawBulk(t, pconn.HandlerFunc(echo))
	want := pattern(total)
	requests := make(chan int, 1)
	wrote := make(chan error, 1)
	go func() {
		rnd := rand.New(rand.NewPCG(1, 2))
		asked := 0
		for rest := want; len(rest) > 0; {
			var b []byte
			even := rnd.IntN(4) > 0 // as a sender of bulk does it
			for range 16 {
				n, flags := 32<<10, uint64(longFlags)
				if !even {
					n = 1 + rnd.IntN([]int{100, 5000, 40_000, 70_000}[rnd.IntN(4)])
					flags *= uint64(rnd.IntN(2))
				}
				n = min(n, len(rest))
				if n == 0 {
					break
				}
				b = append(b, frameBytes(frame.KindData, 1, flags, rest[:n])...)
				rest = rest[n:]
				if rnd.IntN(100) == 0 {
					asked++
					b = append(b, request(uint64(asked), 1, "between")...)
				}
			}
			if err := p.tryWrite(b); err != nil {
				wrote <- err
				return
			}
		}
		requests <- asked
		wrote <- nil
	}()
	drained := make(chan int, 1)
	go func() {
		answers := 0
		for {
			got, err := p.tryRead()
			if err != nil {
				drained <- answers
				return
			}
			if got.Channel == 0 && !got.Request {
				answers++
			}
		}
	}()
	got := make([]byte, total)
	for n, size := 0, 0; n < total; n += size {
		var err error
		size, err = s.Read(got[n:min(total, n+100_000)])
		require.NoError(t, err)
	}
	require.NoError(t, receiveFrom(t, wrote))
	require.True(t, bytes.Equal(want, got))
	asked := receiveFrom(t, requests)
	eventually(t, "all are answered", func() bool { return p.conn.Counters().RequestsIn.Load() == uint64(asked) })
	require.NoError(t, p.conn.Close())
	require.Equal(t, asked, receiveFrom(t, drained))
}

// TestEndInsideTheNextFrame says where that began, though it came with the one before it.
func TestEndInsideTheNextFrame(t *testing.T) {
	p := rawPipes(t, nil)
	p.extended(frame.Hello{MaxStreams: 1})
	l, err := p.conn.Listen("")
	require.NoError(t, err)
	p.sendFrame(frame.KindOpen, 1, 0, (&frame.Open{Credit: 1}).Append(nil))
	s, err := l.AcceptStream(soon(t))
	require.NoError(t, err)
	before := p.conn.Counters().BytesIn.Load()
	data := frameBytes(frame.KindData, 1, longFlags, pattern(20_000))
	read := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(s, make([]byte, 50_000))
		read <- err
	}()
	p.write(append(data, data[:15_000]...))
	require.NoError(t, p.out.Close())
	err = receiveFrom(t, read)
	require.Error(t, err)
	receiveFrom(t, p.conn.Done())
	var perr *pconn.ProtocolError
	require.True(t, errors.As(p.conn.Err(), &perr), "%v", p.conn.Err())
	require.EqualValues(t, int(before)+len(data), perr.Offset)
}
