package eventstream

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// drawEnvelope draws messages, mostly near what is legal.
func drawEnvelope(t *rapid.T, last int32) envelope {
	return envelope{
		typ:       MessageType(rapid.Int32Range(-1, 9).Draw(t, "type")),
		flags:     MessageFlag(rapid.Int32Range(0, 3).Draw(t, "flags")),
		stream:    rapid.SampledFrom([]int32{0, 0, 1, 2, last - 1, last, last + 1, last + 1, last + 2, -1, math.MinInt32, math.MaxInt32}).Draw(t, "stream"),
		operation: rapid.SampledFrom([]string{"", "op"}).Draw(t, "operation"),
	}
}

// serverModel is the tables of the protocol as one function: what a message means to a server.
func serverModel(connected, acked bool, last int32, open map[int32]bool, e envelope) verdict {
	app := e.typ == MessageTypeApplicationMessage || e.typ == MessageTypeApplicationError
	known := e.typ >= MessageTypePing && e.typ <= MessageTypeInternalError
	end := e.flags&FlagTerminateStream != 0
	switch {
	case !acked && e.typ != MessageTypeConnect:
		return fail(faultHandshake)
	case e.stream != 0 && (!app || e.stream < 0):
		return fail(faultStreamType)
	case e.stream == 0 && !known:
		return fail(faultType)
	case e.stream == 0 && e.typ == MessageTypeConnect && connected:
		return fail(faultHandshake)
	case e.stream == 0:
		return verdict{action: actProtocol}
	case open[e.stream]:
		return verdict{action: actDeliver}
	case e.stream <= last && end:
		return verdict{action: actIgnore}
	case e.stream <= last:
		return fail(faultLower)
	case e.stream-1 > last:
		return fail(faultGap)
	case e.operation == "":
		return fail(faultOperation)
	}
	return verdict{action: actOpen}
}

func TestServerStateModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := serverState{streams: map[int32]*ServerStream{}}
		if rapid.Bool().Draw(t, "near the end of ids") {
			s.last = math.MaxInt32 - 1
		}
		open := map[int32]bool{}
		for range rapid.IntRange(0, 60).Draw(t, "messages") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				if s.phase == handshakeConnect {
					s.phase = handshakeDone
				}
				continue
			case 1:
				for id := range open {
					delete(open, id)
					delete(s.streams, id)
					break
				}
				continue
			}
			e := drawEnvelope(t, s.last)
			want := serverModel(s.phase != handshakeNone, s.phase == handshakeDone, s.last, open, e)
			last := s.last
			got, st := s.receive(e)
			require.Equal(t, want, got, "%+v", e)
			require.Equal(t, got.action == actDeliver, st != nil)
			switch got.action {
			case actFail:
				require.Equal(t, last, s.last, "a message that fails uses no id")
				return
			case actOpen:
				require.Equal(t, e.stream, s.last)
				if !e.terminates() {
					open[e.stream], s.streams[e.stream] = true, &ServerStream{}
				}
			case actDeliver:
				if e.terminates() {
					delete(open, e.stream)
				}
			}
			require.Len(t, s.streams, len(open))
		}
	})
}

// clientModel is what a message means to a client.
func clientModel(connected, acked bool, last int32, open map[int32]bool, e envelope) verdict {
	app := e.typ == MessageTypeApplicationMessage || e.typ == MessageTypeApplicationError
	known := e.typ >= MessageTypePing && e.typ <= MessageTypeInternalError
	switch {
	case !acked && connected && e.typ == MessageTypeConnectAck && e.stream == 0:
		return verdict{action: actProtocol}
	case !acked:
		return fail(faultSilent)
	case e.stream == 0 && !known:
		return fail(faultType)
	case e.stream == 0 && e.typ == MessageTypeConnectAck:
		return fail(faultHandshake)
	case e.stream == 0:
		return verdict{action: actProtocol}
	case !app:
		return fail(faultStreamType)
	case open[e.stream]:
		return verdict{action: actDeliver}
	case e.stream > 0 && e.stream <= last:
		return verdict{action: actIgnore}
	}
	return fail(faultLower)
}

func TestClientStateModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := clientState{streams: map[int32]*Continuation{}}
		open := map[int32]bool{}
		for range rapid.IntRange(0, 60).Draw(t, "messages") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				typ := MessageType(rapid.Int32Range(-1, 9).Draw(t, "send"))
				checkClientSend(t, &s, typ)
				continue
			case 1, 2:
				id, err := s.open(&Continuation{})
				if s.phase != handshakeDone {
					require.ErrorIs(t, err, ErrHandshake)
					continue
				}
				require.NoError(t, err)
				require.Equal(t, s.last, id)
				open[id] = true
				continue
			}
			e := drawEnvelope(t, s.last)
			want := clientModel(s.phase != handshakeNone, s.phase == handshakeDone, s.last, open, e)
			got, k := s.receive(e)
			require.Equal(t, want, got, "%+v", e)
			require.Equal(t, got.action == actDeliver, k != nil)
			if got.action == actFail {
				return
			}
			if got.action == actDeliver && e.terminates() {
				delete(open, e.stream)
			}
			require.Len(t, s.streams, len(open))
		}
	})
}

func checkClientSend(t *rapid.T, s *clientState, typ MessageType) {
	phase := s.phase
	err := s.send(typ)
	switch {
	case !typ.onConnection():
		require.ErrorIs(t, err, ErrMessageType)
	case phase == handshakeNone && typ == MessageTypeConnect:
		require.NoError(t, err)
		require.Equal(t, handshakeConnect, s.phase)
		return
	case phase == handshakeDone && typ != MessageTypeConnect && typ != MessageTypeConnectAck:
		require.NoError(t, err)
	default:
		require.ErrorIs(t, err, ErrHandshake)
	}
	require.Equal(t, phase, s.phase)
}

func TestServerStateSend(t *testing.T) {
	allowed := map[handshake][]MessageType{
		handshakeNone:    nil,
		handshakeConnect: {MessageTypeProtocolError, MessageTypeInternalError},
		handshakeDone:    {MessageTypePing, MessageTypePingResponse, MessageTypeProtocolError, MessageTypeInternalError},
	}
	for phase, types := range allowed {
		for typ := MessageType(-1); typ < 10; typ++ {
			s := serverState{phase: phase}
			err := s.send(typ)
			switch {
			case !typ.onConnection():
				assert.ErrorIs(t, err, ErrMessageType)
			case slices.Contains(types, typ):
				assert.NoError(t, err, "%v in phase %d", typ, phase)
			default:
				assert.ErrorIs(t, err, ErrHandshake, "%v in phase %d", typ, phase)
			}
		}
	}
}

func TestStreamIDsRunOut(t *testing.T) {
	s := clientState{phase: handshakeDone, last: math.MaxInt32, streams: map[int32]*Continuation{}}
	_, err := s.open(&Continuation{})
	require.ErrorIs(t, err, ErrStreamIDs)
}

func TestReadEnvelope(t *testing.T) {
	base := []Header{Int32(headerMessageType, 2), Int32(headerMessageFlags, 3), Int32(headerStreamID, 4)}
	tests := map[string]struct {
		headers []Header
		want    envelope
		ok      bool
	}{
		"plain":            {base, envelope{2, 3, 4, ""}, true},
		"missing":          {base[:2], envelope{}, false},
		"last one counts":  {append(append([]Header{}, base...), Int32(headerStreamID, 5)), envelope{2, 3, 5, ""}, true},
		"stops at four":    {append(append([]Header{}, base...), String(headerOperation, "a"), Int32(headerStreamID, 5)), envelope{2, 3, 4, "a"}, true},
		"wrong type":       {append(append([]Header{}, base...), Int16(headerStreamID, 5), Bytes(headerOperation, nil)), envelope{2, 3, 4, ""}, true},
		"capitals":         {[]Header{Int32(":Message-Type", 2), Int32(":MESSAGE-FLAGS", 3), Int32(":stream-ID", 4), String("Operation", "x")}, envelope{2, 3, 4, "x"}, true},
		"no letters alike": {[]Header{base[0], base[1], Int32("\u017ftream-id", 1)}, envelope{}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := readEnvelope(test.headers)
			assert.Equal(t, test.ok, ok)
			if ok {
				assert.Equal(t, test.want, got)
			}
		})
	}
}
