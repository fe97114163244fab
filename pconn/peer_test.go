package pconn_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/pconn"
)

// nothingMore checks that the connection has nothing to say besides the answer to a request made now.
func (p *rawPeer) nothingMore(tag uint64) {
	p.t.Helper()
	p.write(request(tag, 77, "still there"))
	p.expectResponse(tag, true, "still there")
}

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

// TestTruncation cuts a valid stream at every byte. A cut between packets is an end in good order, any
// other a ProtocolError that says where.
func TestTruncation(t *testing.T) {
	packets := [][]byte{
		request(130, 200, "question"),
		response(2, "the answer to ours"),
		encode(packet.Packet{Tag: 7, Channel: 300, Flags: packet.MaxFlags, Request: true, Type: 1 << 40, Payload: pattern(40)}),
		request(131, 0, string(pattern(200))),
	}
	whole := bytes.Join(packets, nil)
	boundary := map[int]int{0: 0}
	at := 0
	for _, b := range packets {
		at += len(b)
		boundary[at] = at
	}
	for cut := range len(whole) + 1 {
		p := raw(t, serve(echo))
		r, err := p.conn.Submit(soon(t), pconn.Request{})
		require.NoError(t, err)
		p.expectRequest(0, "")
		p.write(whole[:cut])
		p.out.Close()
		answered := cut >= len(packets[0])+len(packets[1])
		_, err = r.Wait(soon(t))
		require.Equal(t, answered, err == nil, "cut at %d: %v", cut, err)
		if _, clean := boundary[cut]; clean {
			require.NoError(t, p.conn.Wait(), "cut at %d", cut)
			require.Equal(t, pconn.ErrPeerClosed, p.conn.Err())
			continue
		}
		var perr *pconn.ProtocolError
		require.ErrorAs(t, p.conn.Wait(), &perr, "cut at %d", cut)
		require.ErrorIs(t, perr, io.ErrUnexpectedEOF)
		start := 0
		for b := range boundary {
			if b <= cut {
				start = max(start, b)
			}
		}
		require.EqualValues(t, start, perr.Offset, "cut at %d", cut)
		require.NotEmpty(t, perr.Quote)
		require.Equal(t, whole[start], perr.Quote[0], "cut at %d", cut)
	}
}

func TestStreamsThatAreNoPackets(t *testing.T) {
	big := append(bytes.Repeat([]byte{0xff}, 9), 0x7f)                                             // 2^70-1
	n63 := packet.AppendUint(nil, 1<<63)                                                           // a length
	over := packet.AppendUint(nil, pconn.MaxPayload+3+1)                                           // one byte over 2 GiB
	long := append(bytes.Repeat([]byte{0x80}, packet.MaxNumber), 1)                                // over-long past all patience
	with := func(fields ...[]byte) []byte { return bytes.Join(append(fields, pattern(100)), nil) } // a header and what follows it
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"length 0":                   {[]byte{0}, packet.ErrFields},
		"length 1":                   {[]byte{1, 5}, packet.ErrFields},
		"no type":                    {[]byte{2, 5, 2}, packet.ErrFields},
		"no channel":                 {[]byte{2, 5, 1}, packet.ErrFields},
		"tag longer than the packet": {[]byte{1, 0x81, 0x81, 1}, packet.ErrFields},
		"length over 64 bits":        {with(big), packet.ErrOverflow},
		"length 2^63":                {with(n63, []byte{5, 2, 1}), packet.ErrLength},
		"length 2^64-1":              {with(packet.AppendUint(nil, math.MaxUint64), []byte{5, 2, 1}), packet.ErrLength},
		"over 2 GiB":                 {with(over, []byte{5, 2, 1}), packet.ErrLength},
		"tag over 64 bits":           {with([]byte{50}, big), packet.ErrOverflow},
		"flags over 64 bits":         {with([]byte{50, 5}, big), packet.ErrOverflow},
		"channel over 64 bits":       {with([]byte{50, 5, 3}, big), packet.ErrOverflow},
		"type over 64 bits":          {with([]byte{50, 5, 2}, big), packet.ErrOverflow},
		"endless length":             {long, packet.ErrOverlong},
		"endless tag":                {with([]byte{0x90, 0}, long), packet.ErrOverlong},
	} {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, first %v", name, first), func(t *testing.T) {
				p := raw(t, serve(echo))
				at := 0
				if !first {
					b := request(5, 1, "x")
					at = len(b)
					p.write(b)
					p.expectResponse(5, true, "x")
				}
				res := do(soon(t), p.conn, pconn.Request{})
				p.expectRequest(0, "")
				p.write(c.b) // the stream stays open: the error does not wait for more
				err := receiveFrom(t, res).err
				var perr *pconn.ProtocolError
				require.ErrorAs(t, err, &perr)
				require.ErrorIs(t, err, c.want)
				var format *packet.FormatError
				require.ErrorAs(t, err, &format)
				require.EqualValues(t, at, perr.Offset)
				require.Equal(t, c.b[:min(len(c.b), 8)], perr.Quote[:min(len(c.b), 8)])
				require.LessOrEqual(t, len(perr.Quote), 128)
				p.expectEOF()
			})
		}
	}
}

func TestLyingLengths(t *testing.T) {
	// The packet claims more than its fields: the rest is payload. It claims more than comes: the
	// stream ends inside of it. Neither takes memory that was not sent.
	p := raw(t, serve(echo))
	h := packet.Header{Tag: 5, Request: true, Type: 1, Size: 10 << 20}
	b, err := h.Append(nil)
	require.NoError(t, err)
	p.write(append(b, "short"...))
	p.out.Close()
	var perr *pconn.ProtocolError
	require.ErrorAs(t, p.conn.Wait(), &perr)
	require.ErrorIs(t, perr, io.ErrUnexpectedEOF)
	require.Contains(t, perr.Error(), "10485760")
	require.Contains(t, string(perr.Quote), "short")
}

// Texts that programs print, each the beginning of what reads as a packet in another way.
var greetings = map[string]string{
	"reads as a response":        "Welcome to the machine",
	"reads as a request":         "Error: no such file or directory\n",
	"shorter than a header":      "Hi",
	"one letter":                 "E",
	"several lines":              "Error\r\n\tat line 5\n",
	"umlauts":                    "Er\u00f6ffnung",
	"with colour":                "\x1b[31mfailed\x1b[0m",
	"python's reports":           "PacketConnection[x]: request out: 3",
	"ends inside of a character": "Tr\xc3",
}

func TestTextInsteadOfPackets(t *testing.T) {
	for name, text := range greetings {
		t.Run(name, func(t *testing.T) {
			t.Run("then the stream ends", func(t *testing.T) {
				p := raw(t, nil)
				res := do(soon(t), p.conn, pconn.Request{})
				p.expectRequest(0, "")
				p.write([]byte(text))
				p.out.Close()
				checkText(t, receiveFrom(t, res).err, text)
				checkText(t, p.conn.Wait(), text)
			})
			t.Run("then the connection is closed", func(t *testing.T) {
				p := raw(t, nil)
				res := do(soon(t), p.conn, pconn.Request{})
				p.expectRequest(0, "")
				p.write([]byte(text))
				eventually(t, "it was read", func() bool { return p.conn.Text() != nil || p.conn.Err() != nil })
				p.conn.Close()
				checkText(t, receiveFrom(t, res).err, text)
				checkText(t, p.conn.Wait(), text)
				if pconn := p.conn.Text(); pconn != nil {
					require.Equal(t, text, string(pconn))
				}
			})
			t.Run("byte by byte", func(t *testing.T) {
				p := raw(t, nil)
				res := do(soon(t), p.conn, pconn.Request{})
				p.expectRequest(0, "")
				for i := range len(text) {
					if p.tryWrite([]byte(text[i:i+1])) != nil {
						break
					}
				}
				p.out.Close()
				checkText(t, receiveFrom(t, res).err, text)
			})
		})
	}
}

// checkText checks that an error quotes the first bytes of a text.
func checkText(t *testing.T, err error, text string) {
	t.Helper()
	var perr *pconn.ProtocolError
	require.ErrorAs(t, err, &perr)
	require.Zero(t, perr.Offset)
	require.NotEmpty(t, perr.Quote)
	require.Equal(t, text[:min(len(text), len(perr.Quote))], string(perr.Quote))
	require.Contains(t, err.Error(), fmt.Sprintf("%.4q", perr.Quote)[:3])
}

func TestFirstPacketThatAnswersNothingIsJunkAtOnce(t *testing.T) {
	p := raw(t, nil)
	p.write([]byte("Welcome to the machine")) // a response to tag 101 of 87 bytes
	receiveFrom(t, p.conn.Done())
	var perr *pconn.ProtocolError
	require.ErrorAs(t, p.conn.Err(), &perr)
	require.Contains(t, perr.Error(), "answers nothing")
	require.Contains(t, perr.Error(), `"Welcome to the machine"`)
}

func TestTextThatReadsAsAnAnswerIsFoundAtTheEnd(t *testing.T) {
	p := raw(t, nil)
	var last <-chan outcome
	for range 110 {
		last = do(soon(t), p.conn, pconn.Request{})
		p.expectRequest(0, "")
	}
	p.write([]byte("Welcome to the machine")) // tag 101 was asked
	eventually(t, "it was read", func() bool { return string(p.conn.Text()) == "Welcome to the machine" })
	require.NoError(t, p.conn.Err())
	p.conn.Close()
	err := receiveFrom(t, last).err
	require.ErrorIs(t, err, pconn.ErrClosed)
	checkText(t, err, "Welcome to the machine")
}

func TestIncompleteTextIsLoggedAfterASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := &logBook{}
		o := &pconn.Options{Logger: logs.logger(), Name: "greeter"}
		p := raw(t, o)
		p.write([]byte("Error: "))
		time.Sleep(999 * time.Millisecond)
		synctest.Wait()
		require.Empty(t, logs.text())
		require.Equal(t, "Error: ", string(p.conn.Text()))
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		require.Contains(t, logs.text(), "text instead of packets")
		require.Contains(t, logs.text(), `Error: `)
		require.Contains(t, logs.text(), "greeter")
		require.NoError(t, p.conn.Err())

		// A caller that gives up sees it in the log too, and by Text.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := p.conn.Do(ctx, pconn.Request{})
		require.True(t, err == context.DeadlineExceeded)
		require.NotNil(t, p.conn.Text())
	})
}

func TestTextThatBecomesAPacketIsOne(t *testing.T) {
	// A packet of nothing but printable characters, that comes in pieces.
	synctest.Test(t, func(t *testing.T) {
		logs := &logBook{}
		o := serve(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) { return pconn.Bytes(req.Payload), nil })
		o.Logger = logs.logger()
		p := raw(t, o)
		text := "Error: no such file or directory in the whole of the wide world, alas, x"
		n := int(text[0]) + 1
		p.write([]byte(text[:20]))
		synctest.Wait()
		require.Equal(t, text[:20], string(p.conn.Text()))
		p.write([]byte(text[20:n]))
		got := p.read()
		require.EqualValues(t, 'r', got.Tag)
		require.Equal(t, text[4:n], string(got.Payload))
		require.Nil(t, p.conn.Text())
		time.Sleep(5 * time.Second)
		require.NotContains(t, logs.text(), "text instead")
	})
}

func TestLongIncompleteFirstPacketIsNoText(t *testing.T) {
	p := raw(t, serve(echo))
	payload := bytes.Repeat([]byte("readable "), 1000)
	b := encode(packet.Packet{Tag: '0', Request: true, Flags: '0' >> 2, Type: '1', Payload: payload})
	for _, piece := range [][]byte{b[:100], b[100:500], b[500:]} {
		p.write(piece)
	}
	require.Equal(t, payload, p.read().Payload)
	require.Nil(t, p.conn.Text())
}

func TestTextAfterPacketsIsAnError(t *testing.T) {
	p := raw(t, serve(echo))
	p.write(request(5, 0, ""))
	p.expectResponse(5, true, "")
	p.write([]byte("Traceback (most recent call last):\n"))
	p.out.Close()
	var perr *pconn.ProtocolError
	require.ErrorAs(t, p.conn.Wait(), &perr)
	require.Contains(t, perr.Error(), "Traceback (most recent call last)")
}

// TestNobodyElseIsHurt has one call each that is too large, rejected, cancelled and late among many
// that go well.
func TestNobodyElseIsHurt(t *testing.T) {
	o := serve(echo)
	o.MaxPayload = 1000
	p := raw(t, o)
	var good []<-chan outcome
	var tags []uint64
	answers := 0
	next := func() uint64 { // the tag of our next request, past the answers to theirs
		for {
			got := p.read()
			if got.Request {
				return got.Tag
			}
			require.Equal(t, got.Tag == 7, got.Flags == 1)
			answers++
		}
	}
	submit := func() {
		good = append(good, do(soon(t), p.conn, pconn.Request{}))
		tags = append(tags, next())
	}
	submit()
	large := do(soon(t), p.conn, pconn.Request{})
	p.write(response(next(), string(pattern(2000))))
	submit()
	p.write(response(999, "unsolicited"))
	p.write(encode(packet.Packet{Tag: 5, Channel: 9, Request: true, Type: 1, Payload: pattern(2000)}))
	p.write(request(6, 1, string(pattern(2000))))
	p.write(request(7, 1, "fine"))
	submit()
	rejected := do(soon(t), p.conn, pconn.Request{})
	p.write(encode(packet.Packet{Tag: next(), Payload: []byte("no")}))
	for answers < 3 {
		got := p.read()
		require.False(t, got.Request)
		require.Equal(t, got.Tag == 7, got.Flags == 1)
		answers++
	}
	for i, tag := range tags {
		p.write(response(tag, fmt.Sprint(i)))
	}
	for i, res := range good {
		got := receiveFrom(t, res)
		require.NoError(t, got.err)
		require.Equal(t, fmt.Sprint(i), string(got.resp.Payload))
	}
	assert.Error(t, receiveFrom(t, large).err)
	assert.Error(t, receiveFrom(t, rejected).err)
	require.Empty(t, p.conn.InFlight())
}
