package pconn_test

import (
	"context"
	"errors"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/pconn"
)

// Types of requests by what comes with their answers.
const (
	extraNone     = iota // nothing
	extraMetadata        // metadata
	extraError           // a code, and details
)

// answerWithExtras tells what came back, by a frame before the answer where there is something to be told by one.
func answerWithExtras(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
	n := string(req.Payload)
	switch req.Type {
	case extraMetadata:
		return pconn.Bytes(req.Payload).WithMetadata(metadata("n", n)), nil
	case extraError:
		code, err := strconv.ParseUint(n, 10, 64)
		if err != nil {
			return pconn.None(), err
		}
		return pconn.None(), pconn.NewError(code, "no "+n, metadata("n", n)...)
	}
	return pconn.Bytes(req.Payload), nil
}

// callForExtras makes a call and checks what came with its answer.
func callForExtras(t *testing.T, conn *pconn.Conn, typ, n uint64) {
	t.Helper()
	text := strconv.FormatUint(n, 10)
	resp, err := conn.Do(context.Background(), pconn.Request{Type: typ, Payload: []byte(text)})
	if typ == extraError {
		var remote *pconn.RemoteError
		require.True(t, errors.As(err, &remote), "%v", err)
		require.Equal(t, n, remote.Code)
		require.Equal(t, "no "+text, remote.Text())
		require.Equal(t, metadata("n", text), remote.Details)
		return
	}
	require.NoError(t, err)
	require.Equal(t, text, string(resp.Payload))
	if typ == extraMetadata {
		require.Equal(t, metadata("n", text), resp.Metadata)
	} else {
		require.Empty(t, resp.Metadata)
	}
}

// TestLoneCallsWhoseAnswersComeWithMore has frames come before the answers to calls that are made one by one: before all of them, which
// are never only answers, or before one behind so many without that its caller receives.
func TestLoneCallsWhoseAnswersComeWithMore(t *testing.T) {
	for name, typ := range map[string]uint64{"metadata": extraMetadata, "rejections": extraError} {
		t.Run(name, func(t *testing.T) {
			opts := serve(answerWithExtras)
			opts.Extensions = pconn.ExtensionsRequired
			a, b := pipes(t, &pconn.Options{Extensions: pconn.ExtensionsRequired}, opts)
			for n := range uint64(2 * enoughLone) {
				callForExtras(t, a, typ, n+1)
			}
			for n := range uint64(16 * enoughLone) {
				if n%(2*enoughLone) == 0 {
					callForExtras(t, a, typ, n+1)
				} else {
					callForExtras(t, a, extraNone, n)
				}
			}
			require.Zero(t, a.Counters().LostHeaders.Load()+b.Counters().LostHeaders.Load())
		})
	}
}
