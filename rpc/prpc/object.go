package prpc

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"
)

// ObjectMethods is an object whose methods are exposed; see Object.
type ObjectMethods struct {
	object any
	names  []string
}

// Object exposes exported methods of an object in a Tree: those that are named, or all if
// none is. A method must be a function that Func takes, and travels under its name in snake
// case: CloseFirst is called close_first, HTTPGet is http_get. NewTree returns an error for a method
// that does not exist or cannot be called.
func Object(object any, methods ...string) *ObjectMethods {
	return &ObjectMethods{object: object, names: methods}
}

func (t *methodTree) addObject(prefix string, o *ObjectMethods) error {
	v := reflect.ValueOf(o.object)
	if !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return fmt.Errorf("prpc: object at %q is nil", prefix)
	}
	names := o.names
	if len(names) == 0 {
		for i := range v.NumMethod() {
			names = append(names, v.Type().Method(i).Name)
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("prpc: %T at %q has no exported methods", o.object, prefix)
	}
	for _, name := range names {
		fn := v.MethodByName(name)
		if !fn.IsValid() {
			return fmt.Errorf("prpc: %T at %q has no exported method %s", o.object, prefix, name)
		}
		method, err := Func(fn.Interface())
		if err != nil {
			return fmt.Errorf("prpc: %T.%s: %w", o.object, name, err)
		}
		if err := t.addMethod(join(prefix, snakeCase(name)), method); err != nil {
			return err
		}
	}
	return nil
}

// snakeCase turns CloseFirst into close_first and HTTPGet into http_get.
func snakeCase(name string) string {
	runes := []rune(name)
	var b strings.Builder
	for i, c := range runes {
		if i > 0 && unicode.IsUpper(c) && runes[i-1] != '_' {
			afterLower := !unicode.IsUpper(runes[i-1])
			beforeLower := i+1 < len(runes) && unicode.IsLower(runes[i+1])
			if afterLower || beforeLower {
				b.WriteByte('_')
			}
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}
