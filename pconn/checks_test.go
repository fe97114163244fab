package pconn_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

// TestChecks has every row of the table of checks on a request, in the reference's order: each case
// also breaks what is checked later.
func TestChecks(t *testing.T) {
	t.Run("no handler comes before the end of requests", func(t *testing.T) {
		p := raw(t, nil)
		p.write(encode(packet.ERQ()))
		p.write(encode(packet.Packet{Tag: 5, Channel: 3, Request: true, Type: 1}))
		got := p.read()
		require.Equal(t, packet.Packet{Tag: 5, Channel: 3, Payload: []byte("no request handler")}, got)
	})
	t.Run("no handler, with a channel that has one", func(t *testing.T) {
		p := raw(t, &pconn.Options{Channels: map[uint64]pconn.Handler{3: pconn.HandlerFunc(echo)}})
		p.write(request(5, 0, "x"))
		p.expectResponse(5, false, "no request handler")
		p.write(encode(packet.Packet{Tag: 5, Channel: 4, Request: true, Type: 1}))
		require.Equal(t, "no request handler", string(p.read().Payload))
		p.write(encode(packet.Packet{Tag: 5, Channel: 3, Request: true, Type: 1}))
		require.Equal(t, packet.Packet{Tag: 5, Channel: 3, Flags: 1, Payload: []byte{}}, p.read())
	})
	t.Run("a channel declared without a handler", func(t *testing.T) {
		o := serve(echo)
		o.Channels = map[uint64]pconn.Handler{3: nil}
		p := raw(t, o)
		p.write(encode(packet.Packet{Tag: 5, Channel: 3, Request: true, Type: 1}))
		require.Equal(t, packet.Packet{Tag: 5, Channel: 3, Payload: []byte("no request handler")}, p.read())
	})
	t.Run("the end of requests comes before the channel and the tag", func(t *testing.T) {
		g := newGate(t)
		p := raw(t, serve(g.serve))
		p.write(request(5, 0, ""))
		receiveFrom(t, g.entered)
		p.write(encode(packet.ERQ()))
		for _, channel := range []uint64{0, 3} {
			p.write(encode(packet.Packet{Tag: 5, Channel: channel, Request: true, Type: 1}))
			require.Equal(t, packet.Packet{Tag: 5, Channel: channel, Payload: []byte("requests no longer allowed")}, p.read())
		}
		require.Zero(t, p.conn.Counters().RepeatedTags.Load())
		g.release()
		p.expectResponse(5, true, "")
	})
	t.Run("shutting down comes before the channel and the tag", func(t *testing.T) {
		g := newGate(t)
		p := raw(t, serve(g.serve))
		p.write(request(5, 0, ""))
		receiveFrom(t, g.entered)
		closed := make(chan error, 1)
		go func() { closed <- p.conn.Shutdown(soon(t)) }()
		// What was asked before the shutdown began is answered.
		eventually(t, "the shutdown has begun", func() bool {
			err := p.conn.Notify(soon(t), pconn.Request{})
			if err == nil {
				p.write(response(p.expectRequest(0, ""), ""))
			}
			return err == pconn.ErrDraining
		})
		eventually(t, "only the handler is left", func() bool { return len(p.conn.InFlight()) == 1 })
		for _, channel := range []uint64{0, 3} {
			p.write(encode(packet.Packet{Tag: 5, Channel: channel, Request: true, Type: 1}))
			require.Equal(t, packet.Packet{Tag: 5, Channel: channel, Payload: []byte("rejecting request: connection is shutting down")}, p.read())
		}
		g.release()
		p.expectResponse(5, true, "")
		p.expectEOF()
		p.out.Close()
		require.NoError(t, receiveFrom(t, closed))
	})
	t.Run("unknown channel", func(t *testing.T) {
		p := raw(t, serve(echo))
		for _, n := range []uint64{1, 3, 126, 127, 128, math.MaxUint64} {
			p.write(encode(packet.Packet{Tag: 5, Channel: n, Request: true, Type: 1, Payload: []byte("skipped")}))
			require.Equal(t, packet.Packet{Tag: 5, Channel: n, Payload: fmt.Appendf(nil, "unknown channel %d", n)}, p.read())
		}
		p.nothingMore(6)
		require.EqualValues(t, 6, p.conn.Counters().Rejected.Load())
	})
	t.Run("tag in use", func(t *testing.T) {
		g := newGate(t)
		o := serve(g.serve)
		o.Channels = map[uint64]pconn.Handler{3: pconn.HandlerFunc(echo)}
		p := raw(t, o)
		p.write(request(5, 1, "first"))
		receiveFrom(t, g.entered)
		p.write(request(5, 2, "second")) // dropped: a reject would destroy the first one's answer
		p.write(encode(packet.Packet{Tag: 5, Channel: 3, Request: true, Type: 1, Payload: []byte("other channel")}))
		require.Equal(t, "other channel", string(p.read().Payload))
		require.EqualValues(t, 1, p.conn.Counters().RepeatedTags.Load())
		g.release()
		p.expectResponse(5, true, "first")
		p.write(request(5, 3, "reused after the answer")) // the reference dies of the third use
		p.expectResponse(5, true, "reused after the answer")
		require.Equal(t, uint64(3), receiveFrom(t, g.entered))
	})
	t.Run("tag in use twice", func(t *testing.T) {
		g := newGate(t)
		p := raw(t, serve(g.serve))
		p.write(request(5, 1, "first"))
		receiveFrom(t, g.entered)
		p.write(request(5, 2, "second"))
		p.write(request(5, 2, "third"))
		eventually(t, "the connection ends", func() bool { return p.conn.Err() != nil })
		var perr *pconn.ProtocolError
		require.ErrorAs(t, p.conn.Err(), &perr)
		require.Contains(t, perr.Reason, "tag 5 on channel 0 repeated twice")
		require.EqualValues(t, len(request(5, 1, "first"))+len(request(5, 2, "second")), perr.Offset)
		g.release()
		p.expectResponse(5, true, "first")
	})
}

func TestERQ(t *testing.T) {
	p := raw(t, serve(echo))
	p.write(request(5, 1, "before"))
	p.expectResponse(5, true, "before")
	p.write(encode(packet.ERQ()))
	res := do(soon(t), p.conn, pconn.Request{Type: 4})
	tag := p.expectRequest(4, "")
	p.write(request(1, 1, "with tag 1"))
	p.expectResponse(1, false, "requests no longer allowed")
	p.write(response(tag, "answers go on"))
	require.Equal(t, "answers go on", string(receiveFrom(t, res).resp.Payload))
	p.write([]byte{0x80, 0x05, 0x80, 0x01, 0x02, 0x80, 0x00}) // ERQ once more, over-long
	p.write(eof)
	p.expectEOF()
	require.NoError(t, p.conn.Wait())
}

func TestEOFInAnyForm(t *testing.T) {
	for name, b := range map[string][]byte{
		"canonical":           {3, 0, 2, 0},
		"over-long":           {0x80, 6, 0x80, 0, 0x80, 2, 0x80, 0},
		"channel 0 spelt out": {4, 0, 3, 0, 0},
		"end of stream":       nil,
	} {
		t.Run(name, func(t *testing.T) {
			p := raw(t, serve(echo))
			res := do(soon(t), p.conn, pconn.Request{})
			p.expectRequest(0, "")
			if b == nil {
				p.out.Close()
			} else {
				p.write(b)
			}
			require.Equal(t, pconn.ErrPeerClosed, receiveFrom(t, res).err)
			p.expectEOF()
			require.NoError(t, p.conn.Wait())
		})
	}
}

func TestMalformedEOF(t *testing.T) {
	for name, b := range map[string][]byte{
		"tag 5":          encode(packet.Packet{Tag: 5, Request: true}),
		"payload":        encode(packet.Packet{Request: true, Payload: []byte("x")}),
		"flags":          encode(packet.Packet{Request: true, Flags: 1}),
		"channel":        encode(packet.Packet{Request: true, Channel: 1}),
		"ERQ with flags": encode(packet.Packet{Tag: 1, Request: true, Flags: 2}),
	} {
		t.Run(name, func(t *testing.T) {
			p := raw(t, serve(echo))
			p.write(request(5, 1, "x"))
			p.expectResponse(5, true, "x")
			res := do(soon(t), p.conn, pconn.Request{})
			p.expectRequest(0, "")
			p.write(b)
			err := receiveFrom(t, res).err
			var perr *pconn.ProtocolError
			require.ErrorAs(t, err, &perr)
			require.EqualValues(t, len(request(5, 1, "x")), perr.Offset)
			require.ErrorContains(t, err, "neither EOF nor ERQ")
			require.NotEmpty(t, perr.Quote)
			require.ErrorIs(t, p.conn.Wait(), err)
			p.expectEOF()
		})
	}
}

func TestResponsesNobodyAskedFor(t *testing.T) {
	p := raw(t, serve(echo))
	res := do(soon(t), p.conn, pconn.Request{})
	tag := p.expectRequest(0, "")
	p.write(request(2, 0, "")) // so that the first packet is one of theirs
	p.expectResponse(2, true, "")
	for _, b := range [][]byte{
		response(tag+1, "not asked yet"),
		response(0, "never a tag of ours"),
		response(1, "never a tag of ours"),
		response(math.MaxUint64, string(pattern(50_000))),
		encode(packet.Packet{Tag: 9, Channel: 127, Flags: 1}),
	} {
		p.write(b)
	}
	p.write(encode(packet.Packet{Tag: tag, Channel: 3, Flags: 1, Payload: []byte("wrong channel")}))
	p.write(response(tag, "right"))
	p.write(response(tag, "second"))
	require.Equal(t, "right", string(receiveFrom(t, res).resp.Payload))
	p.nothingMore(7)
	require.EqualValues(t, 5, p.conn.Counters().Unsolicited.Load())
	require.EqualValues(t, 2, p.conn.Counters().LateResponses.Load(), "the second, and the one of a tag that was ours on another channel")
}
