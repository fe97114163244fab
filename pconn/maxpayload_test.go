package pconn_test

import (
	"bytes"
	"math"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

func TestTooLargeResponseFailsItsCallOnly(t *testing.T) {
	p := raw(t, &pconn.Options{MaxPayload: 100})
	other := do(soon(t), p.conn, pconn.Request{Type: 1})
	otherTag := p.expectRequest(1, "")
	res := do(soon(t), p.conn, pconn.Request{Type: 2})
	tag := p.expectRequest(2, "")
	p.write(response(tag, string(pattern(101))))
	got := receiveFrom(t, res)
	require.Equal(t, &pconn.LimitError{What: "response payload, bytes", Value: 101, Max: 100}, got.err)
	require.False(t, got.resp.OK)

	p.write(response(otherTag, string(pattern(100))))
	got = receiveFrom(t, other)
	require.NoError(t, got.err)
	require.Equal(t, pattern(100), got.resp.Payload)
	require.EqualValues(t, 1, p.conn.Counters().TooLarge.Load())
}

func TestTooLargeRequestIsRejected(t *testing.T) {
	o := serve(echo)
	o.MaxPayload = 100
	p := raw(t, o)
	p.write(request(5, 0, string(pattern(101))))
	p.expectResponse(5, false, "pconn: request payload, bytes: 101 is over the limit of 100")
	p.write(request(6, 0, string(pattern(100))))
	p.expectResponse(6, true, string(pattern(100)))
	require.EqualValues(t, 1, p.conn.Counters().TooLarge.Load())
}

func TestMaxPayloadTakesNoMemoryOnAClaim(t *testing.T) {
	o := serve(echo)
	o.MaxPayload = pconn.MaxPayload
	p := raw(t, o)
	res := do(soon(t), p.conn, pconn.Request{})
	tag := p.expectRequest(0, "")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	h := packet.Header{Tag: tag, Flags: 1, Size: pconn.MaxPayload}
	b, err := h.Append(nil)
	require.NoError(t, err)
	p.write(append(b, pattern(100_000)...))
	p.out.Close()
	var perr *pconn.ProtocolError
	require.ErrorAs(t, receiveFrom(t, res).err, &perr)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20))
}

func TestMaxPayloadOption(t *testing.T) {
	for _, n := range []int64{-1, pconn.MaxPayload + 1, math.MaxInt64} {
		a, b, err := pconn.Pipe(&pconn.Options{MaxPayload: n}, nil)
		require.ErrorContains(t, err, "MaxPayload")
		require.Nil(t, a)
		require.Nil(t, b)
	}
	for _, n := range []int64{1, pconn.MaxPayload} {
		pair(t, &pconn.Options{MaxPayload: n}, nil)
	}
}

func TestPayloadsPastSixteenMiB(t *testing.T) {
	o := serve(echo)
	o.MaxPayload = 64 << 20
	a, _ := pair(t, o, o)
	big := bytes.Repeat([]byte("0123456789abcde"), 34<<20/15)
	resp, err := a.Do(soon(t), pconn.Request{Payload: big})
	require.NoError(t, err)
	require.True(t, bytes.Equal(big, resp.Payload))
}
