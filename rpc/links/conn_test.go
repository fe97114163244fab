package links

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rawPeer speaks frames by hand to a connection of side 0.
type rawPeer struct {
	t       *testing.T
	stream  io.ReadWriteCloser
	carrier *stream
	decode  decoder
	conn    *Conn
	end     *End
	serve   ServicerFunc
}

func newRawPeer(t *testing.T, opts *ConnOptions, endOpts *EndOptions) *rawPeer {
	t.Helper()
	ours, theirs := osPipes(t)
	p := &rawPeer{t: t, stream: theirs, carrier: StreamCarrier(theirs).(*stream), decode: decoder{maxMetadata: hardMaxMetadata}}
	p.conn = openConn(t, StreamCarrier(ours), opts)
	p.end = NewEnd(ServicerFunc(func(ctx context.Context, op *Operation) error {
		if p.serve == nil {
			return nil
		}
		return p.serve(ctx, op)
	}), endOpts)
	require.NoError(t, p.end.Start())
	t.Cleanup(func() {
		theirs.Close()
		<-p.end.Stop(0)
	})
	return p
}

func (p *rawPeer) join() { Join(p.end, p.conn) }

var plainSettings = settings{frame: 1 << 20, window: DefaultWindow, operations: 100, metadata: 1 << 16, payload: 1 << 20}

// greet exchanges HELLO.
func (p *rawPeer) greet(s settings) {
	p.t.Helper()
	p.join()
	p.send(appendHello(nil, 1, s))
	f := p.next()
	require.Equal(p.t, frameHello, f.kind)
	require.Equal(p.t, 0, f.side)
}

func (p *rawPeer) send(frames ...[]byte) {
	p.t.Helper()
	for _, frame := range frames {
		_, err := p.stream.Write(append(binary.AppendUvarint(nil, uint64(len(frame))), frame...))
		require.NoError(p.t, err)
	}
}

func (p *rawPeer) next() frame {
	p.t.Helper()
	b, err := p.carrier.ReadFrame()
	require.NoError(p.t, err)
	var f frame
	require.NoError(p.t, p.decode.decode(append([]byte(nil), b...), &f))
	return f
}

// nextOf waits for a frame of a kind.
func (p *rawPeer) nextOf(kind byte) frame {
	p.t.Helper()
	for {
		if f := p.next(); f.kind == kind {
			return f
		}
	}
}

func begin(id uint64, t Ticket, piece []byte) []byte {
	t.Group, t.Method, t.Subscription = "g", "m", SubscriptionFull
	return appendTicket(nil, id, 0, true, 0, &t, piece)
}

// ended waits for the end of the connection and returns its error.
func (p *rawPeer) ended() error {
	p.t.Helper()
	select {
	case <-p.conn.Done():
		return p.conn.Err()
	case <-time.After(10 * time.Second):
		p.t.Fatal("the connection did not end")
		return nil
	}
}

// alive proves that the connection goes on.
func (p *rawPeer) alive() {
	p.t.Helper()
	p.send(appendPing(nil, framePing, [8]byte{7}))
	require.Equal(p.t, [8]byte{7}, p.nextOf(framePong).token)
}

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

func TestTooLargePayloadFailsItsOperation(t *testing.T) {
	p := newRawPeer(t, nil, &EndOptions{MaxPayload: 100, AutoGrant: 4})
	errs := make(chan error, 1)
	p.serve = func(ctx context.Context, op *Operation) error {
		data, err := op.Recv(ctx)
		if err != nil || string(data) != "small" {
			errs <- errors.Join(err, errors.New("not the small one"))
			return nil
		}
		_, err = op.Recv(ctx)
		errs <- err
		return nil
	}
	p.greet(plainSettings)
	piece := make([]byte, 101)
	p.send(begin(1, Ticket{Payload: text("small")}, []byte("small")),
		appendTicket(nil, 1, 1, false, 0, &Ticket{Payload: &Payload{size: 202}}, piece))
	var large *PayloadTooLargeError
	require.ErrorAs(t, <-errs, &large)
	require.Equal(t, 202, large.Size)
	p.send(appendMore(nil, 1, 1, 101, piece)) // the rest is dropped
	require.Equal(t, LocalFailure, p.nextOf(frameTicket).in.ticket.Termination)
	p.alive()
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

func TestOperationsWaitForTheirPlace(t *testing.T) {
	few := plainSettings
	few.operations = 1
	p := newRawPeer(t, nil, &EndOptions{AutoGrant: 4})
	p.greet(few)
	var ops []*Operation
	for range 3 {
		op, err := p.end.Operate(t.Context(), Opening{Group: "g", Method: "m", Completion: &Closing{}})
		require.NoError(t, err)
		ops = append(ops, op)
	}
	for i, op := range ops {
		f := p.nextOf(frameTicket)
		require.EqualValues(t, 2*i, f.id)
		p.alive() // nothing else came
		p.send(appendTicket(nil, f.id, 0, false, 0, &Ticket{Termination: Completion}, nil))
		_, err := op.Recv(t.Context())
		require.Equal(t, io.EOF, err)
	}
}

func TestMoreOperationsThanAllowedAreRefused(t *testing.T) {
	p := newRawPeer(t, &ConnOptions{MaxOperations: 2}, nil)
	p.greet(plainSettings)
	p.send(begin(1, Ticket{}, nil), begin(3, Ticket{}, nil), begin(5, Ticket{}, nil))
	f := p.nextOf(frameTicket)
	require.EqualValues(t, 5, f.id)
	require.Equal(t, Shutdown, f.in.ticket.Termination)
}

func TestOperationsThatAreNeverWholeAreBounded(t *testing.T) {
	p := newRawPeer(t, &ConnOptions{MaxOperations: 10}, nil)
	p.greet(plainSettings)
	for id := range uint64(12) {
		p.send(begin(2*id+1, Ticket{Payload: &Payload{size: 1000}}, []byte("x")))
	}
	require.ErrorIs(t, p.ended(), ErrProtocol)
}

func TestGoAway(t *testing.T) {
	a, b := osPipes(t)
	near, far := openConn(t, StreamCarrier(a), nil), openConn(t, StreamCarrier(b), &ConnOptions{Side: 1})
	invoker, _ := startEnds(t, near, far, ServicerFunc(echo))
	op, err := invoker.Operate(t.Context(), Opening{Group: "g", Method: "m"})
	require.NoError(t, err)
	require.NoError(t, op.Send(t.Context(), []byte("before")))
	_, err = op.Recv(t.Context())
	require.NoError(t, err)
	far.GoAway("closing down")
	far.GoAway("again")
	require.NoError(t, near.Ping(t.Context()))
	late, err := invoker.Operate(t.Context(), Opening{Group: "g", Method: "m"})
	require.NoError(t, err)
	_, err = late.Recv(t.Context())
	var ended *OutcomeError
	require.ErrorAs(t, err, &ended)
	require.Equal(t, RemoteShutdown, ended.Outcome.Kind)
	require.ErrorContains(t, err, "closing down")
	require.NoError(t, op.Send(t.Context(), []byte("after")))
	data, err := op.Recv(t.Context())
	require.NoError(t, err)
	require.Equal(t, "after", string(data))
}

func TestGoAwayRefusesWhatWasOnItsWay(t *testing.T) {
	p := newRawPeer(t, nil, nil)
	p.greet(plainSettings)
	p.send(begin(1, Ticket{}, nil))
	p.alive()
	p.conn.GoAway("enough")
	f := p.nextOf(frameGoAway)
	require.EqualValues(t, 1, f.id)
	p.send(begin(3, Ticket{}, nil))
	require.Equal(t, Shutdown, p.nextOf(frameTicket).in.ticket.Termination)
	require.Equal(t, 1, p.end.Stats().Running)

	op, err := p.end.Operate(t.Context(), Opening{Group: "g", Method: "m"})
	require.NoError(t, err)
	id := p.nextOf(frameTicket).id
	p.send(appendGoAway(nil, id-min(id, 2), "us too"))
	if id >= 2 {
		<-op.Done()
	}
	p.alive()
}

func TestMetadataAboveThePeersLimit(t *testing.T) {
	small := plainSettings
	small.metadata = 100
	large := Metadata{{"k", strings.Repeat("v", 200)}}
	p := newRawPeer(t, nil, &EndOptions{AutoGrant: 2})
	early, err := p.end.Operate(t.Context(), Opening{Group: "g", Method: "m", Initial: large}) // before it is known
	require.NoError(t, err)
	p.join()
	early2, err := p.end.Operate(t.Context(), Opening{Group: "g", Method: "m", Initial: large})
	require.NoError(t, err)
	p.send(appendHello(nil, 1, small))
	p.next()
	late, err := p.end.Operate(t.Context(), Opening{Group: "g", Method: "m", Initial: large})
	require.NoError(t, err)
	for _, op := range []*Operation{early2, late} {
		_, err = op.Recv(t.Context())
		require.ErrorContains(t, err, "metadata larger")
	}
	early.Cancel() // an end without a link has nobody who answers
	p.alive()
}

func TestCloseEndsEverything(t *testing.T) {
	a, b := net.Pipe() // whose reads and writes meet
	near, far := openConn(t, StreamCarrier(a), nil), openConn(t, StreamCarrier(b), &ConnOptions{Side: 1})
	ctxErr := make(chan error, 1)
	invoker, _ := startEnds(t, near, far, ServicerFunc(func(ctx context.Context, _ *Operation) error {
		<-ctx.Done()
		ctxErr <- ctx.Err()
		return nil
	}))
	op, err := invoker.Operate(t.Context(), Opening{Group: "g", Method: "m"})
	require.NoError(t, err)
	require.NoError(t, near.Ping(t.Context())) // does not overtake HELLO
	require.NoError(t, near.Close())
	require.NoError(t, near.Close())
	require.ErrorIs(t, near.Err(), ErrClosed)
	outcome, ended := op.Outcome()
	require.True(t, ended)
	require.Equal(t, TransmissionFailed, outcome.Kind)
	require.Equal(t, context.Canceled, <-ctxErr)
	<-far.Done()
	require.ErrorIs(t, far.Err(), ErrPeerGone)
	require.ErrorIs(t, far.Ping(t.Context()), ErrPeerGone)
	late, err := invoker.Operate(t.Context(), Opening{Group: "g", Method: "m"})
	require.NoError(t, err)
	<-late.Done()
	far.GoAway("nobody hears it")
}

func TestCloseBeforeJoin(t *testing.T) {
	a, b := osPipes(t)
	defer b.Close()
	conn := openConn(t, StreamCarrier(a), nil)
	require.NoError(t, conn.Close())
	<-conn.Done()
	Join(NewEnd(nil, nil), conn)
}

func TestCloseIsBoundedByAPeerThatDoesNotRead(t *testing.T) {
	a, b := osPipes(t)
	defer b.Close()
	conn := openConn(t, StreamCarrier(a), &ConnOptions{FlushTime: 20 * time.Millisecond})
	invoker := NewEnd(nil, &EndOptions{AutoGrant: 1000, SendBuffer: 1 << 30})
	require.NoError(t, invoker.Start())
	Join(invoker, conn)
	_, err := b.Write(append([]byte{byte(len(appendHello(nil, 1, plainSettings)))}, appendHello(nil, 1, plainSettings)...))
	require.NoError(t, err)
	<-conn.Ready()
	var ops []*Operation
	for range 10 {
		op, err := invoker.Operate(t.Context(), Opening{Group: "g", Method: "m", Payload: NewPayload(make([]byte, 1<<20), nil)})
		require.NoError(t, err)
		ops = append(ops, op)
	}
	require.NoError(t, conn.Close())
	for _, op := range ops {
		<-op.Done()
	}
	<-conn.Done()
	<-invoker.Stop(0)
}

func TestReasonOfTheEnd(t *testing.T) {
	a, b := osPipes(t)
	conn := openConn(t, StreamCarrier(a), &ConnOptions{Reason: func(err error) error { return errors.Join(err, errors.New("exit status 3")) }})
	invoker := NewEnd(nil, nil)
	require.NoError(t, invoker.Start())
	Join(invoker, conn)
	op, err := invoker.Operate(t.Context(), Opening{Group: "g", Method: "m"})
	require.NoError(t, err)
	require.NoError(t, b.Close())
	_, err = op.Recv(t.Context())
	require.ErrorContains(t, err, "exit status 3")
	<-conn.Done()
	require.ErrorIs(t, conn.Err(), ErrPeerGone)
	<-invoker.Stop(0)
}

func TestOptionsOutOfRange(t *testing.T) {
	for _, opts := range []ConnOptions{{Side: 2}, {Side: -1}, {Window: 1}, {MaxMetadata: hardMaxMetadata + 1}, {MaxPayload: -1}, {MaxOperations: -1}} {
		_, err := NewConn(StreamCarrier(nil), &opts)
		require.Error(t, err)
	}
}

func TestOneReaderNobodyReadsDoesNotHoldUpOthers(t *testing.T) {
	a, b := osPipes(t)
	near, far := openConn(t, StreamCarrier(a), nil), openConn(t, StreamCarrier(b), &ConnOptions{Side: 1})
	invoker, _ := startEnds(t, near, far, ServicerFunc(func(ctx context.Context, op *Operation) error {
		if op.Method() == "mute" {
			<-ctx.Done()
			return nil
		}
		return echo(ctx, op)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stuck := make(chan error, 1)
	mute, err := invoker.Operate(ctx, Opening{Group: "g", Method: "mute"})
	require.NoError(t, err)
	go func() {
		for {
			if err := mute.Send(ctx, make([]byte, payloadSize)); err != nil {
				stuck <- err
				return
			}
		}
	}()
	op, err := invoker.Operate(t.Context(), Opening{Group: "g", Method: "m"})
	require.NoError(t, err)
	for range 100 {
		require.NoError(t, op.Send(t.Context(), make([]byte, 1000)))
		_, err := op.Recv(t.Context())
		require.NoError(t, err)
	}
	require.Empty(t, stuck)
	mute.Cancel() // frees the sender at once
	var ended *OutcomeError
	require.ErrorAs(t, <-stuck, &ended)
	assert.Equal(t, Cancelled, ended.Outcome.Kind)
}

func TestBothSidesFloodEachOther(t *testing.T) {
	onEveryLink(t, func(t *testing.T, a, b Link) {
		// Each side of one operation sends without reading for a while: grants must pass what waits.
		const n = 40
		both := func(ctx context.Context, op *Operation) error {
			sent := make(chan error, 1)
			go func() {
				for i := range n {
					if err := op.Send(ctx, bytes.Repeat([]byte{byte(i)}, 100_000)); err != nil {
						sent <- err
						return
					}
				}
				sent <- nil
			}()
			for i := range n {
				data, err := op.Recv(ctx)
				if err != nil {
					return err
				}
				if len(data) != 100_000 || data[0] != byte(i) {
					return errors.New("out of order")
				}
			}
			return <-sent
		}
		invoker, _ := startEnds(t, a, b, ServicerFunc(func(ctx context.Context, op *Operation) error {
			if err := both(ctx, op); err != nil {
				return err
			}
			return op.Complete(Closing{})
		}))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		op, err := invoker.Operate(ctx, Opening{Group: "g", Method: "m"})
		require.NoError(t, err)
		require.NoError(t, both(ctx, op))
		_, err = op.Recv(ctx)
		require.Equal(t, io.EOF, err)
	})
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

// Before the connection is joined nobody reads and nothing is written, also while a call waits for its answer.
func TestNothingHappensBeforeJoin(t *testing.T) {
	p := newRawPeer(t, nil, nil)
	p.send(appendHello(nil, 1, plainSettings))
	p.conn.park()
	defer p.conn.unpark()
	require.Zero(t, p.conn.reading.count.Load())
	p.conn.Accept(&Ticket{ID: 2, Group: "g", Method: "m", Termination: Completion})
	p.join()
	require.Equal(t, frameHello, p.next().kind)
	require.Equal(t, frameTicket, p.next().kind)
}
