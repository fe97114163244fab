package links

import (
	"context"
	"errors"
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

func TestBreachesEndTheOperation(t *testing.T) {
	breaches := map[string]func(op *Operation) error{
		"initial twice": func(op *Operation) error {
			return errors.Join(op.SendInitial(nil), op.SendInitial(nil))
		},
		"initial after completion": func(op *Operation) error {
			return errors.Join(op.Complete(Closing{}), op.SendInitial(nil))
		},
		"payload after completion": func(op *Operation) error {
			return errors.Join(op.Complete(Closing{}), op.Send(context.Background(), nil))
		},
		"no timeout":   func(op *Operation) error { return op.SetTimeout(0) },
		"no allowance": func(op *Operation) error { return op.Grant(0) },
	}
	for name, breach := range breaches {
		t.Run(name, func(t *testing.T) {
			far := make(chan Outcome, 1)
			invoker, _ := openPair(t, ServicerFunc(func(_ context.Context, op *Operation) error {
				op.OnEnd(func(o Outcome) error { far <- o; return nil })
				return nil
			}), nil)
			op := operate(t, invoker, Opening{})
			require.ErrorIs(t, breach(op), ErrMisuse)
			outcome, ended := op.Outcome()
			require.True(t, ended)
			require.Equal(t, LocallyFailed, outcome.Kind)
			require.Equal(t, RemotelyFailed, (<-far).Kind)
			var after *OutcomeError
			require.ErrorAs(t, op.Grant(1), &after)
			require.ErrorAs(t, op.Complete(Closing{}), &after)
		})
	}
}

func TestEndActions(t *testing.T) {
	end := NewEnd(nil, nil)
	require.NoError(t, end.Start())
	op := operate(t, end, Opening{})
	runs := 0
	op.OnEnd(func(Outcome) error { runs++; return nil })
	op.OnEnd(func(Outcome) error { runs++; return errors.New("fails") })
	stop := context.AfterFunc(op.Context(), func() { runs += 100 })
	require.True(t, stop())
	require.False(t, stop())
	require.NoError(t, op.Context().Err())
	require.Nil(t, op.Context().Value("any"))
	op.Cancel()
	require.Equal(t, 2, runs)
	op.OnEnd(func(Outcome) error { runs++; return errors.New("too late to count") })
	require.Equal(t, 3, runs)
	require.Equal(t, map[OutcomeKind]int{LocallyFailed: 1}, end.Stats().Outcomes)
}

func TestSendWaitsForRoomAndItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		invoker, _ := openPair(t, ServicerFunc(func(ctx context.Context, _ *Operation) error {
			<-ctx.Done()
			return nil
		}), &EndOptions{})
		op := operate(t, invoker, Opening{})
		require.NoError(t, op.Send(t.Context(), make([]byte, DefaultSendBuffer)))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Equal(t, context.DeadlineExceeded, op.Send(ctx, []byte("more")))
		waiting := make(chan error, 2)
		for range 2 {
			go func() { waiting <- op.Send(t.Context(), []byte("more")) }()
		}
		synctest.Wait()
		op.Cancel()
		for range 2 {
			var ended *OutcomeError
			require.ErrorAs(t, <-waiting, &ended)
		}
		_, err := op.Recv(t.Context())
		require.Error(t, err)
	})
}

func TestSeveralReceivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		invoker, _ := openPair(t, ServicerFunc(func(_ context.Context, op *Operation) error {
			time.Sleep(time.Second)
			for range 3 {
				if err := op.Advance(Advance{Payload: text("x")}); err != nil {
					return err
				}
			}
			return op.Complete(Closing{})
		}), &EndOptions{ServiceEnds: true})
		op := operate(t, invoker, Opening{Allowance: 5})
		results := make(chan error, 5)
		for range 5 {
			go func() {
				_, err := op.Recv(t.Context())
				results <- err
			}()
		}
		got := map[error]int{}
		for range 5 {
			got[<-results]++
		}
		require.Equal(t, map[error]int{nil: 3, io.EOF: 2}, got)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := op.Recv(ctx)
		require.Equal(t, io.EOF, err)
		require.Equal(t, io.EOF, op.Send(t.Context(), nil))
	})
}

func TestPayloadsBeyondTheOwnAllowanceAreHeld(t *testing.T) {
	service := NewEnd(ServicerFunc(func(context.Context, *Operation) error { return nil }), &EndOptions{Run: func(f func()) { f() }})
	require.NoError(t, service.Start())
	peer := &Recorder{}
	Join(peer, service)
	ops := service.running
	peer.Send(&Ticket{ID: 1, Group: "g", Method: "m", Payload: text("a")})
	peer.Send(&Ticket{ID: 1, Seq: 1, Payload: text("b"), Allowance: 7, Termination: Completion})
	op := ops()[0]
	a, ok := op.TryReceive()
	require.True(t, ok)
	require.Equal(t, "a", string(a.Payload.Bytes()))
	require.EqualValues(t, 7, a.Allowance) // credit is not held
	_, ok = op.TryReceive()
	require.False(t, ok)
	require.Nil(t, op.Completion())
	require.NoError(t, op.Grant(1))
	a, ok = op.TryReceive()
	require.True(t, ok)
	require.Equal(t, "b", string(a.Payload.Bytes()))
	require.NotNil(t, a.Completion)
	require.NotNil(t, op.Completion())
	require.NoError(t, op.Complete(Closing{}))
	require.Equal(t, map[OutcomeKind]int{Completed: 1}, service.Stats().Outcomes)
	<-service.Stop(0)
}

func TestNothingIsLostBehindACompletion(t *testing.T) {
	invoker, _ := openPair(t, ServicerFunc(func(ctx context.Context, op *Operation) error {
		for n := 0; ; n++ {
			if err := op.Grant(1); err != nil {
				return err
			}
			if _, err := op.Recv(ctx); err != nil {
				return op.Complete(Closing{Code: pointer(uint32(n))})
			}
		}
	}), nil)
	op := operate(t, invoker, Opening{})
	for range 5 {
		require.NoError(t, op.Advance(Advance{Payload: text("x")}))
	}
	require.NoError(t, op.Advance(Advance{Payload: text("last"), Completion: &Closing{}, Allowance: 1}))
	_, err := op.Recv(t.Context())
	require.Equal(t, io.EOF, err)
	require.EqualValues(t, 6, *op.Completion().Code)
}

func TestTicketsThatBreakTheRules(t *testing.T) {
	cases := map[string][]Ticket{
		"initial twice":         {{Initial: Metadata{}}, {Seq: 1, Initial: Metadata{}}},
		"initial after payload": {{Payload: text("x")}, {Seq: 1, Initial: Metadata{}}},
		"number twice":          {{}, {}},
	}
	for name, tickets := range cases {
		t.Run(name, func(t *testing.T) {
			service := NewEnd(ServicerFunc(func(context.Context, *Operation) error { return nil }), nil)
			require.NoError(t, service.Start())
			peer := &Recorder{}
			Join(peer, service)
			for _, ticket := range tickets {
				ticket.ID, ticket.Group, ticket.Method = 1, "g", "m"
				peer.Send(&ticket)
			}
			require.Equal(t, ReceptionFailure, await(t, peer, terminated)[0].Termination)
			<-service.Stop(0)
		})
	}
}

func TestEndNeverHoldsWithoutBound(t *testing.T) {
	service := NewEnd(ServicerFunc(func(context.Context, *Operation) error { return nil }), nil)
	require.NoError(t, service.Start())
	peer := &Recorder{}
	Join(peer, service)
	for i := range 3 * maxHeldTickets {
		peer.Send(&Ticket{ID: OperationID(2*i + 1), Seq: 1, Payload: text("early")})
	}
	require.Len(t, service.early.tickets, maxHeldTickets)
	peer.Send(&Ticket{ID: 9, Group: "g", Method: "m"})
	for seq := range uint64(maxHeldTickets + 1) {
		peer.Send(&Ticket{ID: 9, Seq: seq + 2})
	}
	require.Equal(t, ReceptionFailure, await(t, peer, terminated)[0].Termination)
	// Operations far ahead of those that are missing: their names are not kept for ever.
	for i := range 2 * maxSeenGaps {
		peer.Send(&Ticket{ID: OperationID(2*i + 1001), Termination: Cancellation})
	}
	require.LessOrEqual(t, len(service.seen.ahead), maxSeenGaps)
	<-service.Stop(0)
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

// A ticket that comes before the first of its operation keeps its payload until it is handed on, or nobody can want it any more.
func TestEarlyTicketsKeepTheirPayloads(t *testing.T) {
	got := make(chan string, 1)
	end := NewEnd(ServicerFunc(func(ctx context.Context, op *Operation) error {
		data, err := op.Recv(ctx)
		got <- string(data)
		return err
	}), nil)
	require.NoError(t, end.Start())
	beyond := &Recorder{}
	Join(end, beyond)
	freed := make(map[OperationID]bool)
	early := func(id OperationID) *Ticket {
		data := []byte("early")
		return &Ticket{ID: id, Seq: 1, Payload: NewPayload(data, func() { freed[id] = true; data[0] = 'X' })}
	}
	end.Accept(early(1))
	require.False(t, freed[1])
	end.Accept(&Ticket{ID: 1, Group: "g", Method: "m", Subscription: SubscriptionFull})
	require.Equal(t, "early", <-got)

	end.Accept(early(3))
	end.Accept(&Ticket{ID: 3, Seq: 2, Termination: Cancellation})
	require.True(t, freed[3])

	end.Accept(early(5))
	stopped := end.Stop(0)
	end.Accept(&Ticket{ID: 5, Group: "g", Method: "m", Subscription: SubscriptionFull})
	require.True(t, freed[5])
	<-stopped
}
