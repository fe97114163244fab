package packet_test

import (
	"bytes"
	"testing"

	"github.com/packetstream/packetstream/packet"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// samples are packets with every combination of fields, the numbers of one octet and of several.
func samples() []packet.Packet {
	var list []packet.Packet
	for _, channel := range []uint64{0, 5, 300} {
		for _, tag := range []uint64{0, 2, 1<<64 - 1} {
			for _, flags := range []uint64{0, 1, 40, packet.MaxFlags} {
				for _, payload := range []string{"", "x", string(bytes.Repeat([]byte("long"), 50))} {
					p := packet.Packet{Channel: channel, Tag: tag, Flags: flags, Payload: []byte(payload)}
					request := p
					request.Request, request.Type = true, tag>>1
					list = append(list, p, request)
				}
			}
		}
	}
	return list
}

func encode(t testing.TB, p packet.Packet) []byte {
	t.Helper()
	wire, err := p.Append(nil)
	require.NoError(t, err)
	return wire
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	for _, p := range samples() {
		wire, err := p.Append([]byte("before"))
		require.NoError(t, err)
		require.Equal(t, "before", string(wire[:6]))
		require.Equal(t, p.Len(), len(wire)-6)
		got, n, err := packet.Decode(wire[6:])
		require.NoError(t, err)
		require.Equal(t, len(wire)-6, n)
		requireSamePacket(t, p, got)
	}
}

func TestAppendRefuses(t *testing.T) {
	for _, p := range []packet.Packet{
		{Flags: packet.MaxFlags + 1},
		{Flags: 1<<64 - 1, Request: true, Payload: []byte("x")},
	} {
		dst := []byte("before")
		out, err := p.Append(dst)
		assert.ErrorIs(t, err, packet.ErrFlags)
		assert.Equal(t, "before", string(out), "nothing may be appended by a failed Append")
	}
	for _, size := range []int64{-1, packet.MaxPayload + 1, 1<<63 - 1} {
		h := packet.Header{Size: size}
		out, err := h.Append([]byte("before"))
		assert.ErrorIs(t, err, packet.ErrPayload)
		assert.Equal(t, "before", string(out))
	}
}

// A response has no type: one that is set does not reach the wire.
func TestResponseHasNoType(t *testing.T) {
	p := packet.Packet{Tag: 2, Type: 7, Payload: []byte("x")}
	got, _, err := packet.Decode(encode(t, p))
	require.NoError(t, err)
	assert.Zero(t, got.Type)
	assert.Equal(t, p.Payload, got.Payload)
}

func TestDecodeTruncatedAtEveryByte(t *testing.T) {
	for _, p := range samples() {
		wire := encode(t, p)
		for i := range wire {
			_, n, err := packet.Decode(wire[:i])
			require.Equal(t, packet.ErrShort, err, "%x cut to %d", wire, i)
			require.Zero(t, n)
		}
	}
}

// A length that is too small is an error at once, and one that is too large makes payload of what
// follows: it never reads beyond itself.
func TestDecodeLengthsThatLie(t *testing.T) {
	p := packet.Packet{Channel: 200, Tag: 300, Request: true, Flags: 20, Type: 301, Payload: []byte("payload")}
	wire := encode(t, p)
	fields := len(wire) - 1 - len(p.Payload)
	for length := range byte(100) {
		lied := append([]byte{length}, wire[1:]...)
		got, n, err := packet.Decode(lied)
		switch {
		case int(length) < fields:
			var format *packet.FormatError
			require.ErrorAs(t, err, &format, "length %d", length)
			require.ErrorIs(t, err, packet.ErrFields)
		case int(length) < len(wire):
			require.NoError(t, err)
			require.Equal(t, int(length)+1, n)
			require.Equal(t, p.Payload[:int(length)-fields], got.Payload)
		default:
			require.Equal(t, packet.ErrShort, err)
		}
	}
}

// The payload is a part of the input whose capacity ends with it, so that appending to it cannot
// overwrite the packet behind.
func TestDecodePayloadIsPartOfInput(t *testing.T) {
	first := encode(t, packet.Packet{Tag: 2, Payload: []byte("one")})
	both := append(bytes.Clone(first), encode(t, packet.Packet{Tag: 3, Payload: []byte("two")})...)
	p, n, err := packet.Decode(both)
	require.NoError(t, err)
	require.Equal(t, len(first), n)
	require.Same(t, &both[n-3], &p.Payload[0])
	_ = append(p.Payload, "overwritten"...)
	second, _, err := packet.Decode(both[n:])
	require.NoError(t, err)
	assert.Equal(t, "two", string(second.Payload))
}
