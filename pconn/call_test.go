package pconn

import (
	"errors"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/bufio"
)

// TestFreedCallKeepsNothing has a call used for all that there is, and then by somebody else.
func TestFreedCallKeepsNothing(t *testing.T) {
	var c Conn
	call := c.newCall(&Request{Channel: 1, Type: 2, Payload: []byte("p")})
	gone := make(chan struct{})
	call.context.use(gone)
	call.context.watched, call.context.ended = true, true
	call.tag, call.begun, call.kind = 3, 4, callDropped
	call.files, call.ref, call.large = new(bufio.Handles), sendRef{batch: new(batch), packets: 2}, new(large)
	call.resp, call.err, call.unsent = Response{OK: true, Payload: []byte("p")}, errors.New("stale"), true
	call.result, call.buf, call.lent, call.alone = new(Result), []byte("b"), true, true
	for i, v := 0, reflect.ValueOf(call).Elem(); i < v.NumField(); i++ {
		require.False(t, v.Field(i).IsZero(), "the test sets %s", v.Type().Field(i).Name)
	}

	done := call.done
	call.free()
	require.Equal(t, done, call.done)
	require.Same(t, &c, call.conn)
	require.Equal(t, contextUse{gone: gone, times: 1}, call.context)
	call.done, call.conn, call.context = nil, nil, contextUse{}
	require.Zero(t, *call)
}
