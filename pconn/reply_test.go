package pconn_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

// answerOf returns what the wire carries for a handler's outcome: the packet's flags and the payload.
func answerOf(t *testing.T, h pconn.Handler) (uint64, string) {
	t.Helper()
	p := raw(t, &pconn.Options{Handler: h})
	p.write(request(9, 1, ""))
	got := p.read()
	require.False(t, got.Request)
	require.EqualValues(t, 9, got.Tag)
	require.Zero(t, got.Channel)
	return got.Flags, string(got.Payload)
}

func TestReplies(t *testing.T) {
	for name, c := range map[string]struct {
		reply   pconn.Reply
		flags   uint64
		payload string
	}{
		"none":           {pconn.None(), 1, ""},
		"zero":           {pconn.Reply{}, 1, ""},
		"flags":          {pconn.Flags(5), 11, ""},
		"small flags":    {pconn.Flags(63), 127, ""},
		"larger flags":   {pconn.Flags(64), 129, ""},
		"large and p":    {pconn.FlagsBytes(1<<40, []byte("p")), 1<<41 | 1, "p"},
		"bytes":          {pconn.Bytes([]byte("b\xff")), 1, "b\xff"},
		"nil bytes":      {pconn.Bytes(nil), 1, ""},
		"text":           {pconn.Text("t\xff"), 1, "t&#56575;"},
		"empty text":     {pconn.Text(""), 1, ""},
		"flags bytes":    {pconn.FlagsBytes(3, []byte("p")), 7, "p"},
		"most flags":     {pconn.Flags(1<<61 - 1), packet.MaxFlags, ""},
		"too many flags": {pconn.Flags(1 << 61), 0, "reply flags 0x2000000000000000 do not fit in 61 bits"},
		"large":          {pconn.Bytes(pattern(100_000)), 1, string(pattern(100_000))},
	} {
		t.Run(name, func(t *testing.T) {
			flags, payload := answerOf(t, pconn.HandlerFunc(func(context.Context, *pconn.Request) (pconn.Reply, error) {
				return c.reply, nil
			}))
			require.Equal(t, c.flags, flags)
			require.Equal(t, c.payload, payload)
		})
	}
}

// TestRepliesAreValues has replies with the same flags made into others, by many handlers at once. None of them changes another.
func TestRepliesAreValues(t *testing.T) {
	kept := pconn.FlagsBytes(5, []byte("p"))
	const plain, withMetadata, again, emptied = 0, 1, 2, 3
	a, _ := extendedPair(t, nil, serve(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		switch req.Type {
		case withMetadata:
			return pconn.FlagsBytes(5, []byte("p")).WithMetadata(metadata("of", string(req.Payload))), nil
		case again:
			r := kept.WithMetadata(metadata("of", "nobody"))
			return r.WithMetadata(metadata("of", string(req.Payload))).WithFiles(), nil
		case emptied:
			return kept.WithMetadata(metadata("of", "nobody")).WithMetadata(nil), nil
		}
		return kept, nil
	}))
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			who := fmt.Sprint(g)
			for i := range 100 {
				typ := uint64(i % 4)
				resp, err := a.Do(soon(t), pconn.Request{Type: typ, Payload: []byte(who)})
				if !assert.NoError(t, err) {
					return
				}
				assert.EqualValues(t, 5, resp.Flags)
				assert.Equal(t, "p", string(resp.Payload))
				var want pconn.Metadata
				if typ == withMetadata || typ == again {
					want = metadata("of", who)
				}
				assert.Equal(t, want, resp.Metadata)
			}
		})
	}
	within(t, wg.Wait)
}

// TestAdapt has every row of the reference's table of handler results. Where the reference answers
// nothing at all, or sends what reads as something else (-1), ours is an error response.
func TestAdapt(t *testing.T) {
	for name, c := range map[string]struct {
		result  any
		err     error
		flags   uint64
		payload string
	}{
		"None":                {nil, nil, 1, ""},
		"int":                 {5, nil, 11, ""},
		"int8":                {int8(5), nil, 11, ""},
		"int16":               {int16(5), nil, 11, ""},
		"int32":               {int32(5), nil, 11, ""},
		"int64":               {int64(5), nil, 11, ""},
		"uint":                {uint(5), nil, 11, ""},
		"uint8":               {uint8(5), nil, 11, ""},
		"uint16":              {uint16(5), nil, 11, ""},
		"uint32":              {uint32(5), nil, 11, ""},
		"uint64":              {uint64(5), nil, 11, ""},
		"bytes":               {[]byte("\x00hello\xff"), nil, 1, "\x00hello\xff"},
		"str":                 {"naïve", nil, 1, "naïve"},
		"str with surrogates": {"a\xed\xa0\x80b", nil, 1, "a&#55296;b"},
		"pair":                {pconn.Pair{Flags: 3, Payload: []byte("p")}, nil, 7, "p"},
		"list of two":         {[]any{7, []byte("list")}, nil, 15, "list"},
		"tuple":               {[2]any{uint8(1), []byte("t")}, nil, 3, "t"},
		"pair of bool":        {[]any{true, []byte("bool")}, nil, 3, "bool"},
		"True":                {true, nil, 3, ""},
		"False":               {false, nil, 1, ""},
		"Reply":               {pconn.Flags(2), nil, 5, ""},
		"list of three":       {[]any{1, []byte("a"), 2}, nil, 0, failedText},
		"list of one":         {[]any{1}, nil, 0, failedText},
		"float":               {1.5, nil, 0, failedText},
		"bytearray":           {[3]byte{1, 2, 3}, nil, 0, failedText},
		"int and str":         {[]any{1, "text"}, nil, 0, failedText},
		"str and bytes":       {[]any{"x", []byte("")}, nil, 0, failedText},
		"int and memoryview":  {[]any{3, strings.NewReader("")}, nil, 0, failedText},
		"None and bytes":      {[]any{nil, []byte("")}, nil, 0, failedText},
		"minus one":           {-1, nil, 0, failedText},
		"pair of minus one":   {[]any{int8(-1), []byte("")}, nil, 0, failedText},
		"2**61":               {uint64(1 << 61), nil, 0, "reply flags 0x2000000000000000 do not fit in 61 bits"},
		"pointer":             {new(int), nil, 0, failedText},
		"raises":              {nil, errors.New("secret"), 0, failedText},
		"error and result":    {[]byte("x"), errors.New("secret"), 0, failedText},
	} {
		t.Run(name, func(t *testing.T) {
			flags, payload := answerOf(t, pconn.Adapt(func(context.Context, *pconn.Request) (any, error) { return c.result, c.err }))
			require.Equal(t, c.flags, flags)
			require.Equal(t, c.payload, payload)
		})
	}
}

// sendText sends a text as a reply and returns the payload that comes.
func textSender(t testing.TB) func(string) string {
	a, _ := pair(t, nil, serve(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		return pconn.Text(string(req.Payload)), nil
	}))
	ctx := soon(t)
	return func(s string) string {
		resp, err := a.Do(ctx, pconn.Request{Payload: []byte(s)})
		if err != nil {
			return "failed: " + err.Error()
		}
		return string(resp.Payload)
	}
}

// TestTextIsPythons compares with what Python 3.11 made of the same bytes: decoded with encoded
// surrogates let pass and other bad bytes escaped, then encoded with xmlcharrefreplace.
func TestTextIsPythons(t *testing.T) {
	data, err := os.ReadFile("testdata/text.json")
	require.NoError(t, err)
	var cases []struct{ In, Out string }
	require.NoError(t, json.Unmarshal(data, &cases))
	require.Greater(t, len(cases), 300)
	send := textSender(t)
	for _, c := range cases {
		in, err := hex.DecodeString(c.In)
		require.NoError(t, err)
		require.Equal(t, c.Out, hex.EncodeToString([]byte(send(string(in)))), "%q", in)
	}
}

func TestTextProperties(t *testing.T) {
	send := textSender(t)
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOfN(rapid.SampledFrom([]byte("a&#;\xed\xa0\x80\xbf\xb2\xf0\x9f\x98\xc3\xa4\xe6\xff")), 0, 30).Draw(t, "s"))
		got := send(s)
		if !utf8.ValidString(got) {
			t.Fatalf("%q is not UTF-8", got)
		}
		if utf8.ValidString(s) && got != s {
			t.Fatalf("%q was good, and became %q", s, got)
		}
	})
}

func TestReplyTooLargeIsAnErrorReply(t *testing.T) {
	o := serve(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		return pconn.Bytes(make([]byte, 100+req.Type)), nil
	})
	o.MaxPayload = 100
	p := raw(t, o)
	p.write(request(2, 1, ""))
	p.expectResponse(2, false, "pconn: reply payload, bytes: 101 is over the limit of 100")
	p.write(request(3, 0, ""))
	p.expectResponse(3, true, strings.Repeat("\x00", 100))
}
