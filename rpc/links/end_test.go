package links

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// openPair joins two ends without credit of their own, as in the original.
func openPair(t *testing.T, servicer Servicer, opts *EndOptions) (invoker, service *End) {
	t.Helper()
	a, b := Pipe()
	service, invoker = NewEnd(servicer, opts), NewEnd(nil, nil)
	require.NoError(t, service.Start())
	require.NoError(t, invoker.Start())
	Join(service, b)
	Join(invoker, a)
	t.Cleanup(func() {
		<-invoker.Stop(0)
		<-service.Stop(0)
	})
	return invoker, service
}

func operate(t *testing.T, end *End, o Opening) *Operation {
	t.Helper()
	o.Group, o.Method = "g", "m"
	op, err := end.Operate(t.Context(), o)
	require.NoError(t, err)
	return op
}

func TestLifeOfAnEnd(t *testing.T) {
	end := NewEnd(nil, nil)
	_, err := end.Operate(t.Context(), Opening{})
	require.ErrorIs(t, err, ErrNotStarted)
	require.NoError(t, end.Start())
	require.ErrorIs(t, end.Start(), ErrStarted)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = end.Operate(canceled, Opening{})
	require.Equal(t, context.Canceled, err)
	idle := make(chan struct{})
	end.OnIdle(func() { close(idle) })
	<-idle
	op := operate(t, end, Opening{})
	again := make(chan struct{})
	end.OnIdle(func() { close(again) })
	require.Equal(t, 1, end.Stats().Running)
	op.Cancel()
	op.Cancel()
	<-again
	require.Equal(t, Stats{Outcomes: map[OutcomeKind]int{Cancelled: 1}}, end.Stats())
	<-end.Stop(time.Hour)
	<-end.Stop(0)
	_, err = end.Operate(t.Context(), Opening{})
	require.ErrorIs(t, err, ErrStopped)
}

func TestStopGivesGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		invoker, service := openPair(t, ServicerFunc(func(ctx context.Context, op *Operation) error {
			if op.Method() == "quick" {
				if _, err := op.Receive(ctx); err != nil {
					return err
				}
				time.Sleep(time.Second)
				return op.Complete(Closing{})
			}
			<-ctx.Done()
			return nil
		}), nil)
		slow := operate(t, invoker, Opening{Completion: &Closing{}})
		quick, err := invoker.Operate(t.Context(), Opening{Group: "g", Method: "quick", Completion: &Closing{}})
		require.NoError(t, err)
		synctest.Wait()
		begun := time.Now()
		stopped := service.Stop(10 * time.Second)
		refused := operate(t, invoker, Opening{})
		<-refused.Done()
		outcome, _ := refused.Outcome()
		require.Equal(t, RemoteShutdown, outcome.Kind)
		_, err = quick.Receive(t.Context())
		require.NoError(t, err)
		<-stopped
		require.Equal(t, 10*time.Second, time.Since(begun))
		outcome, _ = slow.Outcome()
		require.Equal(t, RemoteShutdown, outcome.Kind)
		require.Equal(t, 1, service.Stats().Outcomes[LocalShutdown])
	})
}

func TestTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := make(chan *Operation, 10)
		invoker, _ := openPair(t, ServicerFunc(func(ctx context.Context, op *Operation) error {
			served <- op
			<-ctx.Done()
			assert.Equal(t, context.DeadlineExceeded, ctx.Err())
			return nil
		}), &EndOptions{MaxTimeout: 20 * time.Second})
		begun := time.Now()
		op := operate(t, invoker, Opening{Timeout: 5 * time.Second})
		far := <-served
		require.NoError(t, op.SetTimeout(5*time.Second))  // equal: nothing
		require.NoError(t, op.SetTimeout(10*time.Second)) // longer
		synctest.Wait()
		deadline, ok := far.Deadline()
		require.True(t, ok)
		require.Equal(t, begun.Add(10*time.Second), deadline)
		require.NoError(t, op.SetTimeout(time.Minute)) // too long: the service uses less, and says so
		synctest.Wait()
		for _, side := range []*Operation{op, far} {
			deadline, _ := side.Deadline()
			require.Equal(t, begun.Add(20*time.Second), deadline)
		}
		require.NoError(t, far.SetTimeout(time.Minute)) // its own maximum
		<-op.Done()
		<-far.Done()
		require.Equal(t, 20*time.Second, time.Since(begun))
		for _, side := range []*Operation{op, far} {
			outcome, _ := side.Outcome()
			require.Equal(t, Expired, outcome.Kind)
			require.Error(t, side.SetTimeout(time.Second))
		}
	})
}

func TestContextOfTheInvokerEndsTheOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := make(chan error, 2)
		invoker, _ := openPair(t, ServicerFunc(func(ctx context.Context, _ *Operation) error {
			inner, cancel := context.WithCancel(ctx)
			defer cancel()
			<-inner.Done()
			ends <- ctx.Err()
			return nil
		}), nil)
		ctx, cancel := context.WithCancel(t.Context())
		op, err := invoker.Operate(ctx, Opening{})
		require.NoError(t, err)
		cancel()
		<-op.Done()
		require.Equal(t, context.Canceled, <-ends)
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		op, err = invoker.Operate(ctx, Opening{})
		require.NoError(t, err)
		deadline, ok := op.Deadline()
		require.True(t, ok)
		require.Equal(t, time.Now().Add(time.Second), deadline)
		<-op.Done()
		outcome, _ := op.Outcome()
		require.Equal(t, Expired, outcome.Kind)
		require.Equal(t, context.DeadlineExceeded, <-ends)
	})
}

// eager hands a ticket on as soon as it has a mate, and keeps what it is answered.
type eager struct{ Recorder }

func (e *eager) Join(link Link) {
	link.Accept(&Ticket{ID: 1, Group: "g", Method: "m", Termination: Completion})
}

func TestAnswerToWhatComesWhileJoiningIsNotLost(t *testing.T) {
	end := NewEnd(nil, nil)
	link := &eager{}
	Join(end, link)
	require.Equal(t, Shutdown, await(t, &link.Recorder, terminated)[0].Termination)
	// A connection is joined last in either order, because it starts then.
	for range 2 {
		a, b := osPipes(t)
		service, invoker := NewEnd(ServicerFunc(echo), &EndOptions{AutoGrant: 2}), NewEnd(nil, nil)
		require.NoError(t, service.Start())
		require.NoError(t, invoker.Start())
		near, far := openConn(t, StreamCarrier(a), nil), openConn(t, StreamCarrier(b), &ConnOptions{Side: 1})
		Join(near, invoker)
		op := operate(t, invoker, Opening{Completion: &Closing{}})
		Join(far, service)
		_, err := op.Recv(t.Context())
		require.Equal(t, io.EOF, err)
		<-invoker.Stop(0)
		<-service.Stop(0)
	}
}

func TestSplit(t *testing.T) {
	a, b := Pipe()
	calls, serves := Split(a)
	far, near := &Recorder{}, NewEnd(ServicerFunc(echo), &EndOptions{AutoGrant: 4, MaxPayload: 77})
	require.NoError(t, near.Start())
	Join(far, b)
	invoker := &Recorder{}
	Join(invoker, calls)
	Join(near, serves)
	invoker.Send(&Ticket{ID: 2, Group: "g", Method: "out"})
	require.Equal(t, "out", await(t, far, func(tickets []*Ticket) bool { return len(tickets) > 0 })[0].Method)
	far.Send(&Ticket{ID: 3, Seq: 0, Termination: Completion})
	require.Equal(t, Completion, await(t, invoker, terminated)[0].Termination)
	far.Send(&Ticket{ID: 4, Group: "g", Method: "in", Payload: text("x"), Termination: Completion})
	await(t, far, terminated)
	require.Equal(t, 77, calls.(*splitFace).splitter.MaxPayload())
	require.Equal(t, a, calls.(*splitFace).Unwrap())
	Null.Accept(&Ticket{Payload: text("gone")})
	Null.Join(nil)
	<-near.Stop(0)
}

func TestNames(t *testing.T) {
	require.Equal(t, "termination(77)", Termination(77).String())
	require.Equal(t, "FULL", SubscriptionFull.String())
	require.Equal(t, "CANCELLED (code 3): why", Outcome{Kind: Cancelled, Code: pointer(uint32(3)), Message: pointer("why")}.String())
	require.Equal(t, []string{"1", "2"}, Metadata{{"k", "1"}, {"x", ""}, {"k", "2"}}.Values("k"))
	require.ErrorContains(t, &NoSuchMethodError{12, "nope"}, "nope")
	require.ErrorContains(t, &PayloadTooLargeError{9}, "9")
	require.ErrorContains(t, &ProtocolError{Detail: "bad"}, "bad")
}
