package links

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

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
