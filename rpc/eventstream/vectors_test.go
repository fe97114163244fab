package eventstream_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/rpc/eventstream"
)

// headerJSON is a header as the vectors write it: 64-bit values as decimal strings, byte_buf in hex.
type headerJSON struct {
	Name  string          `json:"name"`
	Type  string          `json:"type"`
	Value json.RawMessage `json:"value"`
}

type vector struct {
	Name          string       `json:"name"`
	Kind          string       `json:"kind"`
	Headers       []headerJSON `json:"headers"`
	HeadersRule   string       `json:"headers_rule"`
	Payload       string       `json:"payload"`
	PayloadFill   string       `json:"payload_fill"`
	PayloadLength int          `json:"payload_length"`
	Hex           *string      `json:"hex"`
	Length        int          `json:"length"`
	SHA256        string       `json:"sha256"`
	Rule          string       `json:"rule"`
	Error         string       `json:"error"`
	Dir           string       `json:"dir"`
	EOF           bool         `json:"eof"`
}

type vectorFile struct {
	Positive  []vector `json:"positive"`
	Negative  []vector `json:"negative"`
	Published []vector `json:"published"`
	RPC       []vector `json:"rpc"`
	Sessions  []struct {
		Name     string   `json:"name"`
		Messages []vector `json:"messages"`
	} `json:"sessions"`
}

func readJSON(t testing.TB, name string, into any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, into))
}

func readVectors(t testing.TB) vectorFile {
	t.Helper()
	var f vectorFile
	readJSON(t, "vectors.json", &f)
	return f
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func (h headerJSON) header(t testing.TB) eventstream.Header {
	t.Helper()
	var text string
	if h.Value[0] == '"' {
		require.NoError(t, json.Unmarshal(h.Value, &text))
	} else {
		text = string(h.Value)
	}
	number := func() int64 {
		n, err := strconv.ParseInt(text, 10, 64)
		require.NoError(t, err)
		return n
	}
	switch h.Type {
	case "bool_true", "bool_false":
		return eventstream.Bool(h.Name, h.Type == "bool_true")
	case "byte":
		return eventstream.Byte(h.Name, int8(number()))
	case "int16":
		return eventstream.Int16(h.Name, int16(number()))
	case "int32":
		return eventstream.Int32(h.Name, int32(number()))
	case "int64":
		return eventstream.Int64(h.Name, number())
	case "timestamp":
		return eventstream.Timestamp(h.Name, number())
	case "byte_buf":
		return eventstream.Bytes(h.Name, unhex(t, text))
	case "string":
		return eventstream.String(h.Name, text)
	case "uuid":
		return eventstream.UUID(h.Name, [16]byte(unhex(t, strings.ReplaceAll(text, "-", ""))))
	}
	t.Fatalf("header type %q", h.Type)
	return eventstream.Header{}
}

func (v vector) headers(t testing.TB) eventstream.Headers {
	t.Helper()
	switch v.HeadersRule {
	case "":
	case "h0 ... h1023, each bool_true":
		return numbered(1024)
	case "one string header named h, 32767 times the letter x":
		return eventstream.Headers{eventstream.String("h", strings.Repeat("x", 32767))}
	default:
		t.Fatalf("headers rule %q", v.HeadersRule)
	}
	var hs eventstream.Headers
	for _, h := range v.Headers {
		hs = append(hs, h.header(t))
	}
	return hs
}

func numbered(n int) (hs eventstream.Headers) {
	for i := range n {
		hs = append(hs, eventstream.Bool(fmt.Sprintf("h%d", i), true))
	}
	return hs
}

func (v vector) payload(t testing.TB) []byte {
	t.Helper()
	if v.PayloadFill != "" {
		return bytes.Repeat(unhex(t, v.PayloadFill), v.PayloadLength)
	}
	return unhex(t, v.Payload)
}

// check compares an encoded message with what the vector says of it.
func (v vector) check(t testing.TB, got []byte) {
	t.Helper()
	if v.Hex != nil {
		require.Equal(t, *v.Hex, hex.EncodeToString(got))
		return
	}
	require.Len(t, got, v.Length)
	sum := sha256.Sum256(got)
	require.Equal(t, v.SHA256, hex.EncodeToString(sum[:]))
}

func TestPositiveVectors(t *testing.T) {
	f := readVectors(t)
	require.Len(t, f.Positive, 59)
	for _, v := range f.Positive {
		t.Run(v.Name, func(t *testing.T) { checkRoundTrip(t, v) })
	}
}

func checkRoundTrip(t *testing.T, v vector) {
	t.Helper()
	headers, payload := v.headers(t), v.payload(t)
	encoded, err := eventstream.AppendFrame([]byte("before"), headers, payload)
	require.NoError(t, err)
	encoded = bytes.TrimPrefix(encoded, []byte("before"))
	v.check(t, encoded)

	var got eventstream.Frame
	n, err := eventstream.ParseFrame(append(encoded, "behind"...), &got)
	require.NoError(t, err)
	assert.Equal(t, len(encoded), n)
	assert.Equal(t, len(headers), len(got.Headers))
	for i := range headers {
		assert.Equal(t, headers[i], got.Headers[i])
	}
	assert.True(t, bytes.Equal(payload, got.Payload))
}

func TestPublishedVectors(t *testing.T) {
	f := readVectors(t)
	require.Len(t, f.Published, 12)
	for _, v := range f.Published {
		t.Run(v.Name, func(t *testing.T) {
			if v.Kind == "positive" {
				checkRoundTrip(t, v)
				return
			}
			checkRefused(t, v, unhex(t, *v.Hex))
		})
	}
}

func TestNegativeVectors(t *testing.T) {
	f := readVectors(t)
	require.Len(t, f.Negative, 38)
	for _, v := range f.Negative {
		t.Run(v.Name, func(t *testing.T) { checkRefused(t, v, v.bad(t)) })
	}
}

// bad returns the bytes of a negative vector, building those that the file only describes.
func (v vector) bad(t testing.TB) []byte {
	t.Helper()
	if v.Hex != nil {
		return unhex(t, *v.Hex)
	}
	var b []byte
	switch {
	case strings.HasPrefix(v.Rule, "one header: 01 68 07 80 00"):
		b = rawFrame(append([]byte("\x01h\x07\x80\x00"), strings.Repeat("x", 32768)...), nil)
	case v.Rule == "h0 ... h1024, each bool_true":
		var block []byte
		for i := range 1025 {
			name := fmt.Sprintf("h%d", i)
			block = append(append(append(block, byte(len(name))), name...), 0)
		}
		b = rawFrame(block, nil)
	default:
		t.Fatalf("rule %q", v.Rule)
	}
	v.check(t, b)
	return b
}

var errorClasses = map[string]error{
	"short":            eventstream.ErrTruncated,
	"length":           eventstream.ErrLength,
	"too_large":        eventstream.ErrTooLarge,
	"prelude_crc":      eventstream.ErrPreludeChecksum,
	"message_crc":      eventstream.ErrMessageChecksum,
	"headers_length":   eventstream.ErrHeadersLength,
	"header":           eventstream.ErrHeader,
	"header_type":      eventstream.ErrHeaderType,
	"too_many_headers": eventstream.ErrTooManyHeaders,
}

func checkRefused(t *testing.T, v vector, b []byte) {
	t.Helper()
	want := errorClasses[v.Error]
	require.NotNil(t, want, v.Error)
	var f eventstream.Frame
	_, err := eventstream.ParseFrame(b, &f)
	require.ErrorIs(t, err, want)
	var detail *eventstream.FrameError
	require.ErrorAs(t, err, &detail)

	err = eventstream.NewDecoder(bytes.NewReader(b)).Decode(&f)
	if len(b) == 0 {
		require.EqualError(t, err, "EOF")
		return
	}
	require.ErrorIs(t, err, want)
}

// TestRPCVectors decodes every captured message and encodes it again.
func TestRPCVectors(t *testing.T) {
	f := readVectors(t)
	require.Len(t, f.RPC, 13)
	require.Len(t, f.Sessions, 21)
	for _, v := range f.RPC {
		t.Run(v.Name, func(t *testing.T) { checkRoundTrip(t, v) })
	}
	for _, s := range f.Sessions {
		t.Run(s.Name, func(t *testing.T) {
			for _, m := range s.Messages {
				if !m.EOF {
					checkRoundTrip(t, m)
				}
			}
		})
	}
}
