package prpc_test

import (
	"slices"
	"testing"

	"github.com/packetstream/packetstream/rpc/prpc"
	"github.com/stretchr/testify/assert"
)

// The numbers and names are those of the original.
func TestConstants(t *testing.T) {
	for _, row := range []struct {
		value  interface{ String() string }
		number int
		name   string
	}{
		{prpc.RequestHandshake, 1, "REQUEST_HANDSHAKE"}, {prpc.RequestCallStart, 2, "REQUEST_CALL_START"},
		{prpc.RequestCallCancel, 3, "REQUEST_CALL_CANCEL"}, {prpc.RequestStreamMessage, 4, "REQUEST_STREAM_MESSAGE"},
		{prpc.RequestStreamClose, 5, "REQUEST_STREAM_CLOSE"}, {prpc.ResponseHandshake, 6, "RESPONSE_HANDSHAKE"},
		{prpc.ResponseResult, 7, "RESPONSE_RESULT"}, {prpc.ResponseStreamMessage, 8, "RESPONSE_STREAM_MESSAGE"},
		{prpc.ResponseStreamClose, 9, "RESPONSE_STREAM_CLOSE"},
		{prpc.Handshake, 10, "HANDSHAKE"}, {prpc.Unary, 20, "UNARY"}, {prpc.IStream, 30, "ISTREAM"},
		{prpc.OStream, 40, "OSTREAM"}, {prpc.BiStream, 50, "BISTREAM"}, {prpc.CallType(7), 7, "CallType(7)"},
		{prpc.StatusSuccess, 0, "SUCCESS"}, {prpc.StatusMethodError, 10, "METHOD_ERROR"},
		{prpc.StatusMethodNotFound, 20, "METHOD_NOT_FOUND"}, {prpc.StatusServerError, 30, "SERVER_ERROR"},
		{prpc.StatusUnknown, -1, "UNKNOWN"},
		{prpc.ModeNew, 0, "NEW"}, {prpc.ModeClient, 10, "CLIENT"}, {prpc.ModeServer, 20, "SERVER"},
		{prpc.ConnNew, 0, "NEW"}, {prpc.ConnPending, 10, "PENDING"}, {prpc.Connected, 20, "CONNECTED"},
		{prpc.ConnDisconnected, 30, "DISCONNECTED"}, {prpc.ConnClosing, 40, "CLOSING"}, {prpc.ConnClosed, 50, "CLOSED"},
		{prpc.CallNew, 0, "NEW"}, {prpc.CallSending, 10, "SENDING"}, {prpc.CallAccepting, 20, "ACCEPTING"},
		{prpc.CallAccepted, 30, "ACCEPTED"}, {prpc.CallCancelled, 40, "CANCELLED"}, {prpc.CallFinished, 50, "FINISHED"},
		{prpc.StreamNew, 0, "NEW"}, {prpc.StreamOpen, 10, "OPEN"}, {prpc.StreamClosing, 20, "CLOSING"},
		{prpc.StreamClosed, 30, "CLOSED"},
		{prpc.StreamRead, 1, "READ"}, {prpc.StreamWrite, 2, "WRITE"}, {prpc.StreamRead | prpc.StreamWrite, 3, "READ|WRITE"},
	} {
		assert.Equal(t, row.name, row.value.String())
		assert.EqualValues(t, row.number, row.value)
	}
}

// Every pair of states is allowed or refused as the tables say.
func TestConnTransitions(t *testing.T) {
	transitions(t, map[prpc.ConnState][]prpc.ConnState{
		prpc.ConnNew:          {prpc.ConnPending, prpc.ConnClosing},
		prpc.ConnPending:      {prpc.Connected, prpc.ConnClosing},
		prpc.Connected:        {prpc.ConnDisconnected, prpc.ConnClosing},
		prpc.ConnDisconnected: {prpc.Connected, prpc.ConnClosing},
		prpc.ConnClosing:      {prpc.ConnClosed},
		prpc.ConnClosed:       nil,
	}, prpc.TryConnState)
}

func TestCallTransitions(t *testing.T) {
	transitions(t, map[prpc.CallState][]prpc.CallState{
		prpc.CallNew:       {prpc.CallSending, prpc.CallAccepting, prpc.CallFinished},
		prpc.CallSending:   {prpc.CallFinished, prpc.CallCancelled},
		prpc.CallAccepting: {prpc.CallAccepted, prpc.CallCancelled, prpc.CallFinished},
		prpc.CallAccepted:  {prpc.CallFinished, prpc.CallCancelled},
		prpc.CallCancelled: nil,
		prpc.CallFinished:  nil,
	}, prpc.TryCallState)
}

func TestStreamTransitions(t *testing.T) {
	transitions(t, map[prpc.StreamState][]prpc.StreamState{
		prpc.StreamNew:     {prpc.StreamOpen, prpc.StreamClosed},
		prpc.StreamOpen:    {prpc.StreamClosing},
		prpc.StreamClosing: {prpc.StreamClosed},
		prpc.StreamClosed:  nil,
	}, prpc.TryStreamState)
}

func transitions[S comparable](t *testing.T, table map[S][]S, try func(from, to S) (S, bool)) {
	t.Helper()
	for from := range table {
		for to := range table {
			now, ok := try(from, to)
			assert.Equal(t, slices.Contains(table[from], to), ok, "%v to %v", from, to)
			if ok {
				assert.Equal(t, to, now)
			} else {
				assert.Equal(t, from, now)
			}
		}
	}
}
