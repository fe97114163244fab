package prpc

import (
	"reflect"
	"strings"
	"sync"
)

// field is a struct field that travels as a map entry.
type field struct {
	name      string
	index     []int
	omitEmpty bool
}

// fieldCache remembers the fields of struct types, which never change: reflect.Type to []field.
var fieldCache sync.Map

// fieldsOf returns the exported fields of a struct type in their order. The tag
// `msgpack:"name,omitempty"` names a field, "-" leaves it out. The fields of an
// embedded struct without a tag count as the outer one's.
func fieldsOf(t reflect.Type) []field {
	if cached, ok := fieldCache.Load(t); ok {
		return cached.([]field)
	}
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("msgpack"), ",")
		if name == "-" || !f.IsExported() {
			continue
		}
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct {
			for _, inner := range fieldsOf(f.Type) {
				inner.index = append([]int{i}, inner.index...)
				fields = append(fields, inner)
			}
			continue
		}
		if name == "" {
			name = f.Name
		}
		fields = append(fields, field{name: name, index: f.Index, omitEmpty: options == "omitempty"})
	}
	fieldCache.Store(t, fields)
	return fields
}
