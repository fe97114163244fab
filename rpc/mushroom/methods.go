package mushroom

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode"
)

// DefaultPrefix is what the original puts before the names of methods that may be called.
const DefaultPrefix = "rpc_"

// Methods is a dispatcher of an object's methods.
type Methods struct {
	prefix, suffix string
	methods        map[string]HandlerFunc
}

// NewMethods offers the exported methods of object whose names, written in snake case, begin with
// prefix and end with suffix; a peer calls them without both. With DefaultPrefix, RpcEcho and
// RpcFailRPC are called as "echo" and "fail_rpc". An empty prefix and suffix offer every exported method.
//
// A method may take a context.Context, then a *Request, then a value that the data is decoded into;
// and it may return a value, then an error. Each is optional. A method with the prefix and suffix that
// takes or returns anything else is an error, as are two methods of one name. A name that is not found
// is reported to the caller with prefix and suffix, as the original does.
func NewMethods(object any, prefix, suffix string) (*Methods, error) {
	m := &Methods{prefix: prefix, suffix: suffix, methods: make(map[string]HandlerFunc)}
	value := reflect.ValueOf(object)
	if !value.IsValid() {
		return nil, errors.New("mushroom: methods of nil")
	}
	for i := range value.NumMethod() {
		goName := value.Type().Method(i).Name
		name := snake(goName)
		if !strings.HasPrefix(name, prefix) || !strings.HasSuffix(name, suffix) {
			continue
		}
		if _, ok := m.methods[name]; ok {
			return nil, fmt.Errorf("mushroom: two methods of %T are named %q", object, name)
		}
		f, err := methodFunc(value.Method(i))
		if err != nil {
			return nil, fmt.Errorf("mushroom: method %s of %T: %w", goName, object, err)
		}
		m.methods[name] = f
	}
	return m, nil
}

// Dispatch runs the method that the request names.
func (m *Methods) Dispatch(ctx context.Context, r *Request) (any, error) {
	name := m.prefix + r.Method + m.suffix
	f, ok := m.methods[name]
	if !ok {
		return nil, &MethodNotFoundError{Name: name}
	}
	return f(ctx, r)
}

// snake writes a Go name in lower case with underscores: RpcFailRPC is rpc_fail_rpc.
func snake(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		begins := i > 0 && unicode.IsUpper(r) &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if begins && runes[i-1] != '_' {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

var (
	contextType = reflect.TypeFor[context.Context]()
	requestType = reflect.TypeFor[*Request]()
	errorType   = reflect.TypeFor[error]()
)

// methodFunc makes a handler of a method value.
func methodFunc(method reflect.Value) (HandlerFunc, error) {
	t := method.Type()
	next := 0
	takes := func(want reflect.Type) bool {
		if next < t.NumIn() && t.In(next) == want {
			next++
			return true
		}
		return false
	}
	takesContext := takes(contextType)
	takesRequest := takes(requestType)
	var dataType reflect.Type
	if next < t.NumIn() && !t.IsVariadic() {
		dataType = t.In(next)
		next++
	}
	if next != t.NumIn() {
		return nil, errors.New("it takes more than a context, a request and the data")
	}
	results := t.NumOut()
	fails := results > 0 && t.Out(results-1) == errorType
	if fails {
		results--
	}
	if results > 1 {
		return nil, errors.New("it returns more than a value and an error")
	}
	return func(ctx context.Context, r *Request) (any, error) {
		var in []reflect.Value
		if takesContext {
			in = append(in, reflect.ValueOf(ctx))
		}
		if takesRequest {
			in = append(in, reflect.ValueOf(r))
		}
		if dataType != nil {
			data := reflect.New(dataType)
			if err := r.Decode(data.Interface()); err != nil {
				return nil, err
			}
			in = append(in, data.Elem())
		}
		return returned(method.Call(in), fails)
	}, nil
}

// returned takes a value and an error, either of which may be missing, from a method's results.
func returned(out []reflect.Value, fails bool) (result any, err error) {
	if fails {
		err, _ = out[len(out)-1].Interface().(error)
		out = out[:len(out)-1]
	}
	if len(out) == 1 {
		result = out[0].Interface()
	}
	return result, err
}
