package pconn_test

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

// nothingMore checks that the connection has nothing to say besides the answer to a request made now.
func (p *rawPeer) nothingMore(tag uint64) {
	p.t.Helper()
	p.write(request(tag, 77, "still there"))
	p.expectResponse(tag, true, "still there")
}

// TestTruncation cuts a valid stream at every byte. A cut between packets is an end in good order, any
// other a ProtocolError that says where.
func TestTruncation(t *testing.T) {
	packets := [][]byte{
		request(130, 200, "question"),
		response(2, "the answer to ours"),
		encode(packet.Packet{Tag: 7, Channel: 300, Flags: packet.MaxFlags, Request: true, Type: 1 << 40, Payload: pattern(40)}),
		request(131, 0, string(pattern(200))),
	}
	whole := bytes.Join(packets, nil)
	boundary := map[int]int{0: 0}
	at := 0
	for _, b := range packets {
		at += len(b)
		boundary[at] = at
	}
	for cut := range len(whole) + 1 {
		p := raw(t, serve(echo))
		r, err := p.conn.Submit(soon(t), pconn.Request{})
		require.NoError(t, err)
		p.expectRequest(0, "")
		p.write(whole[:cut])
		p.out.Close()
		answered := cut >= len(packets[0])+len(packets[1])
		_, err = r.Wait(soon(t))
		require.Equal(t, answered, err == nil, "cut at %d: %v", cut, err)
		if _, clean := boundary[cut]; clean {
			require.NoError(t, p.conn.Wait(), "cut at %d", cut)
			require.Equal(t, pconn.ErrPeerClosed, p.conn.Err())
			continue
		}
		var perr *pconn.ProtocolError
		require.ErrorAs(t, p.conn.Wait(), &perr, "cut at %d", cut)
		require.ErrorIs(t, perr, io.ErrUnexpectedEOF)
		start := 0
		for b := range boundary {
			if b <= cut {
				start = max(start, b)
			}
		}
		require.EqualValues(t, start, perr.Offset, "cut at %d", cut)
		require.NotEmpty(t, perr.Quote)
		require.Equal(t, whole[start], perr.Quote[0], "cut at %d", cut)
	}
}

func TestStreamsThatAreNoPackets(t *testing.T) {
	big := append(bytes.Repeat([]byte{0xff}, 9), 0x7f)                                             // 2^70-1
	n63 := packet.AppendUint(nil, 1<<63)                                                           // a length
	over := packet.AppendUint(nil, pconn.MaxPayload+3+1)                                           // one byte over 2 GiB
	long := append(bytes.Repeat([]byte{0x80}, packet.MaxNumber), 1)                                // over-long past all patience
	with := func(fields ...[]byte) []byte { return bytes.Join(append(fields, pattern(100)), nil) } // a header and what follows it
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"length 0":                   {[]byte{0}, packet.ErrFields},
		"length 1":                   {[]byte{1, 5}, packet.ErrFields},
		"no type":                    {[]byte{2, 5, 2}, packet.ErrFields},
		"no channel":                 {[]byte{2, 5, 1}, packet.ErrFields},
		"tag longer than the packet": {[]byte{1, 0x81, 0x81, 1}, packet.ErrFields},
		"length over 64 bits":        {with(big), packet.ErrOverflow},
		"length 2^63":                {with(n63, []byte{5, 2, 1}), packet.ErrLength},
		"length 2^64-1":              {with(packet.AppendUint(nil, math.MaxUint64), []byte{5, 2, 1}), packet.ErrLength},
		"over 2 GiB":                 {with(over, []byte{5, 2, 1}), packet.ErrLength},
		"tag over 64 bits":           {with([]byte{50}, big), packet.ErrOverflow},
		"flags over 64 bits":         {with([]byte{50, 5}, big), packet.ErrOverflow},
		"channel over 64 bits":       {with([]byte{50, 5, 3}, big), packet.ErrOverflow},
		"type over 64 bits":          {with([]byte{50, 5, 2}, big), packet.ErrOverflow},
		"endless length":             {long, packet.ErrOverlong},
		"endless tag":                {with([]byte{0x90, 0}, long), packet.ErrOverlong},
	} {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, first %v", name, first), func(t *testing.T) {
				p := raw(t, serve(echo))
				at := 0
				if !first {
					b := request(5, 1, "x")
					at = len(b)
					p.write(b)
					p.expectResponse(5, true, "x")
				}
				res := do(soon(t), p.conn, pconn.Request{})
				p.expectRequest(0, "")
				p.write(c.b) // the stream stays open: the error does not wait for more
				err := receiveFrom(t, res).err
				var perr *pconn.ProtocolError
				require.ErrorAs(t, err, &perr)
				require.ErrorIs(t, err, c.want)
				var format *packet.FormatError
				require.ErrorAs(t, err, &format)
				require.EqualValues(t, at, perr.Offset)
				require.Equal(t, c.b[:min(len(c.b), 8)], perr.Quote[:min(len(c.b), 8)])
				require.LessOrEqual(t, len(perr.Quote), 128)
				p.expectEOF()
			})
		}
	}
}

func TestLyingLengths(t *testing.T) {
	// The packet claims more than its fields: the rest is payload. It claims more than comes: the
	// stream ends inside of it. Neither takes memory that was not sent.
	p := raw(t, serve(echo))
	h := packet.Header{Tag: 5, Request: true, Type: 1, Size: 10 << 20}
	b, err := h.Append(nil)
	require.NoError(t, err)
	p.write(append(b, "short"...))
	p.out.Close()
	var perr *pconn.ProtocolError
	require.ErrorAs(t, p.conn.Wait(), &perr)
	require.ErrorIs(t, perr, io.ErrUnexpectedEOF)
	require.Contains(t, perr.Error(), "10485760")
	require.Contains(t, string(perr.Quote), "short")
}

// TestNobodyElseIsHurt has one call each that is too large, rejected, cancelled and late among many
// that go well.
func TestNobodyElseIsHurt(t *testing.T) {
	o := serve(echo)
	o.MaxPayload = 1000
	p := raw(t, o)
	var good []<-chan outcome
	var tags []uint64
	answers := 0
	next := func() uint64 { // the tag of our next request, past the answers to theirs
		for {
			got := p.read()
			if got.Request {
				return got.Tag
			}
			require.Equal(t, got.Tag == 7, got.Flags == 1)
			answers++
		}
	}
	submit := func() {
		good = append(good, do(soon(t), p.conn, pconn.Request{}))
		tags = append(tags, next())
	}
	submit()
	large := do(soon(t), p.conn, pconn.Request{})
	p.write(response(next(), string(pattern(2000))))
	submit()
	p.write(response(999, "unsolicited"))
	p.write(encode(packet.Packet{Tag: 5, Channel: 9, Request: true, Type: 1, Payload: pattern(2000)}))
	p.write(request(6, 1, string(pattern(2000))))
	p.write(request(7, 1, "fine"))
	submit()
	rejected := do(soon(t), p.conn, pconn.Request{})
	p.write(encode(packet.Packet{Tag: next(), Payload: []byte("no")}))
	for answers < 3 {
		got := p.read()
		require.False(t, got.Request)
		require.Equal(t, got.Tag == 7, got.Flags == 1)
		answers++
	}
	for i, tag := range tags {
		p.write(response(tag, fmt.Sprint(i)))
	}
	for i, res := range good {
		got := receiveFrom(t, res)
		require.NoError(t, got.err)
		require.Equal(t, fmt.Sprint(i), string(got.resp.Payload))
	}
	assert.Error(t, receiveFrom(t, large).err)
	assert.Error(t, receiveFrom(t, rejected).err)
	require.Empty(t, p.conn.InFlight())
}
