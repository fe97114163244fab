package prpc

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"reflect"
	"slices"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"
)

// Raw is a value that is msgpack already: exactly one well-formed value. As an
// argument, result or message it goes out as it is; as a wanted type it takes
// what came in undecoded.
type Raw []byte

// Map is a map in the order it has on the wire, with keys of any kind. Maps whose
// keys are not all text are decoded to it.
type Map []Entry

// Entry is one key and its value in a Map.
type Entry struct {
	Key, Value any
}

// Keywords is the type of keyword arguments. As an argument of Call, Start or
// Invoke it is not a positional one: its entries are passed by name. As the last
// parameter of a method it takes the keyword arguments no other parameter took.
type Keywords map[string]any

// encodeDepth bounds the nesting of what we send: the original's decoder refuses
// more, and a value that holds itself has no end.
const encodeDepth = 500

// appendValue appends the msgpack form of v.
func appendValue(b []byte, v any) ([]byte, error) { return appendNested(b, v, encodeDepth) }

// appendNested appends a value that may still be nested depth levels deep. Common
// types go the short way round reflection.
func appendNested(b []byte, v any, depth int) ([]byte, error) {
	if depth < 0 {
		return b, &EncodeError{Type: fmt.Sprintf("%T", v), Reason: "value is nested too deeply"}
	}
	switch v := v.(type) {
	case nil:
		return msgp.AppendNil(b), nil
	case bool:
		return msgp.AppendBool(b, v), nil
	case int:
		return appendInt(b, int64(v)), nil
	case int64:
		return appendInt(b, v), nil
	case uint64:
		return msgp.AppendUint64(b, v), nil
	case float64:
		return msgp.AppendFloat64(b, v), nil
	case string:
		return appendText(b, v)
	case []byte:
		return appendBinary(b, v)
	case Raw:
		return appendRaw(b, v)
	case []any:
		b = msgp.AppendArrayHeader(b, uint32(len(v)))
		var err error
		for _, item := range v {
			if b, err = appendNested(b, item, depth-1); err != nil {
				return b, err
			}
		}
		return b, nil
	case map[string]any:
		return appendTextMap(b, v, depth)
	case Keywords:
		return appendTextMap(b, v, depth)
	case Map:
		return appendEntries(b, v, depth)
	case msgp.Marshaler:
		return v.MarshalMsg(b)
	}
	return appendReflected(b, reflect.ValueOf(v), depth)
}

// appendInt appends the smallest form, which for a positive number is an unsigned one.
func appendInt(b []byte, n int64) []byte {
	if n >= 0 {
		return msgp.AppendUint64(b, uint64(n))
	}
	return msgp.AppendInt64(b, n)
}

// appendText refuses what is not UTF-8: it would make the peer end the connection.
func appendText(b []byte, s string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return b, &EncodeError{Type: "string", Reason: "text is not UTF-8"}
	}
	if uint64(len(s)) > math.MaxUint32 {
		return b, ErrTooLarge
	}
	return msgp.AppendString(b, s), nil
}

func appendBinary(b, v []byte) ([]byte, error) {
	if uint64(len(v)) > math.MaxUint32 {
		return b, ErrTooLarge
	}
	return msgp.AppendBytes(b, v), nil
}

func appendRaw(b []byte, v Raw) ([]byte, error) {
	limits := Limits{Depth: encodeDepth, Elements: math.MaxInt}
	if err := scan(v, &limits); err != nil {
		return b, &EncodeError{Type: "Raw", Reason: "raw value is not msgpack: " + err.Error()}
	}
	return append(b, v...), nil
}

func appendTextMap(b []byte, m map[string]any, depth int) ([]byte, error) {
	b = msgp.AppendMapHeader(b, uint32(len(m)))
	var err error
	for _, key := range sortedKeys(m) {
		if b, err = appendText(b, key); err != nil {
			return b, err
		}
		if b, err = appendNested(b, m[key], depth-1); err != nil {
			return b, err
		}
	}
	return b, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func appendEntries(b []byte, m Map, depth int) ([]byte, error) {
	b = msgp.AppendMapHeader(b, uint32(len(m)))
	for _, entry := range m {
		at := len(b)
		var err error
		if b, err = appendNested(b, entry.Key, depth-1); err != nil {
			return b, err
		}
		if !hashable(b[at:]) {
			return b, &EncodeError{Type: fmt.Sprintf("%T", entry.Key), Reason: "a map key cannot be a list or a map"}
		}
		if b, err = appendNested(b, entry.Value, depth-1); err != nil {
			return b, err
		}
	}
	return b, nil
}

// appendReflected appends a value of a type appendNested does not name.
func appendReflected(b []byte, v reflect.Value, depth int) ([]byte, error) {
	switch v.Kind() {
	case reflect.Bool:
		return msgp.AppendBool(b, v.Bool()), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return appendInt(b, v.Int()), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return msgp.AppendUint64(b, v.Uint()), nil
	case reflect.Float32, reflect.Float64:
		return msgp.AppendFloat64(b, v.Float()), nil
	case reflect.String:
		return appendText(b, v.String())
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return msgp.AppendNil(b), nil
		}
		return appendNested(b, v.Elem().Interface(), depth-1)
	case reflect.Slice, reflect.Array:
		return appendList(b, v, depth)
	case reflect.Map:
		return appendReflectedMap(b, v, depth)
	case reflect.Struct:
		return appendStruct(b, v, depth)
	default:
		return b, &EncodeError{Type: typeName(v.Type())}
	}
}

// typeName is the name of a type without its package, as a peer in another language would
// show it.
func typeName(t reflect.Type) string { return cmp.Or(t.Name(), t.String()) }

func appendList(b []byte, v reflect.Value, depth int) ([]byte, error) {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		data := make([]byte, v.Len())
		for i := range data {
			data[i] = byte(v.Index(i).Uint())
		}
		return appendBinary(b, data)
	}
	b = msgp.AppendArrayHeader(b, uint32(v.Len()))
	var err error
	for i := range v.Len() {
		if b, err = appendNested(b, v.Index(i).Interface(), depth-1); err != nil {
			return b, err
		}
	}
	return b, nil
}

// appendReflectedMap appends the entries in the order of their encoded keys.
func appendReflectedMap(b []byte, v reflect.Value, depth int) ([]byte, error) {
	type entry struct {
		key   []byte
		value reflect.Value
	}
	entries := make([]entry, 0, v.Len())
	for it := v.MapRange(); it.Next(); {
		key, err := appendNested(nil, it.Key().Interface(), depth-1)
		if err != nil {
			return b, err
		}
		if !hashable(key) {
			return b, &EncodeError{Type: typeName(v.Type()), Reason: "a map key cannot be a list or a map"}
		}
		entries = append(entries, entry{key, it.Value()})
	}
	slices.SortFunc(entries, func(x, y entry) int { return bytes.Compare(x.key, y.key) })
	b = msgp.AppendMapHeader(b, uint32(len(entries)))
	var err error
	for _, e := range entries {
		b = append(b, e.key...)
		if b, err = appendNested(b, e.value.Interface(), depth-1); err != nil {
			return b, err
		}
	}
	return b, nil
}

func appendStruct(b []byte, v reflect.Value, depth int) ([]byte, error) {
	fields := fieldsOf(v.Type())
	n := 0
	for i := range fields {
		if f := &fields[i]; !f.omitEmpty || !v.FieldByIndex(f.index).IsZero() {
			n++
		}
	}
	b = msgp.AppendMapHeader(b, uint32(n))
	var err error
	for i := range fields {
		f := &fields[i]
		value := v.FieldByIndex(f.index)
		if f.omitEmpty && value.IsZero() {
			continue
		}
		b = msgp.AppendString(b, f.name)
		if b, err = appendNested(b, value.Interface(), depth-1); err != nil {
			return b, err
		}
	}
	return b, nil
}
