package prpc_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/packetstream/packetstream/rpc/prpc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type point struct {
	X    int    `msgpack:"x"`
	Y    int    `msgpack:"y"`
	Note string `msgpack:"note,omitempty"`
}

func named(t *testing.T, fn any, names ...string) prpc.Method {
	t.Helper()
	m, err := prpc.Func(fn, names...)
	require.NoError(t, err)
	return m
}

// What functions take and refuse, with the error their caller gets.
func TestFunctionArguments(t *testing.T) {
	kw := func(pairs ...any) prpc.Keywords {
		k := prpc.Keywords{}
		for i := 0; i < len(pairs); i += 2 {
			k[pairs[i].(string)] = pairs[i+1]
		}
		return k
	}
	tree := prpc.Tree{
		"none": func() {},
		"sub":  named(t, func(a, b int) int { return a - b }, "a", "b"),
		"opt":  named(t, func(a int, b *int) []any { return []any{a, b} }, "a", "b"),
		"rest": func(a string, rest ...int) []any { return []any{a, rest} },
		"kw":   named(t, func(a int, k prpc.Keywords) []any { return []any{a, k} }, "a"),
		"full": func(ctx context.Context, r *prpc.Request, s *prpc.Stream, v any) []any {
			return []any{r.Method(), s == nil, v, ctx != nil}
		},
		"point": func(p point) point { return point{X: p.Y, Y: p.X} },
		"bytes": func(b []byte) int { return len(b) },
		"map":   func(m map[string]int) int { return m["a"] },
		"byte":  func(b uint8) uint8 { return b },
		"err":   func() (int, error) { return 1, errors.New("no") },
	}
	for _, row := range []struct {
		method string
		args   []any
		want   any
		fails  string
	}{
		{"none", l{}, nil, ""},
		{"none", l{1}, nil, "none(): takes 0 arguments but 1 were given"},
		{"none", l{kw("a", 1)}, nil, "none(): got an unexpected keyword argument 'a'"},
		{"sub", l{5, 3}, int64(2), ""},
		{"sub", l{kw("b", 3, "a", 5)}, int64(2), ""},
		{"sub", l{5, kw("b", 3)}, int64(2), ""},
		{"sub", l{5}, nil, "sub(): missing argument 'b'"},
		{"sub", l{5, 3, kw("a", 1)}, nil, "sub(): got multiple values for argument 'a'"},
		{"sub", l{5, 3, kw("c", 1)}, nil, "sub(): got an unexpected keyword argument 'c'"},
		{"sub", l{5, "x"}, nil, `sub(): argument 'b': cannot take text "x" as int`},
		{"sub", l{5, 1.5}, nil, "sub(): argument 'b': cannot take 1.5 as int"},
		{"sub", l{5, nil}, nil, "sub(): argument 'b': cannot take nil as int"},
		{"opt", l{1}, l{int64(1), nil}, ""},
		{"opt", l{1, nil}, l{int64(1), nil}, ""},
		{"opt", l{1, 2}, l{int64(1), int64(2)}, ""},
		{"rest", l{"a"}, l{"a", l{}}, ""},
		{"rest", l{"a", 1, 2}, l{"a", l{int64(1), int64(2)}}, ""},
		{"rest", l{"a", 1, "x"}, nil, `rest(): argument 3: cannot take text "x" as int`},
		{"kw", l{1, kw("z", 2)}, l{int64(1), map[string]any{"z": int64(2)}}, ""},
		{"kw", l{kw("a", 1)}, l{int64(1), map[string]any{}}, ""},
		{"full", l{"v"}, l{"full", true, "v", true}, ""},
		{"point", l{point{X: 1, Y: 2}}, map[string]any{"x": int64(2), "y": int64(1)}, ""},
		{"point", l{map[string]any{"x": 1, "other": 2}}, map[string]any{"x": int64(0), "y": int64(1)}, ""},
		{"point", l{map[string]any{"x": "no"}}, nil, `point(): argument 1: cannot take text "no" as int at .x`},
		{"point", l{5}, nil, "point(): argument 1: cannot take 5 as prpc_test.point"},
		{"bytes", l{[]byte("abc")}, int64(3), ""},
		{"bytes", l{"abc"}, nil, `bytes(): argument 1: cannot take text "abc" as []uint8`},
		{"map", l{map[string]any{"a": 7}}, int64(7), ""},
		{"map", l{prpc.Map{{Key: 1, Value: 2}}}, nil, "map(): argument 1: cannot take 1 as string"},
		{"byte", l{255}, int64(255), ""},
		{"byte", l{256}, nil, "byte(): argument 1: cannot take 256 as uint8"},
		{"byte", l{-1}, nil, "byte(): argument 1: cannot take -1 as uint8"},
		{"err", l{}, nil, "no"},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := served(t, tree, prpc.Options{})
			got, err := c.Call(t.Context(), row.method, row.args...)
			if row.fails == "" {
				require.NoError(t, err, row.method)
				assert.Equal(t, row.want, got, row.method)
				return
			}
			remote := remoteErr(t, err, prpc.StatusMethodError)
			assert.Equal(t, row.fails, remote.CauseText)
			if row.method != "err" {
				assert.Equal(t, "TypeError", remote.CauseType)
			}
		})
	}
}

type arith struct{ calls int }

func (a *arith) Add(x, y int) int                { a.calls++; return x + y }
func (a *arith) HTTPGet(path string) string      { return "got " + path }
func (a *arith) CloseFirst(s *prpc.Stream) error { return s.Close() }

func TestObjectMethods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &arith{}
		c := served(t, prpc.Tree{
			"all":  prpc.Object(a),
			"some": prpc.Object(a, "Add"),
			"":     prpc.Tree{"top": prpc.Tree{"": prpc.Object(a, "Add")}},
		}, prpc.Options{})
		for _, name := range []string{"all.add", "some.add", "top.add"} {
			n, err := prpc.Invoke[int](t.Context(), c, name, 1, 2)
			require.NoError(t, err)
			assert.Equal(t, 3, n)
		}
		assert.Equal(t, 3, a.calls)
		text, err := c.Call(t.Context(), "all.http_get", "/")
		require.NoError(t, err)
		assert.Equal(t, "got /", text)
		for _, name := range []string{"some.http_get", "all.Add", "all", "add"} {
			_, err = c.Call(t.Context(), name)
			require.ErrorIs(t, err, prpc.ErrMethodNotFound, name)
		}
	})
}

type badObject struct{}

func (badObject) Channel(chan int)       {}
func (badObject) Two() (int, int)        { return 1, 2 }
func (badObject) Fine() error            { return nil }
func (badObject) Late(int, *prpc.Stream) {}
func (badObject) Callback(func())        {}

// What NewTree and Func refuse, and where they say it is.
func TestBadTrees(t *testing.T) {
	self := prpc.Tree{}
	self["again"] = self
	var missing *arith
	locator := prpc.LocatorFunc(func(string, *prpc.Request) (prpc.Method, error) { return nil, nil })
	for name, row := range map[string]struct {
		tree prpc.Tree
		want string
	}{
		"a number":           {prpc.Tree{"a": prpc.Tree{"b": 5}}, `"a.b": int is not a function`},
		"nil":                {prpc.Tree{"a": nil}, `nothing at "a"`},
		"nil function":       {prpc.Tree{"a": (func())(nil)}, `"a": func() is nil`},
		"itself":             {self, "holds itself"},
		"twice":              {prpc.Tree{"a.b": func() {}, "a": prpc.Tree{"b": func() {}}}, `two methods named "a.b"`},
		"twice by object":    {prpc.Tree{"a.add": func() {}, "a": prpc.Object(&arith{})}, `two methods named "a.add"`},
		"two locators":       {prpc.Tree{"a": prpc.Tree{"": locator}, "": prpc.Tree{"a": locator}}, `two locators at "a"`},
		"nil object":         {prpc.Tree{"a": prpc.Object(nil)}, `object at "a" is nil`},
		"nil pointer":        {prpc.Tree{"a": prpc.Object(missing)}, `object at "a" is nil`},
		"no methods":         {prpc.Tree{"a": prpc.Object(5)}, "no exported methods"},
		"unknown method":     {prpc.Tree{"a": prpc.Object(&arith{}, "Nope")}, "no exported method Nope"},
		"channel parameter":  {prpc.Tree{"a": prpc.Object(badObject{}, "Channel")}, "parameter 1 cannot be passed"},
		"function parameter": {prpc.Tree{"a": prpc.Object(badObject{}, "Callback")}, "parameter 1 cannot be passed"},
		"two results":        {prpc.Tree{"a": prpc.Object(badObject{}, "Two")}, "a value, an error, or both"},
		"stream behind":      {prpc.Tree{"a": prpc.Object(badObject{}, "Late")}, "parameter 2 must not be"},
		"all of an object":   {prpc.Tree{"a": prpc.Object(badObject{})}, "badObject."},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := prpc.NewTree(row.tree)
			require.ErrorContains(t, err, row.want)
		})
	}
	_, err := prpc.Func(func(int) {}, "a", "b")
	require.ErrorContains(t, err, "2 names for 1 parameters")
}

// Full names come first, then the locator with the longest name.
func TestLocators(t *testing.T) {
	answer := func(text string) prpc.Locator {
		return prpc.LocatorFunc(func(name string, _ *prpc.Request) (prpc.Method, error) {
			switch name {
			case "gone":
				return nil, errors.New("database is away")
			case "odd":
				return nil, nil
			}
			return prpc.MethodFunc(func(context.Context, *prpc.Request) (any, error) {
				return text + ":" + name, nil
			}), nil
		})
	}
	synctest.Test(t, func(t *testing.T) {
		c := served(t, prpc.Tree{
			"a":   prpc.Tree{"": answer("a"), "b": answer("a.b"), "full": func() string { return "full" }},
			"map": map[string]any{"f": func() string { return "f" }},
		}, prpc.Options{})
		for name, want := range map[string]string{
			"a.full": "full", "a.x": "a:x", "a.b.x": "a.b:x", "a.b.x.y": "a.b:x.y", "a.c.x": "a:c.x", "map.f": "f",
		} {
			got, err := c.Call(t.Context(), name)
			require.NoError(t, err)
			assert.Equal(t, want, got, name)
		}
		_, err := c.Call(t.Context(), "x.y")
		require.ErrorIs(t, err, prpc.ErrMethodNotFound)
		_, err = c.Call(t.Context(), "a.gone")
		require.ErrorIs(t, err, prpc.ErrMethodNotFound)
		assert.Equal(t, "database is away", remoteErr(t, err, prpc.StatusMethodNotFound).CauseText)
		_, err = c.Call(t.Context(), "a.odd")
		remoteErr(t, err, prpc.StatusServerError)

		rooted := served(t, prpc.Tree{"": answer("root")}, prpc.Options{})
		got, err := rooted.Call(t.Context(), "any.name")
		require.NoError(t, err)
		assert.Equal(t, "root:any.name", got)
	})
}

// The same functions with a type of their own are called by reflection.
type (
	anyOfAny   func(any) any
	anyOrError func(any) (any, error)
	anyOfAll   func(...any) any
	allOrError func(...any) (any, error)
	listOfAll  func(...any) []any
)

// TestFunctionsOfAnything: those that are called without reflection answer as the others do.
func TestFunctionsOfAnything(t *testing.T) {
	one := func(v any) any { return []any{v} }
	oneOrError := func(v any) (any, error) { return v, errors.New("no") }
	several := func(args ...any) any { return len(args) }
	severalOrError := func(args ...any) (any, error) { return args, nil }
	list := func(args ...any) []any { return args }
	tree := prpc.Tree{
		"direct": prpc.Tree{"one": one, "oneOrError": oneOrError, "several": several, "severalOrError": severalOrError, "list": list},
		"reflected": prpc.Tree{
			"one": anyOfAny(one), "oneOrError": anyOrError(oneOrError), "several": anyOfAll(several),
			"severalOrError": allOrError(severalOrError), "list": listOfAll(list),
		},
	}
	synctest.Test(t, func(t *testing.T) {
		c := served(t, tree, prpc.Options{})
		ask := func(method string, args []any) (result any, fault [2]string) {
			result, err := c.Call(t.Context(), method, args...)
			var remote *prpc.RemoteError
			if errors.As(err, &remote) {
				fault = [2]string{remote.CauseType, strings.ReplaceAll(remote.CauseText, method, "method")}
			} else {
				require.NoError(t, err)
			}
			return result, fault
		}
		for _, name := range []string{"one", "oneOrError", "several", "severalOrError", "list"} {
			for _, args := range []l{
				{}, {1}, {nil}, {"a", []byte("b"), map[string]any{"c": 2.5}}, {l{l{}, 1}}, {prpc.Keywords{"k": 1}}, {1, prpc.Keywords{"k": 1}},
				{1, prpc.Keywords{}}, {prpc.Raw{0xc7, 1, 5, 0}},
			} {
				want, wantFault := ask("reflected."+name, args)
				got, gotFault := ask("direct."+name, args)
				assert.Equal(t, want, got, "%s %v", name, args)
				assert.Equal(t, wantFault, gotFault, "%s %v", name, args)
			}
		}
	})
}
