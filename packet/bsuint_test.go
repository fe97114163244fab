package packet_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/packetstream/packetstream/packet"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// edges returns the values at which a BSUint grows by an octet, and their neighbours.
func edges() []uint64 {
	values := []uint64{0, 1, math.MaxUint64 - 1, math.MaxUint64}
	for shift := 7; shift < 64; shift += 7 {
		values = append(values, 1<<shift-1, 1<<shift, 1<<shift+1)
	}
	return values
}

func TestUintRoundTrip(t *testing.T) {
	for _, v := range edges() {
		wire := packet.AppendUint([]byte("before"), v)
		require.Equal(t, "before", string(wire[:6]))
		wire = wire[6:]
		assert.Len(t, wire, packet.UintLen(v))
		got, n, err := packet.DecodeUint(append(wire, "after"...))
		require.NoError(t, err)
		assert.Equal(t, v, got)
		assert.Equal(t, len(wire), n)
	}
}

func TestUintTruncated(t *testing.T) {
	for _, v := range edges() {
		wire := packet.AppendUint(nil, v)
		for i := range wire {
			_, n, err := packet.DecodeUint(wire[:i])
			assert.Equal(t, packet.ErrShort, err, "%x cut to %d", wire, i)
			assert.Zero(t, n)
		}
	}
}

func TestUintBounds(t *testing.T) {
	overlong := func(zeros int, end ...byte) []byte {
		return append(bytes.Repeat([]byte{0x80}, zeros), end...)
	}
	cases := []struct {
		name string
		wire []byte
		want uint64
		n    int
		err  error
	}{
		{"the longest form", overlong(packet.MaxNumber-1, 5), 5, packet.MaxNumber, nil},
		{"the largest value in the longest form", overlong(packet.MaxNumber-10, packet.AppendUint(nil, math.MaxUint64)...), math.MaxUint64, packet.MaxNumber, nil},
		{"one octet too long", overlong(packet.MaxNumber, 5), 0, 0, packet.ErrOverlong},
		{"too long, its end not there yet", overlong(packet.MaxNumber), 0, 0, packet.ErrOverlong},
		{"may still end in time", overlong(packet.MaxNumber - 1), 0, 0, packet.ErrShort},
		{"2^64", []byte{0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00}, 0, 0, packet.ErrOverflow},
		{"too large, its end not there yet", bytes.Repeat([]byte{0xff}, 11), 0, 0, packet.ErrOverflow},
		{"too large in an over-long form", overlong(100, bytes.Repeat([]byte{0xff}, 11)...), 0, 0, packet.ErrOverflow},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, n, err := packet.DecodeUint(c.wire)
			assert.Equal(t, c.err, err)
			assert.Equal(t, c.want, got)
			assert.Equal(t, c.n, n)
		})
	}
}
