package mushroom_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/rpc/mushroom"
)

func dispatch(d mushroom.Dispatcher, method, data string) (any, error) {
	m := mushroom.Message{Kind: mushroom.KindRequest, Method: method, Data: json.RawMessage(data)}
	return d.Dispatch(context.Background(), &mushroom.Request{Message: m})
}

type numbers struct{ calls []string }

func (n *numbers) RpcAdd(_ context.Context, r *mushroom.Request, v []int) (int, error) {
	if r.Method != "add" {
		return 0, errors.New("wrong method")
	}
	return v[0] + v[1], nil
}
func (n *numbers) RpcDouble(v int) int             { return 2 * v }
func (n *numbers) RpcHTTPGet()                     { n.calls = append(n.calls, "get") }
func (n *numbers) RpcGetURL2(context.Context)      { n.calls = append(n.calls, "url") }
func (n *numbers) RpcFail(*mushroom.Request) error { return &mushroom.RPCError{Data: 7} }
func (n *numbers) AddAction(v int) int             { return v + 1 }
func (n *numbers) Rpc_odd() string                 { return "odd" } //nolint:revive // what the mapping makes of it is tested

func TestMethods(t *testing.T) {
	n := &numbers{}
	d, err := mushroom.NewMethods(n, mushroom.DefaultPrefix, "")
	require.NoError(t, err)
	for _, c := range []struct {
		method, data string
		want         any
	}{
		{"add", "[1,2]", 3}, {"double", "4", 8}, {"http_get", "", nil}, {"get_url2", "", nil}, {"odd", "", "odd"},
	} {
		got, err := dispatch(d, c.method, c.data)
		require.NoError(t, err, c.method)
		assert.Equal(t, c.want, got, c.method)
	}
	assert.Equal(t, []string{"get", "url"}, n.calls)

	_, err = dispatch(d, "fail", "")
	var rpc *mushroom.RPCError
	require.ErrorAs(t, err, &rpc)
	assert.Equal(t, 7, rpc.Data)
	assert.Contains(t, err.Error(), "7")

	_, err = dispatch(d, "double", `"text"`)
	require.ErrorAs(t, err, &rpc)
	assert.Contains(t, rpc.Data, "Invalid data")

	for method, full := range map[string]string{"nope": "rpc_nope", "": "rpc_", "_x": "rpc__x", "a.b": "rpc_a.b", "Add": "rpc_Add"} {
		_, err = dispatch(d, method, "")
		assert.ErrorIs(t, err, mushroom.ErrMethodNotFound)
		var missing *mushroom.MethodNotFoundError
		require.ErrorAs(t, err, &missing)
		assert.Equal(t, full, missing.Name)
		assert.Contains(t, err.Error(), full)
	}
}

func TestMethodsWithASuffix(t *testing.T) {
	d, err := mushroom.NewMethods(&numbers{}, "", "_action")
	require.NoError(t, err)
	got, err := dispatch(d, "add", "1")
	require.NoError(t, err)
	assert.Equal(t, 2, got)
	all, err := mushroom.NewMethods(&numbers{}, "", "")
	require.NoError(t, err)
	got, err = dispatch(all, "add_action", "1")
	require.NoError(t, err)
	assert.Equal(t, 2, got)
}

type tooMany struct{}

func (tooMany) RpcTakes(int, int) {}

type tooMuch struct{}

func (tooMuch) RpcReturns() (int, int) { return 0, 0 }

type variadic struct{}

func (variadic) RpcTakes(...int) {}

type twice struct{}

func (twice) RpcURL() {}
func (twice) RpcUrl() {}

func TestMethodsRefuses(t *testing.T) {
	for want, object := range map[string]any{
		"takes more": tooMany{}, "returns more": tooMuch{}, "RpcTakes of mushroom_test.variadic": variadic{},
		`two methods of mushroom_test.twice are named "rpc_url"`: twice{}, "methods of nil": nil,
	} {
		_, err := mushroom.NewMethods(object, "rpc_", "")
		assert.ErrorContains(t, err, want)
	}
}

func TestRegistry(t *testing.T) {
	var g mushroom.Registry
	double := mushroom.Func(func(_ context.Context, v int) (int, error) { return 2 * v, nil })
	require.NoError(t, g.Register("double", double))
	assert.ErrorContains(t, g.Register("double", double), "already registered")
	got, err := dispatch(&g, "double", "4")
	require.NoError(t, err)
	assert.Equal(t, 8, got)
	_, err = dispatch(&g, "double", "{}")
	assert.ErrorContains(t, err, "Invalid data")
	for _, d := range []mushroom.Dispatcher{&g, &mushroom.Registry{}, mushroom.NoMethods{}} {
		_, err = dispatch(d, "nope", "")
		var missing *mushroom.MethodNotFoundError
		require.ErrorAs(t, err, &missing)
		assert.Equal(t, "nope", missing.Name, "the bare name")
	}
}
