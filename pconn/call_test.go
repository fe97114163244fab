package pconn

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

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
	call.result, call.buf, call.lent, call.alone, call.receives, call.lends = new(Result), []byte("b"), true, true, true, true
	for i, v := 0, reflect.ValueOf(call).Elem(); i < v.NumField(); i++ {
		require.False(t, v.Field(i).IsZero(), "the test sets %s", v.Type().Field(i).Name)
	}

	done := call.done
	call.free()
	require.Equal(t, done, call.done)
	require.Same(t, &c, call.conn)
	require.Same(t, call, c.st.freeCall.Load())
	require.Equal(t, contextUse{gone: gone, times: 1}, call.context)
	call.done, call.conn, call.context = nil, nil, contextUse{}
	require.Zero(t, *call)
}

// TestRecordOfCallThatIsAloneStays has calls alone and beside another. Only the first kind keeps its record in the connection.
func TestRecordOfCallThatIsAloneStays(t *testing.T) {
	release := make(chan struct{})
	wait := HandlerFunc(func(_ context.Context, req *Request) (Reply, error) {
		if req.Type == 1 {
			<-release
		}
		return Reply{}, nil
	})
	a, b, err := Pipe(nil, &Options{Handler: wait})
	require.NoError(t, err)
	defer b.Close()
	defer a.Close()
	do := func(typ uint64) {
		_, err := a.Do(t.Context(), Request{Type: typ})
		require.NoError(t, err)
	}
	do(2)
	kept := a.st.freeCall.Load()
	require.NotNil(t, kept)
	do(2)
	require.Same(t, kept, a.st.freeCall.Load())

	first := make(chan struct{})
	go func() {
		defer close(first)
		do(1)
	}()
	require.Eventually(t, func() bool { return b.Counters().RequestsIn.Load() == 3 }, 10*time.Second, time.Millisecond)
	require.Nil(t, a.st.freeCall.Load())
	do(2)
	require.Nil(t, a.st.freeCall.Load())
	close(release)
	<-first
	require.Same(t, kept, a.st.freeCall.Load())
}
