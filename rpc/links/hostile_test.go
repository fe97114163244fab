package links

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestGarbageIsShown(t *testing.T) {
	for name, garbage := range map[string]string{
		"short":     "Hello\n",
		"long":      "panic: something went wrong in the plugin\ngoroutine 1",
		"one byte":  "x\n",
		"huge size": "\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
	} {
		t.Run(name, func(t *testing.T) {
			p := newRawPeer(t, nil, nil)
			p.join()
			op, err := p.end.Operate(t.Context(), Opening{Group: "g", Method: "m"})
			require.NoError(t, err)
			_, err = p.stream.Write([]byte(garbage))
			require.NoError(t, err)
			err = p.ended()
			require.ErrorIs(t, err, ErrProtocol)
			var protocol *ProtocolError
			require.ErrorAs(t, err, &protocol)
			require.True(t, strings.HasPrefix(garbage, string(protocol.Seen)) && len(protocol.Seen) > 0, "%q", protocol.Seen)
			_, err = op.Recv(t.Context())
			var ended *OutcomeError
			require.ErrorAs(t, err, &ended)
			require.Equal(t, TransmissionFailed, ended.Outcome.Kind)
			require.Contains(t, err.Error(), "got")
		})
	}
}

func TestGarbageThatEndsAtOnceIsShown(t *testing.T) {
	p := newRawPeer(t, nil, nil)
	p.join()
	_, err := p.stream.Write([]byte("no"))
	require.NoError(t, err)
	require.NoError(t, p.stream.Close())
	require.ErrorContains(t, p.ended(), `"no"`)
}

func TestFramesThatEndTheConnection(t *testing.T) {
	ticket := func(mask uint64, rest ...byte) []byte {
		b := []byte{frameTicket, 1, 0}
		return append(binary.AppendUvarint(b, mask), rest...)
	}
	cases := map[string][]byte{
		"empty":                    {},
		"unknown kind":             {99},
		"second HELLO":             appendHello(nil, 1, plainSettings),
		"unknown field":            ticket(maskEnd),
		"mask out of sight":        ticket(1 << 60),
		"truncated":                begin(1, Ticket{Timeout: time.Second}, nil)[:6],
		"left over":                append(begin(1, Ticket{}, nil), 0),
		"overlong number":          {frameGrant, 0x81, 0x00, 0, 0},
		"number above 64 bits":     append([]byte{frameGrant}, bytes.Repeat([]byte{0xff}, 11)...),
		"zero subscription":        ticket(hasSubscription, 0),
		"subscription":             ticket(hasSubscription, 4),
		"zero timeout":             ticket(hasTimeout, 0),
		"zero allowance":           ticket(hasAllowance, 0),
		"zero window":              ticket(hasWindow, 0),
		"allowance":                append(ticket(hasAllowance), binary.AppendUvarint(nil, 1<<32)...),
		"window":                   append(ticket(hasWindow), binary.AppendUvarint(nil, maxWindow+1)...),
		"payload above 2 GiB":      append(ticket(hasPayload), append(binary.AppendUvarint(nil, 1<<31), 0)...),
		"piece above payload":      ticket(hasPayload, 1, 2, 0, 0),
		"piece above frame":        ticket(hasPayload, 100, 50, 0),
		"termination":              ticket(hasTermination, 9),
		"zero termination":         ticket(hasTermination, 0),
		"code":                     append(ticket(hasCode), binary.AppendUvarint(nil, 1<<32)...),
		"protocol":                 ticket(hasProtocol, 4, 1, 0),
		"metadata count":           ticket(hasInitial, 3, 0xff, 0xff, 0x7f),
		"metadata size":            append(ticket(hasInitial), binary.AppendUvarint(nil, 1<<30)...),
		"metadata left over":       ticket(hasInitial, 2, 0, 0),
		"metadata string":          ticket(hasInitial, 4, 1, 9, 'k', 0),
		"name":                     append(ticket(hasMethod), binary.AppendUvarint(nil, 1<<40)...),
		"never begun":              appendGrant(nil, 100, 1, 0),
		"MORE without bytes":       appendMore(nil, 1, 0, 5, nil),
		"short PING":               {framePing, 1, 2},
		"GOAWAY reason":            {frameGoAway, 0, 200},
		"frame above its limit":    bytes.Repeat([]byte{frameTicket}, DefaultMaxMetadata+pieceSize+frameOverhead+1),
		"HELLO without magic":      append([]byte{frameHello}, "LNKX"...),
		"operation begun too late": nil,
	}
	for name, frame := range cases {
		t.Run(name, func(t *testing.T) {
			p := newRawPeer(t, nil, nil)
			p.greet(plainSettings)
			if frame == nil {
				p.send(begin(5, Ticket{}, nil))
				frame = begin(3, Ticket{}, nil)
			}
			_, _ = p.stream.Write(append(binary.AppendUvarint(nil, uint64(len(frame))), frame...)) // it may be cut off in it
			err := p.ended()
			require.ErrorIs(t, err, ErrProtocol)
			require.NotErrorIs(t, err, ErrPeerGone)
		})
	}
}

func TestHellosThatEndTheConnection(t *testing.T) {
	narrow := plainSettings
	narrow.frame = 10
	closed := plainSettings
	closed.window = 1
	for name, hello := range map[string][]byte{
		"same side":     appendHello(nil, 0, plainSettings),
		"side 2":        appendHello(nil, 2, plainSettings),
		"narrow frames": appendHello(nil, 1, narrow),
		"closed window": appendHello(nil, 1, closed),
		"another frame": begin(1, Ticket{}, nil),
	} {
		t.Run(name, func(t *testing.T) {
			p := newRawPeer(t, nil, nil)
			p.join()
			p.send(hello)
			require.ErrorIs(t, p.ended(), ErrProtocol)
		})
	}
}

func TestUnknownSettingsAreSkipped(t *testing.T) {
	p := newRawPeer(t, nil, nil)
	p.join()
	p.send(append(appendHello(nil, 1, plainSettings), 77, 1))
	p.next()
	p.alive()
}

func TestGhostsCreateNothing(t *testing.T) {
	p := newRawPeer(t, nil, nil)
	began := make(chan string, 10)
	p.serve = func(_ context.Context, op *Operation) error {
		began <- op.Method()
		return nil
	}
	p.greet(plainSettings)
	p.send(appendTicket(nil, 9, 1, false, 0, &Ticket{Payload: text("late")}, []byte("late")), appendGrant(nil, 9, 5, 5), appendMore(nil, 9, 1, 0, []byte("x")),
		appendTicket(nil, 9, 2, false, 0, &Ticket{Termination: Completion}, nil))
	p.alive()
	require.Zero(t, p.end.Stats().Running)
	// An operation that was begun and broken off: what follows of it is dropped.
	p.send(begin(11, Ticket{}, nil))
	require.Equal(t, "m", <-began)
	p.send(appendTicket(nil, 11, 1, false, 0, &Ticket{Termination: Cancellation}, nil), appendTicket(nil, 11, 2, false, 0, &Ticket{Payload: text("x")}, []byte("x")))
	p.alive()
	require.Eventually(t, func() bool { return p.end.Stats().Running == 0 }, 5*time.Second, time.Millisecond)
	require.Empty(t, began)
	require.Empty(t, p.conn.byHop)
}

func TestCreditOverrunsEndTheOperationOnly(t *testing.T) {
	piece := bytes.Repeat([]byte("x"), pieceSize)
	more := func(seq uint64) []byte {
		return appendTicket(nil, 1, seq, false, 0, &Ticket{Payload: NewPayload(piece, nil)}, piece)
	}
	cases := map[string]func(p *rawPeer){
		"payloads": func(p *rawPeer) { p.send(more(1), more(2)) },
		"bytes": func(p *rawPeer) {
			// One payload is allowed, and is larger than the window; nothing of it was credited, since an earlier one was not taken.
			p.send(appendTicket(nil, 1, 1, false, 0, &Ticket{Payload: &Payload{size: 1 << 20}}, piece))
			for offset := pieceSize; offset < 1<<20; offset += pieceSize {
				p.send(appendMore(nil, 1, 1, uint64(offset), piece))
			}
		},
		"ticket twice":     func(p *rawPeer) { p.send(appendTicket(nil, 1, 0, false, 0, &Ticket{}, nil)) },
		"piece of nothing": func(p *rawPeer) { p.send(appendMore(nil, 1, 1, 0, piece)) },
		"piece elsewhere": func(p *rawPeer) {
			p.send(appendTicket(nil, 1, 1, false, 0, &Ticket{Payload: &Payload{size: 100}}, piece[:10]), appendMore(nil, 1, 1, 50, piece[:10]))
		},
		"piece too long": func(p *rawPeer) {
			p.send(appendTicket(nil, 1, 1, false, 0, &Ticket{Payload: &Payload{size: 15}}, piece[:10]), appendMore(nil, 1, 1, 10, piece[:10]))
		},
		"tickets ahead": func(p *rawPeer) {
			for seq := range uint64(maxHeldTickets + 2) {
				p.send(appendTicket(nil, 1, seq+5, false, 0, &Ticket{Timeout: time.Second}, nil))
			}
		},
	}
	for name, overrun := range cases {
		t.Run(name, func(t *testing.T) {
			p := newRawPeer(t, &ConnOptions{Window: 4 * pieceSize}, nil)
			outcomes := make(chan Outcome, 1)
			p.serve = func(_ context.Context, op *Operation) error {
				op.OnEnd(func(o Outcome) error { outcomes <- o; return nil })
				if name != "payloads" {
					return op.Grant(1)
				}
				return nil
			}
			p.greet(plainSettings)
			p.send(begin(1, Ticket{Payload: NewPayload(piece, nil)}, piece))
			if name != "payloads" {
				p.nextOf(frameGrant)
			}
			sent := make(chan struct{})
			go func() {
				overrun(p)
				close(sent)
			}()
			f := p.nextOf(frameTicket)
			require.Equal(t, ReceptionFailure, f.in.ticket.Termination)
			require.NotEmpty(t, *f.in.ticket.Message)
			require.Equal(t, ReceptionFailed, (<-outcomes).Kind)
			<-sent
			p.alive()
		})
	}
}

func TestStatedSizesTakeNoMemory(t *testing.T) {
	p := newRawPeer(t, &ConnOptions{MaxPayload: math.MaxInt32}, nil)
	p.greet(plainSettings)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for id := range uint64(50) {
		p.send(begin(2*id+1, Ticket{Payload: &Payload{size: math.MaxInt32}}, []byte("x")))
	}
	p.alive()
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
}

func TestPeerThatAsksAndDoesNotReadIsCutOff(t *testing.T) {
	p := newRawPeer(t, nil, nil)
	p.greet(plainSettings)
	pings := bytes.Repeat(append([]byte{9}, appendPing(nil, framePing, [8]byte{})...), 10000)
	for range 100 {
		if _, err := p.stream.Write(pings); err != nil {
			break
		}
	}
	require.ErrorIs(t, p.ended(), ErrProtocol)
}

func TestOperationsThatAreNeverWholeAreBounded(t *testing.T) {
	p := newRawPeer(t, &ConnOptions{MaxOperations: 10}, nil)
	p.greet(plainSettings)
	for id := range uint64(12) {
		p.send(begin(2*id+1, Ticket{Payload: &Payload{size: 1000}}, []byte("x")))
	}
	require.ErrorIs(t, p.ended(), ErrProtocol)
}

func TestFramesBeforeHelloAreBounded(t *testing.T) {
	conn := openConn(t, &silent{closed: make(chan struct{})}, &ConnOptions{Unordered: true})
	frame := begin(1, Ticket{Initial: Metadata{{"k", strings.Repeat("v", 60<<10)}}}, nil)
	for n := 0; ; n += len(frame) {
		if err := conn.take(frame); err != nil {
			require.ErrorIs(t, err, ErrProtocol)
			require.Greater(t, n, maxEarlyBytes/2)
			return
		}
		require.LessOrEqual(t, n, maxEarlyBytes)
	}
}
