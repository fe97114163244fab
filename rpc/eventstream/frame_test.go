package eventstream_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/packetstream/packetstream/rpc/eventstream"
)

func TestHeaderAccessors(t *testing.T) {
	id := [16]byte{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}
	tests := []struct {
		header eventstream.Header
		typ    eventstream.HeaderType
		want   any
		text   string
	}{
		{eventstream.Bool("h", true), eventstream.HeaderTypeBoolTrue, true, "h(bool_true)=\"true\""},
		{eventstream.Bool("h", false), eventstream.HeaderTypeBoolFalse, false, "h(bool_false)=\"false\""},
		{eventstream.Byte("h", -128), eventstream.HeaderTypeByte, int8(-128), "h(byte)=\"-128\""},
		{eventstream.Int16("h", -2), eventstream.HeaderTypeInt16, int16(-2), "h(int16)=\"-2\""},
		{eventstream.Int32("h", math.MinInt32), eventstream.HeaderTypeInt32, int32(math.MinInt32), "h(int32)=\"-2147483648\""},
		{eventstream.Int64("h", 7), eventstream.HeaderTypeInt64, int64(7), "h(int64)=\"7\""},
		{eventstream.Bytes("h", []byte{1, 2}), eventstream.HeaderTypeBytes, []byte{1, 2}, "h(byte_buf)=\"AQI=\""},
		{eventstream.String("h", "v"), eventstream.HeaderTypeString, "v", "h(string)=\"v\""},
		{eventstream.Timestamp("h", 9), eventstream.HeaderTypeTimestamp, eventstream.Header{}, "h(timestamp)=\"9\""},
		{eventstream.UUID("h", id), eventstream.HeaderTypeUUID, id, "h(uuid)=\"01234567-89ab-cdef-0123-456789abcdef\""},
	}
	for _, test := range tests {
		t.Run(test.typ.String(), func(t *testing.T) {
			assert.Equal(t, "h", test.header.Name())
			assert.Equal(t, test.typ, test.header.Type())
			assert.Equal(t, test.text, test.header.String())
			got := map[bool][]any{}
			note := func(v any, ok bool) { got[ok] = append(got[ok], v) }
			b, ok := test.header.Bool()
			note(b, ok)
			i8, ok := test.header.Byte()
			note(i8, ok)
			i16, ok := test.header.Int16()
			note(i16, ok)
			i32, ok := test.header.Int32()
			note(i32, ok)
			i64, ok := test.header.Int64()
			note(i64, ok)
			raw, ok := test.header.Bytes()
			note(raw, ok)
			text, ok := test.header.Text()
			note(text, ok)
			u, ok := test.header.UUID()
			note(u, ok)
			if ts, ok := test.header.Timestamp(); ok {
				assert.Equal(t, int64(9), ts)
				assert.Empty(t, got[true])
				return
			}
			assert.Equal(t, []any{test.want}, got[true], "exactly one accessor takes the type")
		})
	}
	assert.Equal(t, "header type 10", eventstream.HeaderType(10).String())
}

func TestHeadersLookup(t *testing.T) {
	hs := eventstream.Headers{
		eventstream.String("a", "1"), eventstream.Int32(":stream-id", 1), eventstream.String("a", "2"),
		eventstream.String("operation", "op"), eventstream.Int32("n", 3),
	}
	assert.Equal(t, "1", hs.Text("a"))
	assert.Empty(t, hs.Text("A"))
	assert.Empty(t, hs.Text("n"))
	_, ok := hs.Lookup("n")
	assert.True(t, ok)
	assert.Equal(t, eventstream.Headers{hs[0], hs[2], hs[4]}, hs.User())
}

func TestAppendFrameRefuses(t *testing.T) {
	tests := map[string]struct {
		headers eventstream.Headers
		payload []byte
		want    error
	}{
		"name of 256 bytes":    {eventstream.Headers{eventstream.Bool(strings.Repeat("n", 256), true)}, nil, eventstream.ErrHeader},
		"string of 32768":      {eventstream.Headers{eventstream.String("h", strings.Repeat("x", 32768))}, nil, eventstream.ErrHeader},
		"byte_buf of 32768":    {eventstream.Headers{eventstream.Bytes("h", make([]byte, 32768))}, nil, eventstream.ErrHeader},
		"byte_buf of 65546":    {eventstream.Headers{eventstream.Bytes("h", make([]byte, 65546))}, nil, eventstream.ErrHeader},
		"1025 headers":         {numbered(1025), nil, eventstream.ErrTooManyHeaders},
		"payload over 24 MiB":  {nil, make([]byte, eventstream.MaxMessageLen-15), eventstream.ErrTooLarge},
		"a header over 24 MiB": {eventstream.Headers{eventstream.Bool("", true)}, make([]byte, eventstream.MaxMessageLen-17), eventstream.ErrTooLarge},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := eventstream.AppendFrame([]byte("kept"), test.headers, test.payload)
			require.ErrorIs(t, err, test.want)
			assert.Equal(t, "kept", string(got))
			assert.Contains(t, err.Error(), "eventstream: ")
		})
	}
}

// randomFrames draws messages of all header types.
func randomFrame(t *rapid.T) eventstream.Frame {
	header := rapid.Custom(func(t *rapid.T) eventstream.Header {
		name := string(rapid.SliceOfN(rapid.Byte(), 0, 255).Draw(t, "name"))
		switch rapid.IntRange(0, 9).Draw(t, "type") {
		case 0, 1:
			return eventstream.Bool(name, rapid.Bool().Draw(t, "v"))
		case 2:
			return eventstream.Byte(name, rapid.Int8().Draw(t, "v"))
		case 3:
			return eventstream.Int16(name, rapid.Int16().Draw(t, "v"))
		case 4:
			return eventstream.Int32(name, rapid.Int32().Draw(t, "v"))
		case 5:
			return eventstream.Int64(name, rapid.Int64().Draw(t, "v"))
		case 6:
			return eventstream.Bytes(name, rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "v"))
		case 7:
			return eventstream.String(name, rapid.String().Draw(t, "v"))
		case 8:
			return eventstream.Timestamp(name, rapid.Int64().Draw(t, "v"))
		}
		return eventstream.UUID(name, [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "v")))
	})
	return eventstream.Frame{
		Headers: rapid.SliceOfN(header, 0, 8).Draw(t, "headers"),
		Payload: rapid.SliceOfN(rapid.Byte(), 0, 9000).Draw(t, "payload"),
	}
}

// pieces is a reader that hands out its bytes in pieces of drawn sizes.
type pieces struct {
	b    []byte
	size func() int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.b[:min(len(p.b), p.size())])
	p.b = p.b[n:]
	return n, nil
}

func TestDecoderAnyPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		frames := rapid.SliceOfN(rapid.Custom(randomFrame), 0, 6).Draw(t, "frames")
		var wire []byte
		for _, f := range frames {
			var err error
			wire, err = eventstream.AppendFrame(wire, f.Headers, f.Payload)
			require.NoError(t, err)
		}
		d := eventstream.NewDecoder(&pieces{wire, func() int {
			return rapid.SampledFrom([]int{1, 2, 11, 12, 13, 100, 4096, 5000, 1 << 20}).Draw(t, "piece")
		}})
		var got eventstream.Frame
		for _, f := range frames {
			require.NoError(t, d.Decode(&got))
			require.Equal(t, len(f.Headers), len(got.Headers))
			for i := range f.Headers {
				require.Equal(t, f.Headers[i], got.Headers[i])
			}
			require.True(t, bytes.Equal(f.Payload, got.Payload))
		}
		require.Zero(t, d.Buffered())
		require.Equal(t, io.EOF, d.Decode(&got))
	})
}

func TestDecoderByteByByte(t *testing.T) {
	payload := bytes.Repeat([]byte("0123456789"), 30000)
	wire, err := eventstream.AppendFrame(nil, eventstream.Headers{eventstream.Int32("n", 1)}, payload)
	require.NoError(t, err)
	d := eventstream.NewDecoder(iotest.OneByteReader(bytes.NewReader(wire)))
	var f eventstream.Frame
	require.NoError(t, d.Decode(&f))
	assert.True(t, bytes.Equal(payload, f.Payload))
}

func TestDecoderGoesOnBehindBadHeader(t *testing.T) {
	wire := rawFrame([]byte("\x01h\x0a"), []byte("lost"))
	wire, err := eventstream.AppendFrame(wire, nil, []byte("kept"))
	require.NoError(t, err)
	d := eventstream.NewDecoder(bytes.NewReader(wire))
	var f eventstream.Frame
	require.ErrorIs(t, d.Decode(&f), eventstream.ErrHeaderType)
	require.NoError(t, d.Decode(&f))
	assert.Equal(t, "kept", string(f.Payload))
}

func TestDecoderErrorsAreFinal(t *testing.T) {
	wire, err := eventstream.AppendFrame(nil, nil, []byte("x"))
	require.NoError(t, err)
	bad := append([]byte(nil), wire...)
	bad[len(bad)-1] ^= 1
	d := eventstream.NewDecoder(bytes.NewReader(append(bad, wire...)))
	var f eventstream.Frame
	require.ErrorIs(t, d.Decode(&f), eventstream.ErrMessageChecksum)
	require.ErrorIs(t, d.Decode(&f), eventstream.ErrMessageChecksum)

	broken := errors.New("broken")
	d = eventstream.NewDecoder(iotest.ErrReader(broken))
	require.Equal(t, broken, d.Decode(&f))
	require.Equal(t, broken, d.Decode(&f))
}

// idleReader returns nothing, and every few times one byte of what it has.
type idleReader struct {
	rest []byte
	idle int // reads in a row that return nothing
	left int
}

func (r *idleReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 || r.left > 0 {
		r.left--
		return 0, nil
	}
	r.left = r.idle
	n := copy(p[:1], r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func TestDecoderGivesUpOnReaderWithoutProgress(t *testing.T) {
	wire, err := eventstream.AppendFrame(nil, nil, []byte("x"))
	require.NoError(t, err)
	d := eventstream.NewDecoder(&idleReader{rest: wire, idle: 90})
	var f eventstream.Frame
	require.NoError(t, d.Decode(&f))
	assert.Equal(t, "x", string(f.Payload))
	require.Equal(t, io.ErrNoProgress, d.Decode(&f))
	require.Equal(t, io.ErrNoProgress, eventstream.NewDecoder(&idleReader{rest: wire[:14]}).Decode(&f))
}

func TestDecoderTruncation(t *testing.T) {
	wire, err := eventstream.AppendFrame(nil, eventstream.Headers{eventstream.String("k", "v")}, []byte("payload"))
	require.NoError(t, err)
	var f eventstream.Frame
	for n := 1; n < len(wire); n++ {
		err := eventstream.NewDecoder(bytes.NewReader(wire[:n])).Decode(&f)
		require.ErrorIs(t, err, eventstream.ErrTruncated, "%d bytes", n)
	}
}

// TestDecoderTakesNoMemoryOnAPromise sends preludes of the largest message without their messages.
func TestDecoderTakesNoMemoryOnAPromise(t *testing.T) {
	prelude := binary.BigEndian.AppendUint32(nil, eventstream.MaxMessageLen)
	prelude = binary.BigEndian.AppendUint32(prelude, 0)
	prelude = binary.BigEndian.AppendUint32(prelude, crc32.ChecksumIEEE(prelude))
	const n = 100
	decoders := make([]*eventstream.Decoder, n)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var f eventstream.Frame
	for i := range decoders {
		decoders[i] = eventstream.NewDecoder(io.MultiReader(bytes.NewReader(prelude), strings.NewReader("some")))
		require.ErrorIs(t, decoders[i].Decode(&f), eventstream.ErrTruncated)
	}
	runtime.ReadMemStats(&after)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(n*256<<10))
	runtime.KeepAlive(decoders)
}

func TestCodecAllocations(t *testing.T) {
	headers, payload := smallMessage()
	wire, err := eventstream.AppendFrame(nil, headers, payload)
	require.NoError(t, err)
	buf := make([]byte, 0, len(wire))
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		buf, _ = eventstream.AppendFrame(buf[:0], headers, payload)
	}), "encode")
	var f eventstream.Frame
	assert.LessOrEqual(t, testing.AllocsPerRun(100, func() {
		_, _ = eventstream.ParseFrame(wire, &f)
	}), 1.0, "parse")
	d := eventstream.NewDecoder(&loopReader{b: wire})
	require.NoError(t, d.Decode(&f))
	assert.LessOrEqual(t, testing.AllocsPerRun(1000, func() { _ = d.Decode(&f) }), 1.0, "decode")
}

// loopReader repeats the same bytes for ever.
type loopReader struct {
	b  []byte
	at int
}

func (r *loopReader) Read(p []byte) (int, error) {
	n := copy(p, r.b[r.at:])
	r.at = (r.at + n) % len(r.b)
	return n, nil
}
