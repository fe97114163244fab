package frame_test

import (
	"encoding/hex"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

// The octets of PROTOCOL.md's examples.
func TestOctets(t *testing.T) {
	for name, c := range map[string]struct {
		octets string
		append func([]byte) []byte
	}{
		"the least HELLO": {"01 01 01", (&frame.Hello{Version: 1}).Append},
		"HELLO": {"01 01 01 02 01 03 03 02 6869 04 04 88808000 05 03 818000", (&frame.Hello{Version: 1, Features: 3,
			Cookie: []byte("hi"), MaxPayload: 16 << 20, MaxRequests: 16384}).Append},
		"HELLO with files": {"01 01 01 02 01 04 0b 01 10", (&frame.Hello{Version: 1, Features: frame.FeatureFiles, MaxFiles: 16}).Append},
		"HEADERS of a request": {"01 02 8768 02 05 03 6b6579 76", (&frame.Headers{Timeout: time.Millisecond,
			Metadata: []frame.Pair{{Key: "key", Value: []byte("v")}}}).Append},
		"HEADERS of an error": {"03 01 07 04 03 01 6b 76", (&frame.Headers{Code: 7,
			Details: []frame.Pair{{Key: "k", Value: []byte("v")}}}).Append},
		"CANCEL":           {"02 01 04", (&frame.Cancel{Reason: frame.ReasonCancelled}).Append},
		"CANCEL with text": {"01 01 05 02 01 03 04 04 6c617465", (&frame.Cancel{Channel: 5, Reason: frame.ReasonDeadline, Text: "late"}).Append},
		"GOAWAY":           {"01 01 02 02 03 627965", (&frame.GoAway{Code: 2, Text: "bye"}).Append},
	} {
		require.Equal(t, hex.EncodeToString(unhex(t, c.octets)), hex.EncodeToString(c.append(nil)), name)
	}
}

// What a payload of fields may be beside what we write.
func TestUnusualFields(t *testing.T) {
	for name, c := range map[string]struct {
		octets string
		want   frame.Headers
	}{
		"empty":                  {"", frame.Headers{}},
		"another order":          {"05 01 02 03 01 07", frame.Headers{Code: 7, Reason: 2}},
		"unknown keys":           {"00 01 ff 8148 02 aabb 03 01 07", frame.Headers{Code: 7}},
		"unknown key twice":      {"63 00 63 00", frame.Headers{}},
		"over-long numbers":      {"8003 8002 8007", frame.Headers{Code: 7}},
		"a time that never ends": {"01 0a 81ffffffffffffffff7f", frame.Headers{Timeout: math.MaxInt64 / 1000 * 1000}},
		"an empty pair":          {"02 01 00", frame.Headers{Metadata: []frame.Pair{{Value: []byte{}}}}},
		"a pair without a value": {"02 02 01 6b", frame.Headers{Metadata: []frame.Pair{{Key: "k", Value: []byte{}}}}},
	} {
		got, err := frame.ParseHeaders(unhex(t, c.octets))
		require.NoError(t, err, name)
		require.Equal(t, c.want, got, name)
	}
}

func TestBadFields(t *testing.T) {
	for name, c := range map[string]struct {
		octets string
		key    uint64
		err    error
	}{
		"no length":              {"03", 0, frame.ErrShort},
		"half a number":          {"03 81", 0, frame.ErrShort},
		"no value":               {"03 01", 3, frame.ErrShort},
		"a length past the end":  {"03 81ffffffffffffffff7f 01", 3, frame.ErrShort},
		"half a number as value": {"03 01 81", 3, frame.ErrShort},
		"no number":              {"03 00", 3, frame.ErrShort},
		"octets behind a number": {"03 02 0700", 3, frame.ErrTrailing},
		"twice":                  {"03 01 07 03 01 07", 3, frame.ErrTwice},
		"a number too large":     {"03 0a 82ffffffffffffffff7f", 3, packet.ErrOverflow},
		"a pair without a key":   {"02 00", 2, frame.ErrShort},
		"a pair inside its key":  {"02 02 02 6b", 2, frame.ErrShort},
		"a key too large":        {"82ffffffffffffffff7f 00", 0, packet.ErrOverflow},
		"a key too long":         {strings.Repeat("80", 256) + "03 01 07", 0, packet.ErrOverlong},
	} {
		_, err := frame.ParseHeaders(unhex(t, c.octets))
		var ferr *frame.FormatError
		require.ErrorAs(t, err, &ferr, name)
		require.ErrorIs(t, err, c.err, name)
		require.Equal(t, c.key, ferr.Key, name)
		require.Equal(t, frame.KindHeaders, ferr.Kind, name)
	}
	for name, octets := range map[string]string{"nothing": "", "version 0": "01 01 00", "features alone": "02 01 01"} {
		_, err := frame.ParseHello(unhex(t, octets))
		require.ErrorIs(t, err, frame.ErrMissing, name)
	}
}

func TestHeadersSize(t *testing.T) {
	h := frame.Headers{Metadata: []frame.Pair{{Key: "abc", Value: []byte("de")}}, Details: []frame.Pair{{}}}
	require.EqualValues(t, 3+2+32+32, h.Size())
	require.False(t, h.Empty())
	require.True(t, new(frame.Headers).Empty())
}

func TestKindNames(t *testing.T) {
	require.Equal(t, "HELLO", frame.KindHello.String())
	require.Equal(t, "CREDIT", frame.KindCredit.String())
	require.Equal(t, "FILES", frame.KindFiles.String())
	require.Equal(t, "frame 13", frame.Kind(13).String())
	h := frame.Header(frame.KindPiece, 7, 3, 5)
	require.Equal(t, packet.Header{Channel: 127, Tag: 7, Flags: 3, Type: 6, Request: true, Size: 5}, h)
	require.Equal(t, frame.KindPiece, frame.KindOf(&h))
}
