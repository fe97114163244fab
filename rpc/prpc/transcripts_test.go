package prpc_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/packetstream/packetstream/internal/prpcjson"
	"github.com/packetstream/packetstream/internal/prpctest"
	"github.com/packetstream/packetstream/rpc/prpc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// replay sends the frames that go in direction from, and expects the others, in order.
func replay(t *testing.T, p *pipe, frames [][2]string, from string) {
	t.Helper()
	for i, frame := range frames {
		if frame[0] == from {
			wire, err := hex.DecodeString(frame[1])
			require.NoError(t, err)
			require.NoError(t, p.Send([][]byte{wire}), "frame %d", i)
			synctest.Wait()
			continue
		}
		got, err := p.Receive()
		require.NoError(t, err, "frame %d, expected %s", i, frame[1])
		require.Equal(t, frame[1], hex.EncodeToString(got), "frame %d", i)
	}
}

// serverOptions are the settings the transcripts were recorded with.
func serverOptions(t *testing.T, name string, number int) *prpc.Options {
	methods, err := prpctest.Services()
	require.NoError(t, err)
	o := prpc.Options{Methods: methods}
	switch name {
	case "handshake data both ways":
		o.Data = []byte("server")
	case "server's connect callback refuses":
		o.OnConnect = func(context.Context, *prpc.Conn) error { return errors.New("no") }
	case "callee's stream buffer overflows":
		o.ReadTimeout = 200 * time.Millisecond
	}
	return prpc.WithIDs(o, func() string { return fmt.Sprintf("%032x", number) })
}

// Our server, fed with what the original's client sent, sends what the original's
// server did, byte for byte, and closes with the same code.
func TestTranscriptsAsServer(t *testing.T) {
	v := loadVectors(t)
	require.Len(t, v.Transcripts, 22)
	for i, script := range v.Transcripts {
		t.Run(script.Name, func(t *testing.T) {
			options := serverOptions(t, script.Name, i+1)
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := newPipe()
				served := make(chan error, 1)
				go func() {
					conn, err := prpc.Accept(context.Background(), ours, options)
					if err == nil {
						conn.Wait()
						err = conn.Err()
					}
					served <- err
				}()
				replay(t, theirs, script.Frames, ">")
				if script.ServerCode != nil {
					_, err := theirs.Receive()
					var closed *prpc.CloseError
					require.ErrorAs(t, err, &closed)
					assert.EqualValues(t, *script.ServerCode, closed.Code)
				}
				require.NoError(t, theirs.Close(prpc.CloseCode(script.ClientCode)))
				assert.Error(t, <-served)
				assert.Empty(t, theirs.in, "more was sent than recorded")
			})
		})
	}
}

// Our client, driven like the original's and answered as the original's server did, sends
// the same bytes and comes to the same outcome.
func TestTranscriptsAsClient(t *testing.T) {
	for _, script := range loadVectors(t).Transcripts {
		t.Run(script.Name, func(t *testing.T) {
			drive, ok := drives[script.Name]
			require.True(t, ok, "nothing drives this transcript")
			synctest.Test(t, func(t *testing.T) { driveClient(t, script, drive) })
		})
	}
}

func driveClient(t *testing.T, script transcript, drive func(ctx context.Context, c *prpc.Conn) (any, error)) {
	ours, theirs := newPipe()
	outcome := make(chan any, 1)
	go func() {
		ctx := context.Background()
		c, err := prpc.Connect(ctx, ours, clientOptions(t, script.Name))
		if err != nil {
			outcome <- className(err)
			return
		}
		got, err := drive(ctx, c)
		if err != nil {
			got = className(err)
		}
		_ = c.Close()
		c.Wait()
		outcome <- got
	}()
	replay(t, theirs, script.Frames, "<")
	if script.ServerCode != nil {
		require.NoError(t, theirs.Close(prpc.CloseCode(*script.ServerCode)))
	}
	got, err := prpcjson.Format(<-outcome)
	require.NoError(t, err)
	assert.JSONEq(t, localErrors(t, script.OutcomeJSON), localErrors(t, got))
	_, err = theirs.Receive()
	if script.ServerCode == nil {
		var closed *prpc.CloseError
		require.ErrorAs(t, err, &closed)
		assert.EqualValues(t, script.ClientCode, closed.Code)
	}
	assert.Empty(t, theirs.in, "more was sent than recorded")
}

// localErrors keeps only the class of errors that never travelled: their texts are ours.
func localErrors(t *testing.T, text []byte) string {
	value, err := prpcjson.Parse(text)
	require.NoError(t, err)
	return formatted(t, withoutLocal(value))
}

func formatted(t *testing.T, v any) string {
	text, err := prpcjson.Format(plain(v))
	require.NoError(t, err)
	return string(text)
}

// plain turns ordered maps into plain ones.
func plain(v any) any {
	switch v := v.(type) {
	case prpc.Map:
		m := map[string]any{}
		for _, e := range v {
			m[fmt.Sprint(e.Key)] = plain(e.Value)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plain(v[i])
		}
		return list
	default:
		return v
	}
}

func withoutLocal(v any) any {
	list, ok := v.([]any)
	if !ok {
		return v
	}
	if len(list) == 4 {
		switch list[0] {
		case "RpcCancelledError", "RpcCallTimeoutError", "RpcConnectionClosedError":
			return list[:1]
		}
	}
	out := make([]any, len(list))
	for i := range list {
		out[i] = withoutLocal(list[i])
	}
	return out
}

func clientOptions(t *testing.T, name string) *prpc.Options {
	o := &prpc.Options{}
	switch name {
	case "handshake data both ways":
		o.Data = map[string]any{"token": "t"}
	case "client's connect callback refuses":
		o.OnConnect = func(context.Context, *prpc.Conn) error { return errors.New("no") }
	case "server calls back (ids of the two sides overlap)":
		add, err := prpc.Func(func(a int, b *int) int { return a + *b }, "a", "b")
		require.NoError(t, err)
		o.Methods, err = prpc.NewTree(prpc.Tree{"add": add, "twice": twice})
		require.NoError(t, err)
	}
	return o
}

// twice sends each message back in a pair.
func twice(ctx context.Context, s *prpc.Stream) (string, error) {
	for message, err := range s.All(ctx) {
		if err == nil {
			err = s.Send(ctx, []any{message, message})
		}
		if err != nil {
			return "", err
		}
	}
	return "end", nil
}

// className is the original's class for an error.
func className(err error) string {
	var remote *prpc.RemoteError
	switch {
	case errors.As(err, &remote):
		return map[prpc.Status]string{
			prpc.StatusMethodError: "RpcMethodError", prpc.StatusMethodNotFound: "RpcMethodNotFoundError",
			prpc.StatusServerError: "RpcServerError", prpc.StatusUnknown: "RpcUnknownError",
		}[remote.Status]
	case errors.Is(err, prpc.ErrCancelled):
		return "RpcCancelledError"
	case errors.Is(err, context.DeadlineExceeded):
		return "RpcCallTimeoutError"
	case errors.Is(err, prpc.ErrRejected):
		return "RpcConnectionRejectedError"
	case errors.Is(err, prpc.ErrHandshakeTimeout):
		return "RpcConnectionTimeoutError"
	case errors.Is(err, prpc.ErrStreamOverflow):
		return "RpcStreamTimeoutError"
	case errors.Is(err, prpc.ErrClosed):
		return "RpcConnectionClosedError"
	default:
		return err.Error()
	}
}

// outcomeOf describes the result of a call as make_vectors.py does.
func outcomeOf(result any, err error) any {
	if err == nil {
		return result
	}
	var remote *prpc.RemoteError
	if errors.As(err, &remote) {
		return []any{className(err), remote.Message, remote.CauseType, remote.CauseText}
	}
	return []any{className(err), "", "", ""}
}
