package links

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var plainSettings = settings{frame: 1 << 20, window: DefaultWindow, operations: 100, metadata: 1 << 16, payload: 1 << 20}

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
