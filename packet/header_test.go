package packet_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/packetstream/packetstream/packet"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func header(p packet.Packet) packet.Header {
	return packet.Header{
		Channel: p.Channel, Tag: p.Tag, Flags: p.Flags, Type: p.Type,
		Request: p.Request, Size: int64(len(p.Payload)),
	}
}

// The header needs none of the payload, and every byte of itself.
func TestParseHeaderTruncatedAtEveryByte(t *testing.T) {
	for _, p := range samples() {
		wire := encode(t, p)
		want := header(p)
		for i := range len(wire) + 1 {
			h, n, err := packet.ParseHeader(wire[:i])
			if i < want.Len() {
				require.Equal(t, packet.ErrShort, err, "%x cut to %d", wire, i)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, want, h)
			require.Equal(t, want.Len(), n)
		}
	}
}

// Parse leaves nothing of what was in the header before, whatever comes of it.
func TestParseIntoAUsedHeader(t *testing.T) {
	used := packet.Header{Channel: 1, Tag: 2, Flags: 3, Type: 4, Request: true, Size: 5}
	for _, p := range samples() {
		wire := encode(t, p)
		want := header(p)
		for i := range len(wire) + 1 {
			h := used
			n, err := h.Parse(wire[:i])
			if i < want.Len() {
				require.Equal(t, packet.ErrShort, err)
				require.Zero(t, n)
				require.Zero(t, h)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, want.Len(), n)
			require.Equal(t, want, h)
		}
	}
	for _, wire := range [][]byte{{0}, {1, 2}, {2, 2, 1}, {2, 2, 2}, wireHeader(packet.MaxPayload+4, 2, 2, 1), wireHeader(math.MaxUint64)} {
		h := used
		_, err := h.Parse(wire)
		require.Error(t, err)
		require.Zero(t, h, "%x", wire)
	}
}

func TestParseHeaderNamesTheBadField(t *testing.T) {
	huge := bytes.Repeat([]byte{0xff}, 10)
	endless := bytes.Repeat([]byte{0x80}, packet.MaxNumber)
	join := bytes.Join
	cases := []struct {
		name  string
		wire  []byte
		field string
		err   error
	}{
		{"length over 64 bits", huge, "length", packet.ErrOverflow},
		{"length without end", endless, "length", packet.ErrOverlong},
		{"tag over 64 bits", join([][]byte{{100}, huge}, nil), "tag", packet.ErrOverflow},
		{"tag without end", join([][]byte{{0x84, 0}, endless}, nil), "tag", packet.ErrOverlong},
		{"flags over 64 bits", join([][]byte{{100, 2}, huge}, nil), "flags", packet.ErrOverflow},
		{"flags without end", join([][]byte{{0x84, 0, 2}, endless}, nil), "flags", packet.ErrOverlong},
		{"channel over 64 bits", join([][]byte{{100, 2, 1}, huge}, nil), "channel", packet.ErrOverflow},
		{"channel without end", join([][]byte{{0x84, 0, 2, 1}, endless}, nil), "channel", packet.ErrOverlong},
		{"type over 64 bits", join([][]byte{{100, 2, 2}, huge}, nil), "type", packet.ErrOverflow},
		{"type behind a channel", join([][]byte{{100, 2, 3, 1}, huge}, nil), "type", packet.ErrOverflow},
		{"type without end", join([][]byte{{0x84, 0, 2, 2}, endless}, nil), "type", packet.ErrOverlong},
		{"length 0", []byte{0}, "tag", packet.ErrFields},
		{"over-long length 0", []byte{0x80, 0x80, 0}, "tag", packet.ErrFields},
		{"a tag alone", []byte{1, 2}, "flags", packet.ErrFields},
		{"a tag cut by the length", []byte{1, 0x81, 5, 0}, "tag", packet.ErrFields},
		{"no channel", []byte{2, 2, 1}, "channel", packet.ErrFields},
		{"no type", []byte{2, 2, 2}, "type", packet.ErrFields},
		{"no type behind a channel", []byte{3, 2, 3, 5}, "type", packet.ErrFields},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, n, err := packet.ParseHeader(c.wire)
			requireField(t, err, c.field, c.err)
			require.Zero(t, n)
			require.Contains(t, err.Error(), "packet: bad "+c.field+": ")

			_, _, err = packet.Decode(c.wire)
			requireField(t, err, c.field, c.err)

			// It is found with the last octet of the bad field, not before and not later.
			_, _, err = packet.ParseHeader(c.wire[:len(c.wire)-1])
			if c.err != packet.ErrFields {
				require.Equal(t, packet.ErrShort, err)
			}
		})
	}
}

// wireHeader writes a header whose length says what the test wants it to say.
func wireHeader(length uint64, rest ...byte) []byte {
	return append(packet.AppendUint(nil, length), rest...)
}

func TestParseHeaderLongPayloads(t *testing.T) {
	const fields = 3 // tag, bits and type
	h, n, err := packet.ParseHeader(wireHeader(packet.MaxPayload+fields, 2, 2, 1))
	require.NoError(t, err)
	assert.Equal(t, int64(packet.MaxPayload), h.Size)
	assert.Equal(t, 8, n)

	for _, length := range []uint64{packet.MaxPayload + fields + 1, 1 << 32, 1 << 62, 1<<63 - 1, 1 << 63, 1<<63 + fields, math.MaxUint64} {
		_, _, err := packet.ParseHeader(wireHeader(length, 2, 2, 1))
		requireField(t, err, "length", packet.ErrLength)
		_, _, err = packet.Decode(wireHeader(length, 2, 2, 1))
		requireField(t, err, "length", packet.ErrLength)
	}
}

// A length that no header could make good is an error by itself: whoever waits for the fields behind
// it would wait for nothing.
func TestParseHeaderLongLengthAlone(t *testing.T) {
	const most = packet.MaxPayload + packet.MaxHeader - packet.MaxNumber
	_, _, err := packet.ParseHeader(wireHeader(most))
	require.Equal(t, packet.ErrShort, err)
	for _, length := range []uint64{most + 1, 1 << 63, math.MaxUint64} {
		_, _, err := packet.ParseHeader(wireHeader(length))
		requireField(t, err, "length", packet.ErrLength)
	}
}

// The longest header is as long as MaxHeader says, and it is read.
func TestParseHeaderLongest(t *testing.T) {
	number := func(v byte) []byte { return append(bytes.Repeat([]byte{0x80}, packet.MaxNumber-1), v) }
	length := append(bytes.Repeat([]byte{0x80}, packet.MaxNumber-2), 0x88, 0x01)
	wire := bytes.Join([][]byte{length, number(2), number(3), number(5), number(7), []byte("x")}, nil)
	h, n, err := packet.ParseHeader(wire)
	require.NoError(t, err)
	assert.Equal(t, packet.MaxHeader, n)
	assert.Equal(t, packet.Header{Tag: 2, Channel: 5, Request: true, Type: 7, Size: 1}, h)
}

func TestSpecialByValue(t *testing.T) {
	cases := []struct {
		name     string
		wire     []byte
		eof, erq bool
	}{
		{"EOF", []byte{3, 0, 2, 0}, true, false},
		{"ERQ", []byte{3, 1, 2, 0}, false, true},
		{"EOF, over-long tag", []byte{4, 0x80, 0, 2, 0}, true, false},
		{"EOF, over-long length", []byte{0x80, 3, 0, 2, 0}, true, false},
		{"EOF, channel 0 written", []byte{4, 0, 3, 0, 0}, true, false},
		{"ERQ, over-long tag", []byte{4, 0x80, 1, 2, 0}, false, true},
		{"ERQ, over-long type", []byte{4, 1, 2, 0x80, 0}, false, true},
		{"tag 2", []byte{3, 2, 2, 0}, false, false},
		{"flags", []byte{3, 0, 6, 0}, false, false},
		{"a channel", []byte{4, 0, 3, 1, 0}, false, false},
		{"a payload", []byte{4, 0, 2, 0, 'x'}, false, false},
		{"a type", []byte{3, 0, 2, 1}, false, false},
		{"a response", []byte{2, 0, 0}, false, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h, _, err := packet.ParseHeader(c.wire)
			require.NoError(t, err)
			assert.Equal(t, c.eof, h.IsEOF())
			assert.Equal(t, c.erq, h.IsERQ())
		})
	}
}
