// Package prpcjson writes msgpack values as JSON and reads them back. What JSON
// has no form for is an object with one key:
//
//	{"$bin": "00ff"}            binary, in hexadecimal
//	{"$float": "1.5"}           a float, where its text would read as an integer or is no JSON
//	{"$int": "18446744073709551615"}  an integer; plain numbers do as well
//	{"$map": [[key, value]]}    a map whose keys are not all text
package prpcjson

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/packetstream/packetstream/rpc/prpc"
)

// Parse reads one JSON text. Objects keep the order of their keys: they become prpc.Map.
func Parse(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := parse(d)
	if err != nil {
		return nil, fmt.Errorf("bad JSON value: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("bad JSON value: text behind it")
	}
	return v, nil
}

func parse(d *json.Decoder) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Number:
		return number(t.String())
	case json.Delim:
		if t == '[' {
			return parseList(d)
		}
		return parseObject(d)
	default:
		return t, nil
	}
}

func number(text string) (any, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return n, nil
	}
	return strconv.ParseFloat(text, 64)
}

func parseList(d *json.Decoder) (any, error) {
	list := []any{}
	for d.More() {
		v, err := parse(d)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := d.Token()
	return list, err
}

func parseObject(d *json.Decoder) (any, error) {
	entries := prpc.Map{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		value, err := parse(d)
		if err != nil {
			return nil, err
		}
		entries = append(entries, prpc.Entry{Key: key, Value: value})
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if len(entries) == 1 {
		return tagged(entries)
	}
	return entries, nil
}

// tagged turns an object with one of the special keys into what it stands for.
func tagged(entries prpc.Map) (any, error) {
	value := entries[0].Value
	text, isText := value.(string)
	list, isList := value.([]any)
	switch key := entries[0].Key; {
	case key == "$bin" && isText:
		return hex.DecodeString(text)
	case key == "$float" && isText:
		return strconv.ParseFloat(text, 64)
	case key == "$int" && isText:
		return number(text)
	case key == "$map" && isList:
		return pairs(list)
	}
	return entries, nil
}

func pairs(list []any) (any, error) {
	m := prpc.Map{}
	for _, item := range list {
		pair, ok := item.([]any)
		if !ok || len(pair) != 2 {
			return nil, errors.New("$map is not a list of pairs")
		}
		m = append(m, prpc.Entry{Key: pair[0], Value: pair[1]})
	}
	return m, nil
}

// Format writes a value that was received, on one line. The keys of objects are sorted.
func Format(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(jsonable(v))
	return bytes.TrimRight(b.Bytes(), "\n"), err
}

func jsonable(v any) any {
	switch v := v.(type) {
	case []byte:
		return map[string]any{"$bin": hex.EncodeToString(v)}
	case float64:
		if v == math.Trunc(v) || math.IsInf(v, 0) || math.IsNaN(v) {
			return map[string]any{"$float": strconv.FormatFloat(v, 'g', -1, 64)}
		}
		return v
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = jsonable(v[i])
		}
		return list
	case map[string]any:
		object := make(map[string]any, len(v))
		for key, value := range v {
			object[key] = jsonable(value)
		}
		return object
	case prpc.Map:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = []any{jsonable(e.Key), jsonable(e.Value)}
		}
		return map[string]any{"$map": list}
	default:
		return v
	}
}
