package packet_test

import (
	"bytes"
	"errors"
	"io"
	"math/big"
	"testing"

	"github.com/packetstream/packetstream/packet"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// bigUint is the format's definition of a number, written without regard to any bound.
func bigUint(b []byte) (v *big.Int, n int, whole bool) {
	v = new(big.Int)
	for _, c := range b {
		n++
		v.Lsh(v, 7).Or(v, big.NewInt(int64(c&0x7f)))
		if c < 0x80 {
			return v, n, true
		}
	}
	return v, n, false
}

func FuzzDecodeUint(f *testing.F) {
	for _, v := range loadVectors(f).BSUint.Decode {
		f.Add([]byte(v.Wire))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		want, size, whole := bigUint(b)
		got, n, err := packet.DecodeUint(b)
		switch {
		case err == nil:
			require.True(t, whole)
			require.Equal(t, size, n)
			require.Equal(t, want.String(), new(big.Int).SetUint64(got).String())
			wire := packet.AppendUint(nil, got)
			require.Len(t, wire, packet.UintLen(got))
			require.True(t, bytes.HasSuffix(b[:n], wire[1:]))
		case errors.Is(err, packet.ErrShort):
			require.False(t, whole)
			require.Less(t, len(b), packet.MaxNumber)
			require.True(t, want.IsUint64())
		case errors.Is(err, packet.ErrOverflow):
			require.False(t, want.IsUint64())
		case errors.Is(err, packet.ErrOverlong):
			require.GreaterOrEqual(t, size, packet.MaxNumber)
		default:
			require.NoError(t, err)
		}
	})
}

// FuzzDecode holds the three ways to read a packet against each other, and against writing it.
func FuzzDecode(f *testing.F) {
	v := loadVectors(f)
	for _, m := range v.Malformed {
		f.Add([]byte(m.Wire))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, n, err := packet.Decode(b)
		h, hn, herr := packet.ParseHeader(b)
		checkHeaderAgrees(t, b, p, n, err, h, hn, herr)
		checkReadAgrees(t, b, p, n, err)
		if err != nil {
			return
		}
		require.LessOrEqual(t, n, len(b))
		wire, err := p.Append(nil)
		require.NoError(t, err)
		require.Len(t, wire, p.Len())
		require.LessOrEqual(t, len(wire), n, "the canonical form is the shortest")
		again, m, err := packet.Decode(wire)
		require.NoError(t, err)
		require.Equal(t, len(wire), m)
		requireSamePacket(t, p, again)
	})
}

func checkHeaderAgrees(t *testing.T, b []byte, p packet.Packet, n int, err error, h packet.Header, hn int, herr error) {
	t.Helper()
	switch {
	case err == nil:
		require.NoError(t, herr)
		require.Equal(t, header(p), h)
		require.Equal(t, n, hn+len(p.Payload))
	case herr == nil:
		require.Equal(t, packet.ErrShort, err)
		require.Less(t, int64(len(b)-hn), h.Size)
	default:
		require.Equal(t, herr, err)
	}
	if herr == nil {
		require.LessOrEqual(t, hn, packet.MaxHeader)
		require.LessOrEqual(t, h.Size, int64(packet.MaxPayload))
		require.GreaterOrEqual(t, h.Size, int64(0))
		_, _, cut := packet.ParseHeader(b[:hn-1])
		require.Equal(t, packet.ErrShort, cut, "a header is complete with its last octet and not before")
	}
}

func checkReadAgrees(t *testing.T, b []byte, p packet.Packet, n int, err error) {
	t.Helper()
	const most = 64
	src := &source{data: b, step: 1}
	got, rerr := packet.Read(src, most)
	for _, size := range src.taken {
		require.LessOrEqual(t, size, most, "memory for a length that was not compared with the maximum")
	}
	var tooLarge *packet.TooLargeError
	switch {
	case errors.As(rerr, &tooLarge):
		require.NoError(t, err)
		require.Greater(t, len(p.Payload), most)
		require.Len(t, src.data, len(b)-n)
	case err == nil:
		require.NoError(t, rerr)
		requireSamePacket(t, p, got)
		require.Len(t, src.data, len(b)-n)
	case len(b) == 0:
		require.Equal(t, io.EOF, rerr)
	case errors.Is(err, packet.ErrShort):
		require.Equal(t, io.ErrUnexpectedEOF, rerr)
	default:
		require.Equal(t, err, rerr)
	}
}

func FuzzAppend(f *testing.F) {
	f.Add(uint64(0), uint64(0), uint64(0), uint64(0), true, []byte(nil))
	f.Add(uint64(300), uint64(1<<63), uint64(packet.MaxFlags), uint64(301), true, []byte("payload"))
	f.Add(uint64(0), uint64(2), uint64(packet.MaxFlags+1), uint64(0), false, []byte("x"))
	f.Fuzz(func(t *testing.T, channel, tag, flags, typ uint64, request bool, payload []byte) {
		p := packet.Packet{Channel: channel, Tag: tag, Flags: flags, Type: typ, Request: request, Payload: payload}
		wire, err := p.Append(nil)
		if flags > packet.MaxFlags {
			require.Equal(t, packet.ErrFlags, err)
			return
		}
		require.NoError(t, err)
		require.Len(t, wire, p.Len())
		got, n, err := packet.Decode(wire)
		require.NoError(t, err)
		require.Equal(t, len(wire), n)
		if !request {
			p.Type = 0
		}
		requireSamePacket(t, p, got)
		assert.Equal(t, request && tag == 0 && channel|flags|typ == 0 && len(payload) == 0, isEOF(got))
	})
}

func isEOF(p packet.Packet) bool {
	h := header(p)
	return h.IsEOF()
}
