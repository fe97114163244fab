package packet_test

import (
	"encoding/hex"
	"encoding/json"
	"math/big"
	"os"
	"testing"

	"github.com/packetstream/packetstream/packet"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The vectors were written by the Python reference. Its numbers have no bound, so they are strings
// of decimals there, and some of them do not fit in ours.
type vectors struct {
	Special   map[string]string `json:"special"`
	Packets   []vectorPacket    `json:"packets"`
	Malformed []struct {
		About    string        `json:"about"`
		Wire     hexBytes      `json:"wire"`
		Accepted *vectorPacket `json:"accepted"`
		Scan     struct {
			Packets []hexBytes `json:"packets"`
			Error   string     `json:"error"`
		} `json:"scan"`
	} `json:"malformed"`
	BSUint struct {
		Encode []vectorNumber `json:"encode"`
		Decode []struct {
			vectorNumber
			Consumed  int  `json:"consumed"`
			Canonical bool `json:"canonical"`
		} `json:"decode"`
		DecodeErrors []vectorNumber `json:"decode_errors"`
	} `json:"bsuint"`
	OddEncodings []struct {
		Tag     int64    `json:"tag"`
		Flags   int64    `json:"flags"`
		Channel int64    `json:"channel"`
		Wire    hexBytes `json:"wire"`
	} `json:"odd_encodings"`
}

type vectorNumber struct {
	Value string   `json:"value"`
	Wire  hexBytes `json:"wire"`
}

type vectorPacket struct {
	Request  bool     `json:"is_request"`
	Channel  string   `json:"channel"`
	Tag      string   `json:"tag"`
	Flags    string   `json:"flags"`
	Type     string   `json:"rq_type"`
	Payload  hexBytes `json:"payload"`
	Wire     hexBytes `json:"wire"`
	Consumed int      `json:"consumed"`
}

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = b
	return err
}

func loadVectors(t testing.TB) *vectors {
	t.Helper()
	data, err := os.ReadFile("../testdata/packetstream/vectors.json")
	require.NoError(t, err)
	var v vectors
	require.NoError(t, json.Unmarshal(data, &v))
	require.Len(t, v.Packets, 254)
	require.Len(t, v.Malformed, 75)
	require.Len(t, v.BSUint.Encode, 33)
	require.Len(t, v.BSUint.Decode, 17)
	require.Len(t, v.BSUint.DecodeErrors, 5)
	require.Len(t, v.OddEncodings, 4)
	return &v
}

// number reports the value of a vector's number and whether it fits in 64 bits.
func number(t testing.TB, s string) (v uint64, fits bool) {
	t.Helper()
	if s == "" {
		return 0, true
	}
	n, ok := new(big.Int).SetString(s, 10)
	require.True(t, ok, "not a number: %q", s)
	return n.Uint64(), n.IsUint64()
}

// packet returns the vector's packet, or the name of the first field on the wire that is too large for ours.
func (v *vectorPacket) packet(t testing.TB) (p packet.Packet, tooLarge string) {
	t.Helper()
	fields := []struct {
		name string
		text string
		to   *uint64
		max  uint64
	}{
		{"tag", v.Tag, &p.Tag, 1<<64 - 1},
		{"flags", v.Flags, &p.Flags, packet.MaxFlags},
		{"channel", v.Channel, &p.Channel, 1<<64 - 1},
		{"type", v.Type, &p.Type, 1<<64 - 1},
	}
	for _, f := range fields {
		n, fits := number(t, f.text)
		if !fits || n > f.max {
			return packet.Packet{}, f.name
		}
		*f.to = n
	}
	p.Request = v.Request
	p.Payload = v.Payload
	return p, ""
}

func requireField(t testing.TB, err error, field string, want error) {
	t.Helper()
	var format *packet.FormatError
	require.ErrorAs(t, err, &format)
	assert.Equal(t, field, format.Field)
	assert.ErrorIs(t, err, want)
}

func requireSamePacket(t testing.TB, want, got packet.Packet) {
	t.Helper()
	if len(want.Payload) == 0 && len(got.Payload) == 0 {
		want.Payload, got.Payload = nil, nil
	}
	require.Equal(t, want, got)
}

// Numbers beyond 64 bits are valid for the reference and errors with us: 34 of these packets, in
// which the tag has more bits or the flags and the packet's own bits do, are refused by name.
func TestVectorPackets(t *testing.T) {
	refused := 0
	for _, v := range loadVectors(t).Packets {
		t.Run(hex.EncodeToString(v.Wire[:min(len(v.Wire), 24)]), func(t *testing.T) {
			want, tooLarge := v.packet(t)
			if tooLarge != "" {
				refused++
				_, _, err := packet.Decode(v.Wire)
				requireField(t, err, tooLarge, packet.ErrOverflow)
				return
			}
			got, n, err := packet.Decode(v.Wire)
			require.NoError(t, err)
			require.Equal(t, len(v.Wire), n)
			requireSamePacket(t, want, got)

			wire, err := want.Append(nil)
			require.NoError(t, err)
			require.Equal(t, []byte(v.Wire), wire)
			require.Equal(t, len(wire), want.Len())
		})
	}
	assert.Equal(t, 34, refused)
}

func TestVectorSpecialPackets(t *testing.T) {
	special := loadVectors(t).Special
	eof, erq := packet.EOF(), packet.ERQ()
	for name, p := range map[string]*packet.Packet{"EOF": &eof, "ERQ": &erq} {
		wire, err := p.Append(nil)
		require.NoError(t, err)
		assert.Equal(t, special[name], hex.EncodeToString(wire), name)
	}
}

func TestVectorNumbersEncode(t *testing.T) {
	for _, v := range loadVectors(t).BSUint.Encode {
		t.Run(v.Value, func(t *testing.T) {
			want, fits := number(t, v.Value)
			got, n, err := packet.DecodeUint(v.Wire)
			if !fits {
				require.ErrorIs(t, err, packet.ErrOverflow)
				return
			}
			require.NoError(t, err)
			require.Equal(t, want, got)
			require.Equal(t, len(v.Wire), n)
			require.Equal(t, []byte(v.Wire), packet.AppendUint(nil, want))
			require.Equal(t, len(v.Wire), packet.UintLen(want))
		})
	}
}

func TestVectorNumbersDecode(t *testing.T) {
	for _, v := range loadVectors(t).BSUint.Decode {
		t.Run(hex.EncodeToString(v.Wire[:min(len(v.Wire), 24)]), func(t *testing.T) {
			want, fits := number(t, v.Value)
			got, n, err := packet.DecodeUint(v.Wire)
			if !fits {
				require.ErrorIs(t, err, packet.ErrOverflow)
				return
			}
			require.NoError(t, err)
			require.Equal(t, want, got)
			require.Equal(t, v.Consumed, n)
			require.Equal(t, v.Canonical, packet.UintLen(got) == n)
		})
	}
}

func TestVectorNumbersIncomplete(t *testing.T) {
	for _, v := range loadVectors(t).BSUint.DecodeErrors {
		_, _, err := packet.DecodeUint(v.Wire)
		assert.ErrorIs(t, err, packet.ErrShort, "%x", []byte(v.Wire))
	}
}

// Each malformed input is scanned packet by packet to its end, as the reference was. Where it found an EOFError we find
// a typed error; where it accepted a number beyond 64 bits we find one too.
func TestVectorMalformed(t *testing.T) {
	over64 := map[string]string{
		"tag over 64 bits":     "tag",
		"flags over 64 bits":   "flags",
		"rq_type over 64 bits": "type",
		"channel over 64 bits": "channel",
	}
	for _, v := range loadVectors(t).Malformed {
		t.Run(v.About, func(t *testing.T) {
			first, n, err := packet.Decode(v.Wire)
			if field := over64[v.About]; field != "" {
				requireField(t, err, field, packet.ErrOverflow)
				return
			}
			if v.Accepted == nil {
				require.Error(t, err)
			} else {
				require.NoError(t, err)
				want, tooLarge := v.Accepted.packet(t)
				require.Empty(t, tooLarge)
				requireSamePacket(t, want, first)
				require.Equal(t, v.Accepted.Consumed, n)
			}

			rest := []byte(v.Wire)
			var canonical []hexBytes
			for len(rest) > 0 {
				var p packet.Packet
				if p, n, err = packet.Decode(rest); err != nil {
					break
				}
				wire, err := p.Append(nil)
				require.NoError(t, err)
				canonical = append(canonical, wire)
				rest = rest[n:]
			}
			require.Equal(t, len(v.Scan.Packets), len(canonical))
			for i := range canonical {
				require.Equal(t, v.Scan.Packets[i], canonical[i])
			}
			require.Equal(t, v.Scan.Error != "", len(rest) > 0)
		})
	}
}

// The reference writes a negative number as one octet with the value's low seven bits. We cannot be asked to write one;
// what it writes reads as an ordinary number, as it does there.
func TestVectorOddEncodings(t *testing.T) {
	for _, v := range loadVectors(t).OddEncodings {
		bits := uint64(v.Flags<<2) & 0x7f
		want := packet.Packet{Tag: uint64(v.Tag) & 0x7f, Channel: uint64(v.Channel) & 0x7f, Flags: bits >> 2}
		got, n, err := packet.Decode(v.Wire)
		require.NoError(t, err)
		require.Equal(t, len(v.Wire), n)
		requireSamePacket(t, want, got)
	}
}
