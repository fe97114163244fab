package prpcjson_test

import (
	"math"
	"testing"

	"github.com/packetstream/packetstream/internal/prpcjson"
	"github.com/packetstream/packetstream/rpc/prpc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]any{
		`null`: nil, `true`: true, `1`: int64(1), `-1`: int64(-1), `1.5`: 1.5, `"x"`: "x", `1e3`: 1000.0,
		`18446744073709551615`: uint64(math.MaxUint64), `[1, []]`: []any{int64(1), []any{}},
		`{"b": 1, "a": 2}`: prpc.Map{{Key: "b", Value: int64(1)}, {Key: "a", Value: int64(2)}},
		`{"$bin": "00ff"}`: []byte{0, 255}, `{"$float": "1"}`: 1.0, `{"$int": "18446744073709551615"}`: uint64(math.MaxUint64),
		`{"$map": [[1, "one"]]}`: prpc.Map{{Key: int64(1), Value: "one"}}, `{"$bin": 5}`: prpc.Map{{Key: "$bin", Value: int64(5)}},
		`{}`: prpc.Map{},
	} {
		got, err := prpcjson.Parse([]byte(text))
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{
		``, `{`, `[`, `[1`, `{"a"`, `{"a": `, `{"a": 1`, `1 2`, `{"$bin": "0"}`, `{"$float": "x"}`, `{"$map": [1]}`, `1e999`, `nope`,
	} {
		_, err := prpcjson.Parse([]byte(text))
		require.ErrorContains(t, err, "bad JSON value", text)
	}
}

func TestFormat(t *testing.T) {
	for want, value := range map[string]any{
		`null`: nil, `[1,"<é>"]`: []any{int64(1), "<é>"}, `{"$bin":"00ff"}`: []byte{0, 255}, `1.5`: 1.5,
		`{"$float":"2"}`: 2.0, `{"$float":"NaN"}`: math.NaN(), `{"$float":"+Inf"}`: math.Inf(1),
		`{"a":{"$bin":""},"b":1}`: map[string]any{"b": int64(1), "a": []byte{}},
		`{"$map":[[1,"one"]]}`:    prpc.Map{{Key: int64(1), Value: "one"}}, `18446744073709551615`: uint64(math.MaxUint64),
	} {
		got, err := prpcjson.Format(value)
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
}

// What was formatted parses to what encodes the same.
func TestRoundTrip(t *testing.T) {
	for _, value := range []any{
		nil, []any{1.0, 1.5, int64(1), []byte{1}}, prpc.Map{{Key: []byte{1}, Value: 2.0}}, math.Inf(-1),
	} {
		text, err := prpcjson.Format(value)
		require.NoError(t, err)
		again, err := prpcjson.Parse(text)
		require.NoError(t, err)
		text2, err := prpcjson.Format(again)
		require.NoError(t, err)
		assert.Equal(t, string(text), string(text2))
	}
}
