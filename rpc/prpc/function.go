package prpc

import (
	"context"
	"fmt"
	"reflect"

	"github.com/tinylib/msgp/msgp"
)

var (
	contextType  = reflect.TypeFor[context.Context]()
	requestType  = reflect.TypeFor[*Request]()
	streamType   = reflect.TypeFor[*Stream]()
	keywordsType = reflect.TypeFor[Keywords]()
	errorType    = reflect.TypeFor[error]()
)

// function is a plain function as a Method.
type function struct {
	fn       reflect.Value
	leading  []reflect.Type // context, request and stream, in their order
	context  bool           // it takes a context
	params   []param
	variadic reflect.Type // slice for the rest of the arguments, or nil
	keywords bool         // the last parameter takes other keyword arguments
	result   bool
	err      bool
	// direct calls a function that takes arguments of any kind: direct.count of them, or however many there are if that is negative.
	direct struct {
		call  func(args []any) (any, error)
		count int
	}
}

// param is a parameter that takes an argument.
type param struct {
	name     string // "" if it cannot be given by name
	typ      reflect.Type
	optional bool
}

// Func makes a Method of a function. Its parameters are, in this order and all of them
// optional: a context.Context, a *Request, a *Stream (nil in a unary call), the positional arguments,
// and Keywords for keyword arguments that no parameter takes. It returns nothing, a value,
// an error, or both.
//
// Arguments are converted to the types of the parameters; those that do not fit are
// answered as StatusMethodError with an *ArgumentError. A parameter of a pointer type may
// be left out. The parameters of a variadic function take the rest. names gives names to the
// positional parameters, from the first on, so that they can be passed by keyword.
func Func(fn any, names ...string) (Method, error) {
	if direct, ok := fn.(func(context.Context, *Request) (any, error)); ok && len(names) == 0 {
		return MethodFunc(direct), nil
	}
	v := reflect.ValueOf(fn)
	if v.Kind() != reflect.Func {
		return nil, fmt.Errorf("%T is %w", fn, errNotMethod)
	}
	if v.IsNil() {
		return nil, fmt.Errorf("%T is nil", fn)
	}
	f := &function{fn: v}
	if len(names) == 0 {
		f.takeDirect(fn)
	}
	if err := f.readParams(v.Type(), names); err != nil {
		return nil, err
	}
	return f, f.readResults(v.Type())
}

func (f *function) readParams(t reflect.Type, names []string) error {
	i, last := 0, t.NumIn()
	for _, special := range []reflect.Type{contextType, requestType, streamType} {
		if i < last && t.In(i) == special {
			f.leading = append(f.leading, special)
			f.context = f.context || special == contextType
			i++
		}
	}
	if t.IsVariadic() {
		last--
		f.variadic = t.In(last)
	} else if last > i && t.In(last-1) == keywordsType {
		last--
		f.keywords = true
	}
	for ; i < last; i++ {
		p := param{typ: t.In(i), optional: t.In(i).Kind() == reflect.Pointer}
		switch p.typ {
		case contextType, requestType, streamType, keywordsType:
			return fmt.Errorf("%v: parameter %d must not be of type %v", t, i+1, p.typ)
		}
		switch p.typ.Kind() {
		case reflect.Func, reflect.Chan, reflect.UnsafePointer:
			return fmt.Errorf("%v: parameter %d cannot be passed", t, i+1)
		}
		if len(names) > len(f.params) {
			p.name = names[len(f.params)]
		}
		f.params = append(f.params, p)
	}
	if len(names) > len(f.params) {
		return fmt.Errorf("%v: %d names for %d parameters", t, len(names), len(f.params))
	}
	return nil
}

func (f *function) readResults(t reflect.Type) error {
	n := t.NumOut()
	if n > 0 && t.Out(n-1) == errorType {
		f.err = true
		n--
	}
	f.result = n == 1
	if n > 1 {
		return fmt.Errorf("%v: a method returns a value, an error, or both", t)
	}
	return nil
}

// takeDirect finds a way to call a function without reflection.
func (f *function) takeDirect(fn any) {
	f.direct.count = -1
	switch fn := fn.(type) {
	case func(...any) any:
		f.direct.call = func(args []any) (any, error) { return fn(args...), nil }
	case func(...any) (any, error):
		f.direct.call = func(args []any) (any, error) { return fn(args...) }
	case func(...any) []any:
		f.direct.call = func(args []any) (any, error) { return fn(args...), nil }
	case func(any) any:
		f.direct.call, f.direct.count = func(args []any) (any, error) { return fn(args[0]), nil }, 1
	case func(any) (any, error):
		f.direct.call, f.direct.count = func(args []any) (any, error) { return fn(args[0]) }, 1
	}
}

// directArgs returns the arguments for direct, if they are as it takes them.
func (f *function) directArgs(r *Request) ([]any, bool) {
	if f.direct.call == nil || msgp.NextType(r.args) != msgp.ArrayType || !noKeywords(r.keywords) {
		return nil, false
	}
	args, _, err := decodeList(r.args)
	return args, err == nil && (f.direct.count < 0 || len(args) == f.direct.count)
}

// noKeywords reports whether keyword arguments are those of a call that has none.
func noKeywords(raw Raw) bool {
	n, _, err := msgp.ReadMapHeaderBytes(raw)
	return err == nil && n == 0 || msgp.IsNil(raw)
}

// Invoke implements Method.
func (f *function) Invoke(ctx context.Context, r *Request) (any, error) {
	in := make([]reflect.Value, 0, 8)
	for _, special := range f.leading {
		switch special {
		case contextType:
			in = append(in, reflect.ValueOf(ctx))
		case requestType:
			in = append(in, reflect.ValueOf(r))
		case streamType:
			in = append(in, reflect.ValueOf(r.stream))
		}
	}
	in, err := f.arguments(r, in)
	if err != nil {
		return nil, err
	}
	var out []reflect.Value
	if f.variadic != nil {
		out = f.fn.CallSlice(in)
	} else {
		out = f.fn.Call(in)
	}
	var result any
	if f.result {
		result = out[0].Interface()
	}
	if f.err {
		err, _ = out[len(out)-1].Interface().(error)
	}
	return result, err
}

// arguments appends the values of the parameters.
func (f *function) arguments(r *Request, in []reflect.Value) ([]reflect.Value, error) {
	args, err := r.rawArgs()
	if err != nil {
		return nil, err
	}
	keywords, err := r.rawKeywords()
	if err != nil {
		return nil, err
	}
	taken := 0
	for i, p := range f.params {
		var raw Raw
		named, byName := keywords[p.name]
		byName = byName && p.name != ""
		switch {
		case i < len(args) && byName:
			return nil, &ArgumentError{r.Method(), fmt.Sprintf("got multiple values for argument '%s'", p.name)}
		case i < len(args):
			raw = args[i]
		case byName:
			raw = named
			taken++
		case p.optional:
			in = append(in, reflect.Zero(p.typ))
			continue
		default:
			return nil, &ArgumentError{r.Method(), "missing argument " + f.label(i)}
		}
		v := reflect.New(p.typ).Elem()
		if err := f.store(r, raw, v, i); err != nil {
			return nil, err
		}
		in = append(in, v)
	}
	return f.rest(r, in, args, keywords, taken)
}

// rest appends what a variadic or Keywords parameter takes, and refuses what nothing takes.
func (f *function) rest(r *Request, in []reflect.Value, args []Raw, keywords map[string]Raw, taken int) ([]reflect.Value, error) {
	more := args[min(len(f.params), len(args)):]
	switch {
	case f.variadic != nil:
		slice := reflect.MakeSlice(f.variadic, len(more), len(more))
		for i, raw := range more {
			if err := f.store(r, raw, slice.Index(i), len(f.params)+i); err != nil {
				return nil, err
			}
		}
		in = append(in, slice)
	case len(more) > 0:
		reason := fmt.Sprintf("takes %d arguments but %d were given", len(f.params), len(args))
		return nil, &ArgumentError{r.Method(), reason}
	}
	if !f.keywords {
		if taken < len(keywords) {
			return nil, &ArgumentError{r.Method(), "got an unexpected keyword argument " + f.unexpected(keywords)}
		}
		return in, nil
	}
	rest := Keywords{}
	for name, raw := range keywords {
		if !f.has(name) {
			value, _, err := decodeAny(raw)
			if err != nil {
				return nil, &ArgumentError{r.Method(), fmt.Sprintf("argument '%s': %v", name, err)}
			}
			rest[name] = value
		}
	}
	return append(in, reflect.ValueOf(rest)), nil
}

// store converts the argument of parameter i.
func (f *function) store(r *Request, raw Raw, v reflect.Value, i int) error {
	if _, err := decodeInto(raw, v); err != nil {
		return &ArgumentError{r.Method(), "argument " + f.label(i) + ": " + err.Error()}
	}
	return nil
}

// label names a parameter in a message.
func (f *function) label(i int) string {
	if i < len(f.params) && f.params[i].name != "" {
		return "'" + f.params[i].name + "'"
	}
	return fmt.Sprint(i + 1)
}

func (f *function) has(name string) bool {
	for _, p := range f.params {
		if p.name == name && name != "" {
			return true
		}
	}
	return false
}

func (f *function) unexpected(keywords map[string]Raw) string {
	for _, name := range sortedKeys(keywords) {
		if !f.has(name) {
			return "'" + name + "'"
		}
	}
	return ""
}
