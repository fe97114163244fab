package frame_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet/frame"
)

// FuzzFields gives any octets to each parser. What is taken means the same when it is written and read
// again, and what is not taken is named by a *FormatError.
func FuzzFields(f *testing.F) {
	for _, b := range [][]byte{
		(&frame.Hello{Version: 1, Features: 3, Cookie: []byte("hi"), MaxPayload: 1 << 24, MaxStreams: 100, StreamCredit: 1 << 18}).Append(nil),
		(&frame.Headers{Timeout: 12345678, Metadata: []frame.Pair{{Key: "k", Value: []byte("v")}, {}}, Code: 3, Reason: 1}).Append(nil),
		(&frame.Cancel{Channel: 200, Reason: 4, Code: 5, Text: "enough"}).Append(nil),
		(&frame.GoAway{Code: 1, Text: "bye"}).Append(nil),
		(&frame.Open{Name: "http", Metadata: []frame.Pair{{Key: "k", Value: []byte("v")}}, Credit: 1 << 18}).Append(nil),
		(&frame.Reset{Code: 7, Reason: 1, Text: "no"}).Append(nil),
		{3, 1}, {2, 2, 2, 'k'}, {0x80, 0x80, 1, 0},
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		again(t, b, frame.ParseHello, (*frame.Hello).Append)
		again(t, b, frame.ParseHeaders, (*frame.Headers).Append)
		again(t, b, frame.ParseCancel, (*frame.Cancel).Append)
		again(t, b, frame.ParseGoAway, (*frame.GoAway).Append)
		again(t, b, frame.ParseOpen, (*frame.Open).Append)
		again(t, b, func(b []byte) (frame.Reset, error) { return frame.ParseReset(frame.KindReset, b) }, (*frame.Reset).Append)
	})
}

func again[T any](t *testing.T, b []byte, parse func([]byte) (T, error), write func(*T, []byte) []byte) {
	v, err := parse(b)
	if err != nil {
		var ferr *frame.FormatError
		require.True(t, errors.As(err, &ferr), "%v", err)
		return
	}
	written := write(&v, nil)
	got, err := parse(written)
	require.NoError(t, err)
	require.Equal(t, v, got)
	require.Equal(t, written, write(&got, nil))
}
