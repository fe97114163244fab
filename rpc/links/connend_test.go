package links

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

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
