package prpc_test

import (
	"encoding/hex"
	"math"
	"reflect"
	"testing"

	"github.com/packetstream/packetstream/rpc/prpc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

type level int

type inner struct {
	A int
	//lint:ignore U1000 a field that is not exported must not travel
	b int
}

type outer struct {
	inner
	Named  inner   `msgpack:"named"`
	Skip   int     `msgpack:"-"`
	Empty  string  `msgpack:"empty,omitempty"`
	Ptr    *int    `msgpack:"ptr"`
	List   []int8  `msgpack:"list"`
	Pair   [2]byte `msgpack:"pair"`
	Any    any     `msgpack:"any"`
	Float  float32 `msgpack:"float"`
	Levels map[level]string
}

type octet byte

// What Go values become, in hexadecimal.
func TestEncode(t *testing.T) {
	seven := 7
	for _, row := range []struct {
		value any
		want  string
	}{
		{int8(-1), "ff"}, {uint16(300), "cd012c"}, {level(200), "ccc8"}, {int64(-200), "d1ff38"},
		{float32(1.5), "cb3ff8000000000000"}, {&seven, "07"}, {(*int)(nil), "c0"}, {[]int(nil), "90"},
		{map[string]int(nil), "80"}, {[]byte(nil), "c400"}, {[2]byte{1, 2}, "c4020102"}, {[]octet{3}, "c40103"},
		{map[int]string{2: "b", 1: "a"}, "8201a16102a162"}, {[]string{"x"}, "91a178"}, {true, "c3"}, {level(-1), "ff"},
		{prpc.Raw{0x93, 1, 2, 3}, "93010203"}, {prpc.Map{{Key: nil, Value: prpc.Map{}}}, "81c080"},
		{inner{A: 1}, "81a14101"}, {struct{}{}, "80"}, {uintptr(5), "05"}, {[]any{nil}, "91c0"},
		{reflect.ValueOf(bool(true)).Interface(), "c3"}, {map[bool]int{true: 1}, "81c301"},
	} {
		got, err := prpc.Encode(row.value)
		require.NoError(t, err)
		assert.Equal(t, row.want, hex.EncodeToString(got), "%#v", row.value)
	}
}

func TestEncodeRefuses(t *testing.T) {
	self := []any{nil}
	self[0] = self
	loop := &struct{ Next any }{}
	loop.Next = loop
	for name, row := range map[string]struct {
		value any
		want  string
	}{
		"channel":        {make(chan int), "can not serialize 'chan int' object"},
		"function":       {func() {}, "can not serialize 'func()' object"},
		"bad text":       {"\xff", "text is not UTF-8"},
		"bad key":        {map[string]any{"\xff": 1}, "text is not UTF-8"},
		"list in itself": {self, "value is nested too deeply"},
		"pointer loop":   {loop, "value is nested too deeply"},
		"list as key":    {prpc.Map{{Key: []any{}}}, "a map key cannot be a list or a map"},
		"array as key":   {map[[1]string]int{{}: 1}, "a map key cannot be a list or a map"},
		"bad raw":        {prpc.Raw{0xc1}, "raw value is not msgpack"},
		"empty raw":      {prpc.Raw{}, "raw value is not msgpack"},
		"within a list":  {[]any{1, []chan int{nil}}, "can not serialize 'chan int' object"},
		"within a map":   {map[string]any{"a": func() {}}, "can not serialize"},
		"within values":  {map[int]any{1: func() {}}, "can not serialize"},
		"within keys":    {map[any]int{1 + 2i: 1}, "can not serialize 'complex128' object"},
		"within entries": {prpc.Map{{Key: 1, Value: func() {}}}, "can not serialize"},
		"entry key":      {prpc.Map{{Key: func() {}}}, "can not serialize"},
		"within structs": {struct{ F func() }{}, "can not serialize"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := prpc.Encode(row.value)
			var ee *prpc.EncodeError
			require.ErrorAs(t, err, &ee)
			assert.Contains(t, err.Error(), row.want)
			assert.Equal(t, "TypeError", ee.CauseType())
		})
	}
}

func TestDecodeTyped(t *testing.T) {
	three := 3
	want := outer{
		inner: inner{A: 1}, Named: inner{A: 2}, Ptr: &three, List: []int8{-1, 2}, Pair: [2]byte{8, 9},
		Any: []any{int64(1)}, Float: 0.5, Levels: map[level]string{4: "four"},
	}
	b, err := prpc.Encode(want)
	require.NoError(t, err)
	var got outer
	require.NoError(t, prpc.Decode(b, prpc.Limits{}, &got))
	want.inner = inner{} // the fields of an embedded type that is not exported stay behind
	assert.Equal(t, want.Named, got.Named)
	assert.Equal(t, want.Ptr, got.Ptr)
	assert.Equal(t, want.List, got.List)
	assert.Equal(t, want.Pair, got.Pair)
	assert.Equal(t, want.Any, got.Any)
	assert.Equal(t, want.Levels, got.Levels)

	for _, row := range []struct {
		from   any
		target any
		want   any
	}{
		{nil, new(*int), (*int)(nil)}, {nil, new([]int), []int(nil)}, {nil, new(any), nil},
		{nil, new(prpc.Map), prpc.Map(nil)}, {5, new(float64), 5.0}, {uint64(1 << 63), new(uint64), uint64(1 << 63)},
		{uint64(1 << 63), new(float64), float64(1 << 63)}, {[]byte{1}, new([]octet), []octet{1}},
		{[]byte{1, 2}, new([2]octet), [2]octet{1, 2}}, {[]int{1, 2}, new([]byte), []byte{1, 2}},
		{prpc.Map{{Key: 1, Value: 2}}, new(prpc.Map), prpc.Map{{Key: int64(1), Value: int64(2)}}},
		{prpc.Map{{Key: 1, Value: "x"}}, new(map[any]any), map[any]any{int64(1): "x"}},
		{[]any{1, "x"}, new(prpc.Raw), prpc.Raw{0x92, 1, 0xa1, 'x'}}, {true, new(bool), true}, {"s", new(level), nil},
		{1.5, new(int), nil}, {true, new(int), nil}, {"x", new(bool), nil}, {1, new(string), nil}, {1 << 40, new(int32), nil},
		{uint64(1 << 63), new(int64), nil}, {[]int{1}, new([2]int), nil}, {[]byte{1}, new([2]byte), nil},
		{1, new([]int), nil}, {1, new(map[string]int), nil}, {1, new(struct{}), nil}, {1, new(prpc.Map), nil},
		{[]any{"x"}, new([]int), nil}, {map[string]any{"a": "x"}, new(map[string]int), nil},
		{prpc.Map{{Key: []byte("b"), Value: 1}}, new(map[any]any), nil}, {1, 5, nil}, {1, (*int)(nil), nil},
	} {
		b, err := prpc.Encode(row.from)
		require.NoError(t, err)
		err = prpc.Decode(b, prpc.Limits{}, row.target)
		if row.want == nil && row.from != nil {
			var de *prpc.DecodeError
			require.ErrorAs(t, err, &de, "%v as %T", row.from, row.target)
			assert.Equal(t, "TypeError", de.CauseType())
			continue
		}
		require.NoError(t, err, "%v as %T", row.from, row.target)
		assert.Equal(t, row.want, reflect.ValueOf(row.target).Elem().Interface())
	}
}

// What other encoders send, and we do not.
func TestDecodeOtherForms(t *testing.T) {
	for wire, want := range map[string]any{
		"ca3fc00000": 1.5, "d07f": int64(127), "cf0000000000000001": int64(1), "d9016b": "k", "dd0000000101": []any{int64(1)},
		"df0000000101a178": prpc.Map{{Key: int64(1), Value: "x"}}, "82a16101a16102": map[string]any{"a": int64(2)},
	} {
		b, err := hex.DecodeString(wire)
		require.NoError(t, err)
		var got any
		require.NoError(t, prpc.Decode(b, prpc.Limits{}, &got), wire)
		assert.Equal(t, want, got, wire)
	}
	var got any
	for _, wire := range []string{"d40501", "91d40501", "81a178d40501", "8101d40501", "81d4050101"} {
		b, err := hex.DecodeString(wire)
		require.NoError(t, err)
		err = prpc.Decode(b, prpc.Limits{}, &got)
		var de *prpc.DecodeError
		require.ErrorAs(t, err, &de, "extension types are not part of the protocol")
	}
}

// Every value that can be sent comes back as it was.
func TestValuesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyValue(3).Draw(t, "value")
		b, err := prpc.Encode(v)
		require.NoError(t, err)
		var got any
		require.NoError(t, prpc.Decode(b, prpc.Limits{}, &got))
		require.Equal(t, v, got)
		again, err := prpc.Encode(got)
		require.NoError(t, err)
		require.Equal(t, b, again)
	})
}

func anyValue(depth int) *rapid.Generator[any] {
	scalars := []*rapid.Generator[any]{
		rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.Int64().AsAny(), rapid.String().AsAny(),
		rapid.Uint64Min(math.MaxInt64 + 1).AsAny(), rapid.Float64().AsAny(),
		rapid.Custom(func(t *rapid.T) []byte { return append([]byte{}, rapid.SliceOf(rapid.Byte()).Draw(t, "b")...) }).AsAny(),
	}
	if depth == 0 {
		return rapid.OneOf(scalars...)
	}
	list := rapid.Custom(func(t *rapid.T) []any {
		return append([]any{}, rapid.SliceOfN(anyValue(depth-1), 0, 4).Draw(t, "items")...)
	}).AsAny()
	object := rapid.MapOfN(rapid.String(), anyValue(depth-1), 0, 4).AsAny()
	entries := rapid.Custom(func(t *rapid.T) prpc.Map {
		keys := rapid.SliceOfN(rapid.OneOf(rapid.Int64().AsAny(), rapid.Bool().AsAny()), 1, 3).Draw(t, "keys")
		m := prpc.Map{}
		for _, key := range keys {
			m = append(m, prpc.Entry{Key: key, Value: anyValue(depth-1).Draw(t, "v")})
		}
		return m
	}).AsAny()
	return rapid.OneOf(append(scalars, list, object, entries)...)
}
