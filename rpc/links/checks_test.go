package links

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// These are the checks of the original's tests, with its constants.
const (
	streamLength = 200
	payloadSize  = 256<<10 + 17
	parallelism  = 200
)

// joined gives both ends of a link a recorder.
func joined(a, b Link) (near, far *Recorder) {
	near, far = &Recorder{}, &Recorder{}
	Join(near, a)
	Join(far, b)
	return near, far
}

func terminated(tickets []*Ticket) bool {
	return len(tickets) > 0 && tickets[len(tickets)-1].Termination != 0
}

func await(t *testing.T, r *Recorder, enough func([]*Ticket) bool) []*Ticket {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tickets, err := r.Wait(ctx, enough)
	require.NoError(t, err)
	return tickets
}

func payloadsOf(tickets []*Ticket) [][]byte {
	var all [][]byte
	for _, ticket := range tickets {
		if ticket.Payload != nil {
			all = append(all, ticket.Payload.Bytes())
		}
	}
	return all
}

// checkRecorded is what holds for everything a far mate records.
func checkRecorded(t *testing.T, tickets []*Ticket, fromInvoker bool, initial, terminal Metadata, payloads [][]byte) {
	t.Helper()
	require.NotEmpty(t, tickets)
	if fromInvoker {
		assert.Equal(t, "the.Group", tickets[0].Group)
		assert.Equal(t, "TheMethod", tickets[0].Method)
	}
	var gotInitial, gotTerminal Metadata
	initials, terminals := 0, 0
	for _, ticket := range tickets {
		if ticket.Initial != nil {
			assert.Zero(t, terminals)
			assert.Empty(t, payloadsOf(tickets[:ticket.Seq]))
			initials++
			gotInitial = ticket.Initial
		}
		if ticket.Payload != nil {
			assert.Zero(t, terminals)
		}
		if ticket.Terminal != nil {
			terminals++
			gotTerminal = ticket.Terminal
		}
	}
	assert.LessOrEqual(t, initials, 1)
	assert.LessOrEqual(t, terminals, 1)
	assert.Subset(t, gotInitial, initial)
	assert.Subset(t, gotTerminal, terminal)
	assert.True(t, equalPayloads(payloads, payloadsOf(tickets)))
	assert.Equal(t, Completion, tickets[len(tickets)-1].Termination)
	if !fromInvoker {
		assert.NotNil(t, tickets[len(tickets)-1].Code)
		assert.NotNil(t, tickets[len(tickets)-1].Message)
	}
}

func equalPayloads(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

func firstOf(initial Metadata) *Ticket {
	return &Ticket{ID: 2, Group: "the.Group", Method: "TheMethod", Subscription: SubscriptionFull, Timeout: 3000 * time.Second, Initial: initial,
		Protocol: &Protocol{Kind: CallOption}}
}

func TestOneTicketEachWayWithEverything(t *testing.T) {
	initial := Metadata{{"key", "value"}, {"key", "again"}, {"x-bin", "\x00\x80\xff"}, {"empty", ""}}
	terminal := Metadata{{"end-bin", "\xff\x00"}, {"end", "1"}}
	request, response := bytes.Repeat([]byte("\x00q"), 512)[:1023], bytes.Repeat([]byte("\xffr"), 513)[:1025]
	onEveryLink(t, func(t *testing.T, a, b Link) {
		near, far := joined(a, b)
		first := firstOf(initial)
		first.Payload, first.Termination = NewPayload(request, nil), Completion
		near.Send(first)
		tickets := await(t, far, terminated)
		checkRecorded(t, tickets, true, initial, nil, [][]byte{request})
		require.Equal(t, SubscriptionFull, tickets[0].Subscription)
		require.Equal(t, 3000*time.Second, tickets[0].Timeout)

		far.Send(&Ticket{ID: tickets[0].ID, Initial: initial, Payload: NewPayload(response, nil), Terminal: terminal, Code: pointer[uint32](5),
			Message: pointer("over"), Termination: Completion, Protocol: &Protocol{Kind: ServicerContext}})
		tickets = await(t, near, terminated)
		checkRecorded(t, tickets, false, initial, terminal, [][]byte{response})
		require.EqualValues(t, 5, *tickets[len(tickets)-1].Code)
		require.Equal(t, "over", *tickets[len(tickets)-1].Message)
		require.Equal(t, OperationID(2), tickets[0].ID)
	})
}

func TestZeroMessages(t *testing.T) {
	onEveryLink(t, func(t *testing.T, a, b Link) {
		near, far := joined(a, b)
		first := firstOf(nil)
		first.Termination = Completion
		near.Send(first)
		tickets := await(t, far, terminated)
		checkRecorded(t, tickets, true, nil, nil, nil)
		far.Send(&Ticket{ID: tickets[0].ID, Code: pointer[uint32](0), Message: pointer(""), Termination: Completion})
		checkRecorded(t, await(t, near, terminated), false, nil, nil, nil)
	})
}

func TestLockStepExchange(t *testing.T) {
	onEveryLink(t, func(t *testing.T, a, b Link) {
		near, far := joined(a, b)
		near.Send(firstOf(Metadata{}))
		id := await(t, far, func(tickets []*Ticket) bool { return len(tickets) > 0 })[0].ID
		var sent [][]byte
		for i := range streamLength {
			payload := bytes.Repeat([]byte{byte(i)}, i)
			sent = append(sent, payload)
			near.Send(&Ticket{ID: 2, Seq: uint64(i + 1), Payload: NewPayload(payload, nil), Allowance: 1})
			has := func(tickets []*Ticket) bool {
				grants := 0
				for _, ticket := range tickets {
					grants += int(ticket.Allowance)
				}
				return len(payloadsOf(tickets)) == i+1 && grants == i+1
			}
			await(t, far, has)
			far.Send(&Ticket{ID: id, Seq: uint64(i), Payload: NewPayload(payload, nil), Allowance: 1})
			await(t, near, has)
		}
		near.Send(&Ticket{ID: 2, Seq: streamLength + 1, Termination: Completion})
		checkRecorded(t, await(t, far, terminated), true, nil, nil, sent)
		far.Send(&Ticket{ID: id, Seq: streamLength, Code: pointer[uint32](0), Message: pointer("fine"), Termination: Completion})
		checkRecorded(t, await(t, near, terminated), false, nil, nil, sent)
	})
}

func TestLinkWithNothingBehindIt(t *testing.T) {
	onEveryLink(t, func(t *testing.T, a, b Link) {
		near := &Recorder{}
		Join(near, a)
		nothing := NewEnd(nil, nil)
		Join(nothing, b)
		near.Send(firstOf(nil))
		complete := firstOf(nil)
		complete.ID, complete.Payload, complete.Termination = 4, text("q"), Completion
		near.Send(complete)
		tickets := await(t, near, func(tickets []*Ticket) bool { return len(tickets) >= 2 })
		for _, ticket := range tickets {
			require.True(t, ticket.Termination.Abort(), "%v", ticket.Termination)
		}
	})
	t.Run("Conn joined to nothing", func(t *testing.T) {
		a, b := osPipes(t)
		near := &Recorder{}
		Join(near, openConn(t, StreamCarrier(a), nil))
		openConn(t, StreamCarrier(b), &ConnOptions{Side: 1}).Join(nil)
		near.Send(firstOf(nil))
		require.True(t, await(t, near, terminated)[0].Termination.Abort())
	})
}

// The serialisers of the original's tests.
func serialise(s string) []byte   { return []byte(strings.ToUpper(s) + "|") }
func deserialise(b []byte) string { return strings.ToLower(strings.TrimSuffix(string(b), "|")) }

// pool runs what it is given on a few goroutines, like the original's.
type pool struct {
	work chan func()
	done sync.WaitGroup
}

func newPool(t *testing.T, n int) *pool {
	p := &pool{work: make(chan func(), 1000)}
	for range n {
		p.done.Go(func() {
			for f := range p.work {
				f()
			}
		})
	}
	t.Cleanup(func() {
		close(p.work)
		p.done.Wait()
	})
	return p
}

// transform is a service that answers each payload with its text twice, by steps, so that it never waits.
func transform(_ context.Context, op *Operation) error {
	var pending []string
	op.Attend(func(a Advance) error {
		answer := Advance{}
		if a.Initial != nil {
			answer.Initial = Metadata{{"echoed", a.Initial[0].Value}}
		}
		if a.Payload != nil {
			pending = append(pending, deserialise(a.Payload.Bytes()))
			a.Payload.Free()
			answer.Allowance = 1
			answer.Payload = NewPayload(serialise(pending[len(pending)-1]+pending[len(pending)-1]), nil)
		}
		if a.Completion != nil {
			answer.Completion = closingOf("bye", 0, "done")
		}
		if answer.empty() {
			return nil
		}
		return op.Advance(answer)
	})
	return nil
}

func TestThroughTheCore(t *testing.T) {
	runs := map[string]func(t *testing.T) func(func()){
		"on the calling goroutine": func(*testing.T) func(func()) { return func(f func()) { f() } },
		"on a pool": func(t *testing.T) func(func()) {
			p := newPool(t, 4)
			return func(f func()) { p.work <- f }
		},
	}
	scripts := map[string]func(t *testing.T, end *End){"all at once": allAtOnce, "half and half": halfAndHalf}
	for name, run := range runs {
		for script, invoke := range scripts {
			t.Run(script+" "+name, func(t *testing.T) {
				onEveryLink(t, func(t *testing.T, a, b Link) {
					service := NewEnd(ServicerFunc(transform), &EndOptions{Run: run(t), DefaultTimeout: 5 * time.Minute})
					invoker := NewEnd(nil, nil)
					require.NoError(t, service.Start())
					require.NoError(t, invoker.Start())
					Join(service, b)
					Join(invoker, a)
					invoke(t, invoker)
					<-invoker.Stop(time.Minute)
					<-service.Stop(time.Minute)
					require.Equal(t, map[OutcomeKind]int{Completed: 1}, invoker.Stats().Outcomes)
					require.Equal(t, map[OutcomeKind]int{Completed: 1}, service.Stats().Outcomes)
				})
			})
		}
	}
}

func allAtOnce(t *testing.T, end *End) {
	op, err := end.Operate(t.Context(), Opening{Group: "g", Method: "m", Timeout: time.Minute, Initial: Metadata{{"k", "v"}},
		Payload: NewPayload(serialise("abc"), nil), Completion: &Closing{}})
	require.NoError(t, err)
	data, err := op.Recv(t.Context())
	require.NoError(t, err)
	require.Equal(t, "abcabc", deserialise(data))
	_, err = op.Recv(t.Context())
	require.Equal(t, io.EOF, err)
	require.Equal(t, "bye", op.Completion().Terminal[0].Key)
}

func halfAndHalf(t *testing.T, end *End) {
	op, err := end.Operate(t.Context(), Opening{Group: "g", Method: "m", Timeout: time.Minute, Initial: Metadata{{"k", "v"}},
		Payload: NewPayload(serialise("one"), nil), Allowance: 1})
	require.NoError(t, err)
	data, err := op.Recv(t.Context())
	require.NoError(t, err)
	require.Equal(t, "oneone", deserialise(data))
	require.NoError(t, op.Advance(Advance{Payload: NewPayload(serialise("two"), nil), Completion: &Closing{}}))
	data, err = op.Recv(t.Context())
	require.NoError(t, err)
	require.Equal(t, "twotwo", deserialise(data))
	_, err = op.Recv(t.Context())
	require.Equal(t, io.EOF, err)
}

// echo answers each payload with itself.
func echo(ctx context.Context, op *Operation) error {
	for {
		data, err := op.Recv(ctx)
		if errors.Is(err, io.EOF) {
			return op.Complete(*closingOf("", 0, ""))
		}
		if err != nil {
			return err
		}
		if err := op.Send(ctx, data); err != nil {
			return err
		}
	}
}

// startEnds joins an end that serves and one that invokes, with credit given back by itself.
func startEnds(t testing.TB, a, b Link, servicer Servicer) (invoker, service *End) {
	t.Helper()
	service = NewEnd(servicer, &EndOptions{AutoGrant: 8, ServiceEnds: true})
	invoker = NewEnd(nil, &EndOptions{AutoGrant: 8})
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

func TestManyAtOnce(t *testing.T) {
	onEveryLink(t, func(t *testing.T, a, b Link) {
		invoker, service := startEnds(t, a, b, ServicerFunc(echo))
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for i := range parallelism {
			wg.Go(func() {
				op, err := invoker.Operate(ctx, Opening{Group: "g", Method: "m"})
				if !assert.NoError(t, err) {
					return
				}
				for j := range 5 {
					want := bytes.Repeat([]byte{byte(i), byte(j)}, 1+i*j)
					assert.NoError(t, op.Send(ctx, want))
					got, err := op.Recv(ctx)
					assert.NoError(t, err)
					assert.True(t, bytes.Equal(want, got))
				}
				assert.NoError(t, op.Complete(Closing{}))
				_, err = op.Recv(ctx)
				assert.Equal(t, io.EOF, err)
			})
		}
		wg.Wait()
		require.Equal(t, map[OutcomeKind]int{Completed: parallelism}, invoker.Stats().Outcomes)
		require.Eventually(t, func() bool { return service.Stats().Outcomes[Completed] == parallelism }, 5*time.Second, time.Millisecond)
	})
}

func TestLargePayloads(t *testing.T) {
	onEveryLink(t, func(t *testing.T, a, b Link) {
		invoker, _ := startEnds(t, a, b, ServicerFunc(echo))
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		op, err := invoker.Operate(ctx, Opening{Group: "g", Method: "m"})
		require.NoError(t, err)
		const n = 20
		go func() {
			for i := range n {
				if err := op.Send(ctx, bytes.Repeat([]byte{byte(i)}, payloadSize)); err != nil {
					t.Error(err)
				}
			}
			_ = op.Complete(Closing{})
		}()
		for i := range n {
			got, err := op.Recv(ctx)
			require.NoError(t, err)
			require.True(t, bytes.Equal(bytes.Repeat([]byte{byte(i)}, payloadSize), got))
		}
		_, err = op.Recv(ctx)
		require.Equal(t, io.EOF, err)
	})
}

func TestPayloadsWithoutBytesAreMessages(t *testing.T) {
	onEveryLink(t, func(t *testing.T, a, b Link) {
		invoker, _ := startEnds(t, a, b, ServicerFunc(echo))
		op, err := invoker.Operate(t.Context(), Opening{Group: "g", Method: "m"})
		require.NoError(t, err)
		for range 50 {
			require.NoError(t, op.Send(t.Context(), nil))
			got, err := op.Recv(t.Context())
			require.NoError(t, err)
			require.NotNil(t, got)
			require.Empty(t, got)
		}
		require.NoError(t, op.Complete(Closing{}))
		_, err = op.Recv(t.Context())
		require.Equal(t, io.EOF, err)
	})
}
