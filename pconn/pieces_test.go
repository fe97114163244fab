package pconn_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
	"github.com/packetstream/packetstream/pconn"
)

// piece is the bytes of a PIECE of a payload of total bytes.
func piece(tag uint64, response bool, total int, part string) []byte {
	flags := uint64(total) << 1
	if response {
		flags |= frame.FlagResponse
	}
	return frameOf(frame.KindPiece, tag, flags, []byte(part))
}

func rejection(tag uint64) packet.Packet { return packet.Packet{Tag: tag, Payload: []byte("no")} }

func TestPayloadsInPieces(t *testing.T) {
	p := extended(t, serve(mirror))
	md := (&frame.Headers{Metadata: metadata("k", "v")}).Append(nil)
	p.write(frameOf(frame.KindHeaders, 5, 0, md))
	p.write(piece(5, false, 8, "abc"))
	p.write(piece(6, false, 4, "xy"))
	p.write(request(7, 1, "between"))
	p.write(piece(5, false, 8, "def"))
	p.expectFrame(frame.KindHeaders)
	p.expectResponse(7, true, "between")
	p.write(request(5, 1, "gh"))
	f, err := frame.ParseHeaders(p.expectFrame(frame.KindHeaders).Payload)
	require.NoError(t, err)
	require.Equal(t, []frame.Pair(metadata("k", "v", "seen", "yes")), f.Metadata)
	p.expectResponse(5, true, "abcdefgh")
	p.write(request(6, 1, "zz"))
	p.expectFrame(frame.KindHeaders)
	p.expectResponse(6, true, "xyzz")

	for _, into := range [][]byte{nil, make([]byte, 3), make([]byte, 100)} {
		out := begin(func() (pconn.Response, error) {
			return p.conn.DoInto(context.Background(), into, pconn.Request{Type: 1})
		})
		tag := p.expectRequest(1, "")
		p.write(frameOf(frame.KindHeaders, tag, frame.FlagResponse, md))
		p.write(piece(tag, true, 9, "one "))
		p.write(piece(tag, true, 9, "two"))
		p.write(response(tag, " 3"))
		got := receiveFrom(t, out)
		require.NoError(t, got.err)
		require.Equal(t, "one two 3", string(got.resp.Payload))
		require.Equal(t, "v", got.resp.Metadata.Text("k"))
	}
}

// A call in pieces that is given up leaves nothing behind, on either side.
func TestPiecesOfWhatWasGivenUp(t *testing.T) {
	p := extended(t, serve(mirror))
	for i := range uint64(1000) {
		p.write(piece(100+i, false, 1<<20, "begun"))
		p.write(frameOf(frame.KindCancel, 100+i, 0, nil))
	}
	for range 100 {
		ctx, cancel := context.WithCancel(context.Background())
		out := do(ctx, p.conn, pconn.Request{Type: 1})
		tag := p.expectRequest(1, "")
		p.write(piece(tag, true, 1<<20, "begun"))
		// An answer says that the piece was taken.
		p.write(request(tag, 2, ""))
		p.expectFrame(frame.KindHeaders)
		p.expectResponse(tag, true, "")
		cancel()
		require.Equal(t, context.Canceled, receiveFrom(t, out).err)
		require.Equal(t, tag, p.expectFrame(frame.KindCancel).Tag)
		p.write(piece(tag, true, 1<<20, "late"))
	}
	eventually(t, "late pieces are dropped", func() bool { return p.conn.Counters().LatePieces.Load() == 100 })
	require.EqualValues(t, 1000, p.conn.Counters().CancelsIn.Load())
	require.NoError(t, p.conn.Err())
}

func TestPiecesOverTheMaximum(t *testing.T) {
	opts := serve(mirror)
	opts.MaxPayload = 10
	p := extended(t, opts)
	p.write(piece(5, false, 11, "abc"))
	p.write(request(5, 1, strings.Repeat("x", 8)))
	p.expectFrame(frame.KindHeaders)
	p.expectResponse(5, false, "pconn: request payload, bytes: 11 is over the limit of 10")
	out := do(context.Background(), p.conn, pconn.Request{Type: 1})
	tag := p.expectRequest(1, "")
	p.write(piece(tag, true, 11, "abc"))
	p.write(response(tag, strings.Repeat("x", 8)))
	var limit *pconn.LimitError
	require.ErrorAs(t, receiveFrom(t, out).err, &limit)
	require.EqualValues(t, 11, limit.Value)
	p.write(request(6, 1, "good"))
	p.expectFrame(frame.KindHeaders)
	p.expectResponse(6, true, "good")
}

func TestBadPiecesEndTheConnection(t *testing.T) {
	for name, f := range map[string][][]byte{
		"another size":     {piece(5, false, 10, "abc"), piece(5, false, 11, "abc")},
		"past the size":    {piece(5, false, 5, "abc"), piece(5, false, 5, "abc")},
		"a short packet":   {piece(5, false, 5, "abc"), request(5, 1, "x")},
		"a packet past it": {piece(5, false, 5, "abc"), request(5, 1, "xyz")},
	} {
		p := extended(t, serve(mirror))
		for _, b := range f {
			p.write(b)
		}
		var perr *pconn.ProtocolError
		within(t, func() { require.ErrorAs(t, p.conn.Wait(), &perr, name) })
	}
}

// Memory for payloads that never come whole is bounded, by their number and by what they claim.
func TestTooManyPieces(t *testing.T) {
	for what, total := range map[string]int{"payloads in pieces": 10, "payloads in pieces, bytes": 8 << 20} {
		p := extended(t, serve(mirror))
		for i := range uint64(65) {
			if p.tryWrite(piece(100+i, false, total, "x")) != nil {
				break
			}
		}
		var limit *pconn.LimitError
		within(t, func() { require.ErrorAs(t, p.conn.Wait(), &limit) })
		require.Equal(t, what, limit.What)
	}
}
