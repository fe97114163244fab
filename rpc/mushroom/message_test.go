package mushroom_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/rpc/mushroom"
)

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":            "",
		"spaces":             "  ",
		"cut off":            `[1,0,"m"`,
		"cut off in a text":  `[1,0,"m`,
		"something behind":   `[1,0,"m"] 5`,
		"NaN":                `[1,0,"m",NaN]`,
		"not UTF-8":          "[1,0,\"m\xff\"]",
		"not UTF-8 in data":  "[1,0,\"m\",\"\xc0\x80\"]",
		"id null":            `[1,null,"m"]`,
		"id true":            `[1,true,"m"]`,
		"id false":           `[1,false,"m"]`,
		"id a list":          `[1,[0],"m"]`,
		"id an object":       `[1,{},"m"]`,
		"id out of range":    `[1,1e999,"m"]`,
		"id too long":        `[1,` + strings.Repeat("1", 65) + `,"m"]`,
		"id a long text":     `[1,"` + strings.Repeat("a", 65) + `","m"]`,
		"request id true":    `[3,0,true]`,
		"heartbeat true":     `[0,true]`,
		"code 1.5":           `[1.5,0,"m"]`,
		"code 1e300":         `[1e300,0,"m"]`,
		"code a text":        `["1",0,"m"]`,
		"too deep":           `[1,0,"m",` + strings.Repeat("[", 128) + strings.Repeat("]", 128) + `]`,
		"deep and cut off":   strings.Repeat("[", 100_000),
		"object with no end": `[1,0,"m",{"a":1]`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := mushroom.ParseMessage([]byte(text))
			assert.ErrorIs(t, err, mushroom.ErrBadMessage)
		})
	}
}

func TestParseKeeps(t *testing.T) {
	for text, want := range map[string]string{
		`[1,1.5,"m",null]`:                        "",
		`[1,"id","m",null]`:                       "",
		`[1,-3,"m",null]`:                         "",
		`[0,1e3]`:                                 "",
		`[3,0,"other",1]`:                         "",
		`[2,0,{"no":"text"},[1,2]]`:               "",
		`[2,0,null,5]`:                            "",
		`[1,9223372036854775807,"m",null]`:        "",
		`[1,92233720368547758070,"m",null]`:       "",
		"[1,0,\"\\u0001\\\"\\\\é\",null]":         "",
		` [ 1 , 0 , "m" , { "a" : [ 1 , 2 ] } ] `: `[1,0,"m",{"a":[1,2]}]`,
		`[1,0,"m","a,]\"}[,"]`:                    "",
		`[1,0,"m",` + strings.Repeat("[", 127) + strings.Repeat("]", 127) + `]`: "",
	} {
		t.Run(text, func(t *testing.T) {
			var m mushroom.Message
			require.NoError(t, json.Unmarshal([]byte(text), &m))
			again, err := json.Marshal(m)
			require.NoError(t, err)
			if want == "" {
				want = text
			}
			assert.JSONEq(t, want, string(again))
		})
	}
}

// TestParseCopies: a message may outlive the buffer it was read from.
func TestParseCopies(t *testing.T) {
	text := []byte(`[1,0,"m","data"]`)
	m, err := mushroom.ParseMessage(text)
	require.NoError(t, err)
	clear(text)
	assert.Equal(t, `"data"`, string(m.Data))
}

func TestKindString(t *testing.T) {
	assert.Equal(t, "Request", mushroom.KindRequest.String())
	assert.Equal(t, "Kind(7)", mushroom.Kind(7).String())
}

func FuzzParseMessage(f *testing.F) {
	for _, text := range []string{
		`[0,null]`, `[0,5]`, `[1,0,"m"]`, `[2,1,"m",{"a":[1,"]"]}]`, `[3,2,1,"v"]`, `[4,"a",1.5,null]`, `[-1]`,
		`[true,0,"\u00e9\ud800"]`, `[]`, `{}`, `[[[`, `"`, "[1,0,\"\xff\"]",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := mushroom.ParseMessage(text)
		if err != nil {
			require.ErrorIs(t, err, mushroom.ErrBadMessage)
			return
		}
		again, err := json.Marshal(m)
		require.NoError(t, err)
		m2, err := mushroom.ParseMessage(again)
		require.NoError(t, err)
		once, err := json.Marshal(m2)
		require.NoError(t, err)
		require.Equal(t, string(again), string(once))
	})
}
