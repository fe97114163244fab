package prpc

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"

	"github.com/tinylib/msgp/msgp"
)

// decodeAny returns the value at the start of b and what follows it. The bytes passed
// the scanner. Nothing of the result refers to b.
func decodeAny(b []byte) (any, []byte, error) {
	// Most texts and binaries are short, and the library takes longer to find that out.
	switch f, n := shortForm(b); {
	case f == formBinary && n <= len(b):
		return append([]byte{}, b[2:n]...), b[n:], nil
	case f == formText && n <= len(b):
		return string(b[1:n]), b[n:], nil
	}
	switch msgp.NextType(b) {
	case msgp.NilType:
		rest, err := msgp.ReadNilBytes(b)
		return nil, rest, err
	case msgp.BoolType:
		return boxed(msgp.ReadBoolBytes(b))
	case msgp.IntType:
		return boxed(msgp.ReadInt64Bytes(b))
	case msgp.UintType:
		n, rest, err := msgp.ReadUint64Bytes(b)
		if n <= math.MaxInt64 {
			return int64(n), rest, err
		}
		return n, rest, err
	case msgp.Float32Type:
		f, rest, err := msgp.ReadFloat32Bytes(b)
		return float64(f), rest, err
	case msgp.Float64Type:
		return boxed(msgp.ReadFloat64Bytes(b))
	case msgp.StrType:
		return boxed(msgp.ReadStringBytes(b))
	case msgp.BinType:
		return boxed(msgp.ReadBytesBytes(b, []byte{}))
	case msgp.ArrayType:
		return boxed(decodeList(b))
	case msgp.MapType:
		return decodeMap(b)
	default:
		return nil, b, &DecodeError{Want: "any", Got: kindName(b)}
	}
}

func boxed[T any](v T, rest []byte, err error) (any, []byte, error) { return v, rest, err }

func decodeList(b []byte) ([]any, []byte, error) {
	n, rest, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil {
		return nil, b, err
	}
	list := make([]any, n)
	for i := range list {
		if list[i], rest, err = decodeAny(rest); err != nil {
			return nil, b, atPath(err, "["+strconv.Itoa(i)+"]")
		}
	}
	return list, rest, nil
}

// decodeMap returns a map[string]any, or a Map if a key is not text.
func decodeMap(b []byte) (any, []byte, error) {
	n, rest, err := msgp.ReadMapHeaderBytes(b)
	if err != nil {
		return nil, b, err
	}
	texts := make(map[string]any, n)
	for range n {
		if msgp.NextType(rest) != msgp.StrType {
			return decodeEntries(b)
		}
		var key string
		if key, rest, err = msgp.ReadStringBytes(rest); err != nil {
			return nil, b, err
		}
		if texts[key], rest, err = decodeAny(rest); err != nil {
			return nil, b, atPath(err, "."+key)
		}
	}
	return texts, rest, nil
}

func decodeEntries(b []byte) (any, []byte, error) {
	n, rest, err := msgp.ReadMapHeaderBytes(b)
	if err != nil {
		return nil, b, err
	}
	entries := make(Map, n)
	for i := range entries {
		e := &entries[i]
		if e.Key, rest, err = decodeAny(rest); err != nil {
			return nil, b, err
		}
		if e.Value, rest, err = decodeAny(rest); err != nil {
			return nil, b, atPath(err, fmt.Sprintf("[%v]", e.Key))
		}
	}
	return entries, rest, nil
}

// decodeTo stores the one value in raw where target points. The bytes passed the
// scanner.
func decodeTo(raw []byte, target any) error {
	v := reflect.ValueOf(target)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return &DecodeError{Want: "target that is not a pointer", Got: kindName(raw)}
	}
	_, err := decodeInto(raw, v.Elem())
	return err
}

// decodeInto stores the value at the start of b in v and returns what follows it.
func decodeInto(b []byte, v reflect.Value) ([]byte, error) {
	switch target := v.Addr().Interface().(type) {
	case *any:
		var err error
		*target, b, err = decodeAny(b)
		return b, err
	case *Raw:
		rest, err := msgp.Skip(b)
		if err != nil {
			return b, err
		}
		*target = append(Raw{}, b[:len(b)-len(rest)]...)
		return rest, nil
	case *Map:
		return decodeAs(b, v, msgp.MapType, decodeEntries)
	case msgp.Unmarshaler:
		return target.UnmarshalMsg(b)
	}
	if msgp.IsNil(b) {
		return decodeNil(b, v)
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return decodeInto(b, v.Elem())
	case reflect.Slice, reflect.Array:
		return decodeIntoList(b, v)
	case reflect.Map:
		return decodeIntoMap(b, v)
	case reflect.Struct:
		return decodeIntoStruct(b, v)
	default:
		return decodeScalar(b, v)
	}
}

// decodeNil takes nil for what can be nil; zero numbers and empty text are not nothing.
func decodeNil(b []byte, v reflect.Value) ([]byte, error) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface:
		v.SetZero()
		return msgp.ReadNilBytes(b)
	default:
		return b, mismatch(b, v)
	}
}

// decodeAs stores what decode makes of b, if b is of that msgpack type.
func decodeAs(b []byte, v reflect.Value, t msgp.Type, decode func([]byte) (any, []byte, error)) ([]byte, error) {
	if msgp.IsNil(b) {
		return decodeNil(b, v)
	}
	if msgp.NextType(b) != t {
		return b, mismatch(b, v)
	}
	value, rest, err := decode(b)
	if err != nil {
		return b, err
	}
	v.Set(reflect.ValueOf(value))
	return rest, nil
}

func decodeScalar(b []byte, v reflect.Value) ([]byte, error) {
	value, rest, err := decodeAny(b)
	if err != nil {
		return b, err
	}
	fits := false
	switch x := value.(type) {
	case bool:
		if fits = v.Kind() == reflect.Bool; fits {
			v.SetBool(x)
		}
	case string:
		if fits = v.Kind() == reflect.String; fits {
			v.SetString(x)
		}
	case int64:
		fits = setInt(v, x)
	case uint64:
		fits = setUint(v, x)
	case float64:
		if fits = v.CanFloat(); fits {
			v.SetFloat(x)
		}
	}
	if !fits {
		return b, mismatch(b, v)
	}
	return rest, nil
}

// setInt stores n if v is a number type that holds it exactly.
func setInt(v reflect.Value, n int64) bool {
	switch {
	case v.CanInt() && !v.OverflowInt(n):
		v.SetInt(n)
	case v.CanUint() && n >= 0:
		return setUint(v, uint64(n))
	case v.CanFloat() && int64(float64(n)) == n:
		v.SetFloat(float64(n))
	default:
		return false
	}
	return true
}

func setUint(v reflect.Value, n uint64) bool {
	switch {
	case v.CanUint() && !v.OverflowUint(n):
		v.SetUint(n)
	case v.CanFloat() && uint64(float64(n)) == n:
		v.SetFloat(float64(n))
	default:
		return false
	}
	return true
}

func decodeIntoList(b []byte, v reflect.Value) ([]byte, error) {
	if v.Type().Elem().Kind() == reflect.Uint8 && msgp.NextType(b) == msgp.BinType {
		return decodeBinary(b, v)
	}
	if msgp.NextType(b) != msgp.ArrayType {
		return b, mismatch(b, v)
	}
	n, rest, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil {
		return b, err
	}
	if v.Kind() == reflect.Array && v.Len() != int(n) {
		return b, mismatch(b, v)
	}
	if v.Kind() == reflect.Slice {
		v.Set(reflect.MakeSlice(v.Type(), int(n), int(n)))
	}
	for i := range v.Len() {
		if rest, err = decodeInto(rest, v.Index(i)); err != nil {
			return b, atPath(err, "["+strconv.Itoa(i)+"]")
		}
	}
	return rest, nil
}

func decodeBinary(b []byte, v reflect.Value) ([]byte, error) {
	data, rest, err := msgp.ReadBytesZC(b)
	if err != nil {
		return b, err
	}
	if v.Kind() == reflect.Array {
		if len(data) != v.Len() {
			return b, mismatch(b, v)
		}
	} else {
		v.Set(reflect.MakeSlice(v.Type(), len(data), len(data)))
	}
	copy(v.Bytes(), data)
	return rest, nil
}

func decodeIntoMap(b []byte, v reflect.Value) ([]byte, error) {
	if msgp.NextType(b) != msgp.MapType {
		return b, mismatch(b, v)
	}
	n, rest, err := msgp.ReadMapHeaderBytes(b)
	if err != nil {
		return b, err
	}
	t := v.Type()
	result := reflect.MakeMapWithSize(t, int(n))
	for range n {
		key, value := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
		at := rest
		if rest, err = decodeInto(rest, key); err != nil {
			return b, err
		}
		if !key.Comparable() {
			return b, mismatch(at, key)
		}
		if rest, err = decodeInto(rest, value); err != nil {
			return b, atPath(err, fmt.Sprintf("[%v]", key))
		}
		result.SetMapIndex(key, value)
	}
	v.Set(result)
	return rest, nil
}

// decodeIntoStruct fills in fields by name. Entries for which there is no field
// are left out, and so are fields for which there is no entry: peers grow apart.
func decodeIntoStruct(b []byte, v reflect.Value) ([]byte, error) {
	if msgp.NextType(b) != msgp.MapType {
		return b, mismatch(b, v)
	}
	n, rest, err := msgp.ReadMapHeaderBytes(b)
	if err != nil {
		return b, err
	}
	fields := fieldsOf(v.Type())
	for range n {
		var key []byte
		if msgp.NextType(rest) == msgp.StrType {
			key, rest, err = msgp.ReadStringZC(rest)
		} else {
			rest, err = msgp.Skip(rest)
		}
		if err != nil {
			return b, err
		}
		if f := fieldNamed(fields, key); f != nil {
			rest, err = decodeInto(rest, v.FieldByIndex(f.index))
		} else {
			rest, err = msgp.Skip(rest)
		}
		if err != nil {
			return b, atPath(err, "."+string(key))
		}
	}
	return rest, nil
}

func fieldNamed(fields []field, name []byte) *field {
	for i := range fields {
		if fields[i].name == string(name) {
			return &fields[i]
		}
	}
	return nil
}

func mismatch(b []byte, v reflect.Value) error {
	return &DecodeError{Want: v.Type().String(), Got: kindName(b)}
}

// atPath puts a step in front of the path of a DecodeError.
func atPath(err error, step string) error {
	var e *DecodeError
	if errors.As(err, &e) {
		e.Path = step + e.Path
	}
	return err
}

// kindName describes the value at the start of b, with the value if it is short.
func kindName(b []byte) string {
	const shown = 32
	switch t := msgp.NextType(b); t {
	case msgp.NilType:
		return "nil"
	case msgp.StrType:
		if s, _, err := msgp.ReadStringZC(b); err == nil && len(s) <= shown {
			return "text " + strconv.Quote(string(s))
		}
		return "text"
	case msgp.BinType:
		return "binary"
	case msgp.ArrayType:
		n, _, _ := msgp.ReadArrayHeaderBytes(b)
		return fmt.Sprintf("a list of %d", n)
	case msgp.MapType:
		return "a map"
	case msgp.IntType, msgp.UintType, msgp.Float32Type, msgp.Float64Type, msgp.BoolType:
		value, _, _ := decodeAny(b)
		return fmt.Sprint(value)
	default:
		return "an extension type"
	}
}
