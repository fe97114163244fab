package pconn_test

import (
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
	"github.com/packetstream/packetstream/pconn"
)

// extended says HELLO to the connection, by hand, and takes its answer.
func (p *rawPeer) extended(h frame.Hello) {
	p.t.Helper()
	h.Version = frame.Version
	h.Features |= frame.FeatureStreams
	p.sendFrame(frame.KindHello, 1000, 0, h.Append(nil))
	got := p.read()
	require.Equal(p.t, uint64(frame.Channel), got.Channel)
	require.EqualValues(p.t, 1, got.Flags&1)
}

// sendFrame sends one.
func (p *rawPeer) sendFrame(kind frame.Kind, tag, flags uint64, payload []byte) {
	p.t.Helper()
	require.NoError(p.t, p.tryWrite(frameBytes(kind, tag, flags, payload)))
}

func frameBytes(kind frame.Kind, tag, flags uint64, payload []byte) []byte {
	return encode(packet.Packet{Channel: frame.Channel, Tag: tag, Flags: flags, Type: uint64(kind) + 1, Request: true, Payload: payload})
}

// expectStream takes the next packet, which is a frame of that kind about that stream.
func (p *rawPeer) expectStream(kind frame.Kind, tag, flags uint64) packet.Packet {
	p.t.Helper()
	got := p.read()
	require.Equal(p.t, packet.Packet{Channel: frame.Channel, Tag: tag, Flags: flags, Type: uint64(kind) + 1, Request: true, Payload: got.Payload}, got)
	return got
}

// expectNoStream checks that the connection says nothing, by what it answers next.
func (p *rawPeer) expectNoStream() {
	p.t.Helper()
	p.write(request(77, 7, "anything?"))
	p.expectStream(frame.KindHeaders, 77, frame.FlagResponse)
	p.expectResponse(77, false, "no request handler")
}

// expectViolation waits for the connection's end with an error that says so.
func (p *rawPeer) expectViolation(text string) {
	p.t.Helper()
	eventually(p.t, "the connection ends", func() bool { return p.conn.Err() != nil })
	var perr *pconn.ProtocolError
	require.ErrorAs(p.t, p.conn.Err(), &perr)
	require.Contains(p.t, perr.Reason, text)
}

// The window of the streams of this file, and what the peer may be sent at first.
const (
	protoWindow = 1000
	protoCredit = 500
)

// protoStream is one stream of a hand-made peer, opened by either.
type protoStream struct {
	*rawPeer
	s     *pconn.Stream
	flags uint64 // of the peer's frames
}

// side is what the connection's frames have as their flags.
func (p *protoStream) side() uint64 { return p.flags ^ frame.FlagReceivers }

func (p *protoStream) send(kind frame.Kind, payload string) {
	p.t.Helper()
	p.sendFrame(kind, 1, p.flags, []byte(payload))
}

// newProtoStream makes a connection with one stream, opened by the connection or by the peer.
func newProtoStream(t *testing.T, ours bool) *protoStream {
	p := &protoStream{rawPeer: raw(t, &pconn.Options{Streams: pconn.StreamLimits{Window: protoWindow, MaxWindow: protoWindow}})}
	p.extended(frame.Hello{MaxStreams: 10, StreamCredit: protoCredit})
	if ours {
		var err error
		p.s, err = p.conn.OpenStream(soon(t), "x", nil)
		require.NoError(t, err)
		open, err := frame.ParseOpen(p.expectStream(frame.KindOpen, 1, 0).Payload)
		require.NoError(t, err)
		require.Equal(t, frame.Open{Name: "x", Credit: protoWindow}, open)
		p.flags = frame.FlagReceivers
		return p
	}
	l, err := p.conn.Listen("")
	require.NoError(t, err)
	open := frame.Open{Name: "y", Credit: protoCredit}
	p.sendFrame(frame.KindOpen, 1, 0, open.Append(nil))
	p.s, err = l.AcceptStream(soon(t))
	require.NoError(t, err)
	return p
}

// protoStates bring a stream into each of the states of the table in PROTOCOL.md, with its own direction open or
// ended. gone says that its own direction is.
var protoStates = []struct {
	name  string
	gone  bool
	reach func(p *protoStream)
}{
	{"open", false, func(*protoStream) {}},
	{"open, sent END", true, func(p *protoStream) {
		p.s.CloseWrite()
		p.expectStream(frame.KindEnd, 1, p.side())
	}},
	{"stopped", false, func(p *protoStream) {
		p.s.CloseRead()
		p.expectStream(frame.KindStop, 1, p.side())
	}},
	{"stopped, sent END", true, func(p *protoStream) {
		p.s.Close()
		p.expectStream(frame.KindStop, 1, p.side())
		p.expectStream(frame.KindEnd, 1, p.side())
	}},
	{"reset", true, func(p *protoStream) {
		p.s.Reset(5)
		why, err := frame.ParseReset(frame.KindReset, p.expectStream(frame.KindReset, 1, p.side()).Payload)
		require.NoError(p.t, err)
		require.Equal(p.t, frame.Reset{Code: 5}, why)
	}},
	{"ended", false, func(p *protoStream) {
		p.send(frame.KindEnd, "")
		_, err := p.s.Read(make([]byte, 1))
		require.Equal(p.t, io.EOF, err)
	}},
	{"over", true, func(p *protoStream) {
		p.send(frame.KindEnd, "")
		_, err := p.s.Read(make([]byte, 1))
		require.Equal(p.t, io.EOF, err)
		p.s.CloseWrite()
		p.expectStream(frame.KindEnd, 1, p.side())
	}},
	{"over by reset", true, func(p *protoStream) {
		p.send(frame.KindReset, "")
		p.expectStream(frame.KindReset, 1, p.side())
	}},
}

// TestStreamTable has every cell of the state table in PROTOCOL.md, for streams of either end.
func TestStreamTable(t *testing.T) {
	for _, ours := range []bool{true, false} {
		for _, state := range protoStates {
			t.Run(fmt.Sprintf("ours=%v/%s", ours, state.name), func(t *testing.T) {
				run := func(name string, f func(t *testing.T, p *protoStream)) {
					t.Run(name, func(t *testing.T) {
						p := newProtoStream(t, ours)
						state.reach(p)
						f(t, p)
					})
				}
				ended := state.name == "ended" || state.name == "over" || state.name == "over by reset"
				over := ended && state.gone

				run("OPEN again", func(_ *testing.T, p *protoStream) {
					if ours {
						p.sendFrame(frame.KindOpen, 2, 0, nil)
						p.expectViolation("OPEN of stream 2 of the peer, after 0 of the peer")
					} else {
						p.sendFrame(frame.KindOpen, 1, 0, nil)
						p.expectViolation("OPEN of stream 1 of the peer, after 1 of the peer")
					}
				})
				run("DATA", func(t *testing.T, p *protoStream) {
					p.send(frame.KindData, "data")
					switch {
					case ended:
						p.expectViolation("DATA of 4 bytes for stream " + p.called() + ", which its sender had ended")
					case state.name == "open" || state.name == "open, sent END":
						got := make([]byte, 10)
						n, err := p.s.Read(got)
						require.NoError(t, err)
						require.Equal(t, "data", string(got[:n]))
					default:
						p.expectNoStream()
					}
				})
				run("DATA over credit", func(_ *testing.T, p *protoStream) {
					p.send(frame.KindData, string(make([]byte, protoWindow+1)))
					if ended {
						p.expectViolation("which its sender had ended")
					} else {
						p.expectViolation("DATA of 1001 bytes for stream " + p.called() + ", which may send 1000 of its window of 1000")
					}
				})
				run("DATA over what credit is left", func(_ *testing.T, p *protoStream) {
					if ended {
						return
					}
					p.send(frame.KindData, string(make([]byte, protoWindow-10)))
					p.send(frame.KindData, string(make([]byte, 11)))
					p.expectViolation("DATA of 11 bytes for stream " + p.called() + ", which may send 10 of its window of 1000")
				})
				run("DATA without octets", func(_ *testing.T, p *protoStream) {
					p.send(frame.KindData, "")
					p.expectViolation("DATA without data for stream " + p.called())
				})
				run("END", func(_ *testing.T, p *protoStream) {
					p.send(frame.KindEnd, "")
					if ended {
						p.expectViolation("END of 0 bytes for stream " + p.called() + ", which its sender had ended")
						return
					}
					p.expectNoStream()
					p.send(frame.KindData, "x")
					p.expectViolation("which its sender had ended")
				})
				run("END with a payload", func(_ *testing.T, p *protoStream) {
					p.send(frame.KindEnd, "x")
					p.expectViolation("END of stream " + p.called() + " with a payload of 1 bytes")
				})
				run("STOP", func(t *testing.T, p *protoStream) {
					why := frame.Reset{Code: 7, Text: "enough"}
					p.send(frame.KindStop, string(why.Append(nil)))
					if state.gone {
						p.expectNoStream()
						return
					}
					p.expectStream(frame.KindEnd, 1, p.side())
					_, err := p.s.Write([]byte("x"))
					require.Equal(t, &pconn.StreamError{Stream: 1, Name: p.s.Name(), Remote: true, Code: 7, Text: "enough", Stopped: true}, err)
					p.send(frame.KindStop, "")
					p.expectNoStream()
				})
				run("RESET", func(t *testing.T, p *protoStream) {
					why := frame.Reset{Code: 7, Text: "away"}
					p.send(frame.KindReset, string(why.Append(nil)))
					if !state.gone {
						p.expectStream(frame.KindReset, 1, p.side())
					}
					p.expectNoStream()
					require.Empty(t, p.conn.InFlight())
					if state.name == "open" {
						_, err := p.s.Read(make([]byte, 1))
						require.Equal(t, &pconn.StreamError{Stream: 1, Name: p.s.Name(), Remote: true, Code: 7, Text: "away"}, err)
						_, err = p.s.Write([]byte("x"))
						require.Equal(t, &pconn.StreamError{Stream: 1, Name: p.s.Name(), Remote: true, Code: 7, Text: "away"}, err)
					}
					p.send(frame.KindReset, "")
					p.expectNoStream()
					p.send(frame.KindData, "x")
					p.expectViolation("which its sender had ended")
				})
				run("CREDIT", func(t *testing.T, p *protoStream) {
					p.sendFrame(frame.KindCredit, 1, p.flags|100<<1, nil)
					if state.gone {
						p.expectNoStream()
						return
					}
					_, err := p.s.Write(make([]byte, 1000))
					require.NoError(t, err)
					got := 0
					for got < protoCredit+100 {
						got += len(p.expectStream(frame.KindData, 1, p.side()).Payload)
					}
					require.Equal(t, protoCredit+100, got)
					p.sendFrame(frame.KindCredit, 1, p.flags|300<<1, nil)
					require.Len(t, p.expectStream(frame.KindData, 1, p.side()).Payload, 300)
				})
				run("CREDIT of 0", func(_ *testing.T, p *protoStream) {
					p.sendFrame(frame.KindCredit, 1, p.flags, nil)
					if state.gone {
						p.expectNoStream()
						return
					}
					p.expectViolation("CREDIT of 0 bytes for stream " + p.called() + ", which may send 500: the most in all is 1099511627776")
				})
				run("CREDIT overflows", func(_ *testing.T, p *protoStream) {
					p.sendFrame(frame.KindCredit, 1, p.flags|(1<<40-protoCredit)<<1, nil)
					if state.gone {
						p.expectNoStream()
						return
					}
					p.sendFrame(frame.KindCredit, 1, p.flags|1<<1, nil)
					p.expectViolation("CREDIT of 1 bytes for stream " + p.called() + ", which may send 1099511627776")
				})
				run("CREDIT with a payload", func(_ *testing.T, p *protoStream) {
					p.sendFrame(frame.KindCredit, 1, p.flags|1<<1, []byte("x"))
					p.expectViolation("CREDIT of stream " + p.called() + " with a payload of 1 bytes")
				})
				if over {
					run("it is forgotten", func(t *testing.T, p *protoStream) { require.Empty(t, p.conn.InFlight()) })
				}
			})
		}
	}
}

// called is how errors call the stream.
func (p *protoStream) called() string {
	if p.flags == frame.FlagReceivers {
		return "1 of this end"
	}
	return "1 of the peer"
}

func TestFrameOfUnusedStream(t *testing.T) {
	for _, kind := range []frame.Kind{frame.KindData, frame.KindEnd, frame.KindStop, frame.KindReset, frame.KindCredit} {
		for _, tag := range []uint64{0, 1, 2, 1 << 62} {
			for _, flags := range []uint64{0, 1} {
				p := raw(t, nil)
				p.extended(frame.Hello{MaxStreams: 10})
				payload := ""
				if kind == frame.KindData {
					payload = "data"
				}
				p.sendFrame(kind, tag, flags|2, []byte(payload))
				p.expectViolation(fmt.Sprintf("%v of %d bytes for stream %d of", kind, len(payload), tag))
				require.ErrorContains(t, p.conn.Err(), "which was never opened")
			}
		}
	}
}

func TestOpenFrames(t *testing.T) {
	t.Run("flags of the receiver's", func(t *testing.T) {
		p := raw(t, nil)
		p.extended(frame.Hello{})
		p.sendFrame(frame.KindOpen, 1, 1, nil)
		p.expectViolation("OPEN of stream 1 of this end, after 0 of the peer")
	})
	t.Run("bad fields", func(t *testing.T) {
		p := raw(t, nil)
		p.extended(frame.Hello{})
		p.sendFrame(frame.KindOpen, 1, 0, []byte{1, 5, 'x'})
		p.expectViolation("a bad frame")
	})
	t.Run("a name too long", func(t *testing.T) {
		p := raw(t, nil)
		p.extended(frame.Hello{})
		open := frame.Open{Name: string(make([]byte, 1025))}
		p.sendFrame(frame.KindOpen, 1, 0, open.Append(nil))
		var limit *pconn.LimitError
		eventually(t, "the connection ends", func() bool { return p.conn.Err() != nil })
		require.ErrorAs(t, p.conn.Err(), &limit)
		require.EqualValues(t, 1024, limit.Max)
	})
	t.Run("nobody listens", func(t *testing.T) {
		p := raw(t, nil)
		p.extended(frame.Hello{})
		p.sendFrame(frame.KindOpen, 1, 0, nil)
		why, err := frame.ParseReset(frame.KindReset, p.expectStream(frame.KindReset, 1, 1).Payload)
		require.NoError(t, err)
		require.Equal(t, frame.Reset{Reason: frame.ReasonRefused, Text: "nobody takes streams of this name"}, why)
		p.sendFrame(frame.KindData, 1, 0, []byte("on its way"))
		p.sendFrame(frame.KindReset, 1, 0, nil)
		p.expectNoStream()
		require.Empty(t, p.conn.InFlight())
	})
	t.Run("too many wait", func(t *testing.T) {
		p := raw(t, &pconn.Options{Streams: pconn.StreamLimits{MaxBacklog: 2}})
		p.extended(frame.Hello{})
		_, err := p.conn.Listen("")
		require.NoError(t, err)
		for id := range uint64(3) {
			p.sendFrame(frame.KindOpen, id+1, 0, nil)
		}
		why, err := frame.ParseReset(frame.KindReset, p.expectStream(frame.KindReset, 3, 1).Payload)
		require.NoError(t, err)
		require.Equal(t, frame.Reset{Reason: frame.ReasonRefused, Text: "too many streams wait to be accepted"}, why)
		// A stream that is reset makes room.
		p.sendFrame(frame.KindReset, 1, 0, nil)
		p.expectStream(frame.KindReset, 1, 1)
		p.sendFrame(frame.KindOpen, 4, 0, nil)
		p.expectNoStream()
	})
	t.Run("too many open", func(t *testing.T) {
		p := raw(t, &pconn.Options{Streams: pconn.StreamLimits{MaxOpen: 2}})
		p.extended(frame.Hello{})
		_, err := p.conn.Listen("")
		require.NoError(t, err)
		for id := range uint64(3) {
			p.sendFrame(frame.KindOpen, id+1, 0, nil)
		}
		var limit *pconn.LimitError
		eventually(t, "the connection ends", func() bool { return p.conn.Err() != nil })
		require.ErrorAs(t, p.conn.Err(), &limit)
		require.Equal(t, &pconn.LimitError{What: "streams opened by the peer", Value: 3, Max: 2}, limit)
	})
}

// TestStreamCredit checks when the peer is allowed more.
func TestStreamCredit(t *testing.T) {
	p := newProtoStream(t, true)
	p.send(frame.KindData, string(make([]byte, protoWindow)))
	read := func(n int) {
		_, err := io.ReadFull(p.s, make([]byte, n))
		require.NoError(t, err)
	}
	read(protoWindow/4 - 1)
	p.expectNoStream()
	read(1)
	p.expectStream(frame.KindCredit, 1, protoWindow/4<<1)
	read(protoWindow / 2)
	p.expectStream(frame.KindCredit, 1, protoWindow/2<<1)
	require.NoError(t, p.s.CloseRead())
	p.expectStream(frame.KindStop, 1, 0)
}
