package prpc_test

import (
	"testing"
	"testing/synctest"

	"github.com/packetstream/packetstream/rpc/prpc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is dropped or answered, and hurts nothing: the connection answers a ping afterwards.
func TestHarmlessToTheCallee(t *testing.T) {
	spread := func(args any, want any) []any {
		return []any{l{2, 7, 20, "echo.args", args, nil}, want}
	}
	for _, row := range []struct {
		name    string
		message any
		status  any // of the answer, nil if there is none
		value   any // of a successful answer
	}{
		{"cancel of an unknown id", l{3, 99}, nil, nil},
		{"stream message with an unknown id", l{4, 99, "x"}, nil, nil},
		{"stream close with an unknown id", l{5, "x"}, nil, nil},
		{"result with an unknown id", l{7, 99, nil, 0, nil}, nil, nil},
		{"result with an id that is text", l{7, "x", nil, 0, nil}, nil, nil},
		{"response message with an unknown id", l{8, 99, "x"}, nil, nil},
		{"response close with an unknown id", l{9, 99}, nil, nil},
		{"second handshake", l{1, 1, l{1, nil, nil}}, nil, nil},
		{"handshake answer", l{6, 1, l{1, "id", nil}, 0, nil}, nil, nil},
		{"args nil", l{2, 7, 20, "ping", nil, prpc.Map{}}, int64(0), "pong"},
		{"kwargs nil", l{2, 7, 20, "ping", l{}, nil}, int64(0), "pong"},
		{"method nil", l{2, 7, 20, nil, l{}, nil}, int64(20), nil},
		{"method bytes", l{2, 7, 20, []byte("ping"), l{}, nil}, int64(20), nil},
		{"method a list", l{2, 7, 20, l{"ping"}, l{}, nil}, int64(20), nil},
		{"args a map", spread(map[string]any{"a": 1}, nil)[0], int64(0), l{"a"}},
		{"args a text", spread("hé", nil)[0], int64(0), l{"h", "é"}},
		{"args an int", spread(5, nil)[0], int64(10), nil},
		{"kwargs an array", l{2, 7, 20, "ping", l{}, l{}}, int64(10), nil},
		{"kwargs with bytes keys", l{2, 7, 20, "ping", l{}, prpc.Map{{Key: []byte("a"), Value: 1}}}, int64(10), nil},
		{"id 0", l{2, 0, 20, "ping", nil, nil}, int64(0), "pong"},
		{"id -1", l{2, -1, 20, "ping", nil, nil}, int64(0), "pong"},
		{"id nil", l{2, nil, 20, "ping", nil, nil}, int64(0), "pong"},
		{"id text", l{2, "id", 20, "ping", nil, nil}, int64(0), "pong"},
		{"id 2^64-1", l{2, uint64(1<<64 - 1), 20, "ping", nil, nil}, int64(0), "pong"},
	} {
		t.Run(row.name, func(t *testing.T) {
			methods := testServices(t)
			synctest.Test(t, func(t *testing.T) {
				p, c := rawServer(t, &prpc.Options{Methods: methods})
				send(t, p, row.message)
				if row.status != nil {
					id := row.message.(l)[1]
					status, value := receiveAnswer(t, p, id)
					assert.Equal(t, row.status, status)
					assert.Equal(t, row.value, value)
				}
				send(t, p, l{2, 1000, 20, "ping", nil, nil})
				_, pong := receiveAnswer(t, p, 1000)
				assert.Equal(t, "pong", pong)
				require.NoError(t, c.Close())
				c.Wait()
			})
		})
	}
}

// receiveAnswer receives the answer for an id, and returns its status and value.
func receiveAnswer(t *testing.T, p *pipe, id any) (status, value any) {
	t.Helper()
	b, err := p.Receive()
	require.NoError(t, err)
	var fields []any
	require.NoError(t, prpc.Decode(b, prpc.Limits{}, &fields))
	require.Len(t, fields, 5)
	assert.EqualValues(t, 7, fields[0])
	assert.EqualValues(t, id, fields[1])
	if packed, ok := fields[2].([]byte); ok {
		require.NoError(t, prpc.Decode(packed, prpc.Limits{}, &value))
	}
	return fields[3], value
}

// Before the handshake, what is not one is decoded and dropped.
func TestMessagesBeforeTheHandshakeAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := newPipe()
		send(t, theirs, l{2, 1, 20, "ping", nil, nil}, l{3, 1}, helloServer)
		c, err := prpc.Accept(t.Context(), ours, nil)
		require.NoError(t, err)
		require.NoError(t, c.Close())

		ours, theirs = newPipe()
		send(t, theirs, l{2, 1, 20, "ping", nil, nil}, l{7, 1, nil, 0, nil}, l{6, 1, l{2, 5, "data"}, 0, nil})
		c, err = prpc.Connect(t.Context(), ours, nil)
		require.NoError(t, err)
		assert.Equal(t, "5", c.ID(), "the server's version is not looked at")
		require.NoError(t, c.Close())
	})
}

// What answers say that is left out or odd has a substitute.
func TestAnswersOfOddShape(t *testing.T) {
	for _, row := range []struct {
		name    string
		answer  l
		status  prpc.Status
		message string
	}{
		{"nil error", l{7, 2, nil, 10, nil}, prpc.StatusMethodError, "<no error message>"},
		{"empty message", l{7, 2, nil, 20, l{"", nil, nil, nil}}, prpc.StatusMethodNotFound, "<no error message>"},
		{"unknown status", l{7, 2, nil, 77, l{"m", nil, nil, nil}}, prpc.StatusUnknown, "m"},
		{"nil status", l{7, 2, nil, nil, l{"m", nil, nil, nil}}, prpc.StatusUnknown, "m"},
		{"message that is a number", l{7, 2, nil, 30, l{5, nil, nil, "trace"}}, prpc.StatusServerError, "5"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, c := rawClient(t, nil)
				send(t, p, row.answer)
				call, err := c.Start(t.Context(), prpc.Unary, "m")
				require.NoError(t, err)
				send(t, p, row.answer)
				_, err = call.Result(t.Context())
				remote := remoteErr(t, err, row.status)
				assert.Equal(t, row.message, remote.Message)
				require.NoError(t, c.Close())
			})
		})
	}
}
