package links

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// warm makes calls until the connection lends the turn to read.
func warm(t *testing.T, e *End) {
	t.Helper()
	op := dial(t, e)
	for range 4 * minPatience {
		exchange(t, op, "warm")
	}
	require.NoError(t, op.Complete(Closing{}))
	_, err := op.Recv(context.Background())
	require.ErrorIs(t, err, io.EOF)
}

func dial(t *testing.T, e *End) *Operation {
	t.Helper()
	op, err := e.Operate(context.Background(), Opening{Group: "the.Group", Method: "TheMethod"})
	require.NoError(t, err)
	return op
}

// ask makes a call that is whole in its first ticket, so that who serves it need not read.
func ask(t *testing.T, e *End) {
	t.Helper()
	op, err := e.Operate(context.Background(), Opening{Group: "the.Group", Method: "TheMethod", Payload: text("x"), Completion: &Closing{}})
	require.NoError(t, err)
	got, err := op.Recv(context.Background())
	require.NoError(t, err)
	require.Equal(t, "x", string(got))
	_, err = op.Recv(context.Background())
	require.ErrorIs(t, err, io.EOF)
}

func exchange(t *testing.T, op *Operation, text string) {
	t.Helper()
	require.NoError(t, op.Send(context.Background(), []byte(text)))
	got, err := op.Recv(context.Background())
	require.NoError(t, err)
	require.Equal(t, text, string(got))
}

// pair is two ends over pipes, of which the far one serves.
func pair(t *testing.T, service Servicer) (near *End, a, b *Conn) {
	t.Helper()
	ours, theirs := osPipes(t)
	a, b = openConn(t, StreamCarrier(ours), nil), openConn(t, StreamCarrier(theirs), &ConnOptions{Side: 1})
	near = NewEnd(nil, &EndOptions{AutoGrant: 32})
	far := NewEnd(service, &EndOptions{AutoGrant: 32, ServiceEnds: true})
	require.NoError(t, near.Start())
	require.NoError(t, far.Start())
	Join(far, b)
	Join(near, a)
	t.Cleanup(func() {
		<-near.Stop(0)
		<-far.Stop(0)
	})
	return near, a, b
}

// onOwn says whether the caller's stack goes through a function.
func onOwn(function string) bool {
	stack := make([]byte, 16<<10)
	return strings.Contains(string(stack[:runtime.Stack(stack, false)]), function)
}

func TestWhoIsAloneReadsForItself(t *testing.T) {
	var mu sync.Mutex
	inline := 0
	near, a, b := pair(t, ServicerFunc(func(ctx context.Context, op *Operation) error {
		mu.Lock()
		if onOwn("links.(*Conn).read(") {
			inline++
		}
		mu.Unlock()
		return echo(ctx, op)
	}))
	warm(t, near)
	op := dial(t, near)
	exchange(t, op, "first")
	// A busy machine makes the patience long, which is not what this is about.
	impatient := func() {
		a.reading.patience.Store(minPatience)
		b.reading.patience.Store(minPatience)
	}
	comesAbout(t, func() bool {
		impatient()
		exchange(t, op, "x")
		return !a.reading.taken.Load() && !a.reading.claimed() // nobody reads while the caller does something else
	})
	require.NoError(t, op.Complete(Closing{}))
	_, err := op.Recv(context.Background())
	require.ErrorIs(t, err, io.EOF)
	comesAbout(t, func() bool {
		impatient()
		ask(t, near)
		mu.Lock()
		defer mu.Unlock()
		return inline > 0
	})
}

// comesAbout tries on this goroutine until it has succeeded.
func comesAbout(t *testing.T, try func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !try(); {
		require.True(t, time.Now().Before(deadline), "it does not come about")
	}
}

func TestSomebodyReadsWhileAnApplicationTakesItsTime(t *testing.T) {
	release := make(chan struct{})
	near, a, b := pair(t, ServicerFunc(func(ctx context.Context, op *Operation) error {
		if op.Method() == "Block" {
			<-release
			return op.Complete(Closing{})
		}
		return echo(ctx, op)
	}))
	for range 3 {
		warm(t, near)
		// The servicer waits for something else: the server still hears of a second operation, and of the end of the first.
		blocked, err := near.Operate(context.Background(), Opening{Group: "the.Group", Method: "Block"})
		require.NoError(t, err)
		exchange(t, dial(t, near), "beside")
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		require.NoError(t, a.Ping(ctx))
		require.NoError(t, b.Ping(ctx))
		cancel()
		blocked.Cancel()
	}
	close(release)
}

func TestEndOfAConnectionThatNobodyReads(t *testing.T) {
	near, a, b := pair(t, ServicerFunc(echo))
	warm(t, near)
	op := dial(t, near)
	exchange(t, op, "x")
	// The caller does not come back, and is told nevertheless.
	require.NoError(t, b.Close())
	select {
	case <-op.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the end was not noticed")
	}
	<-a.Done()
	require.ErrorIs(t, a.Err(), ErrPeerGone)
}

func TestWhoReadsForItselfIsFreedAtOnce(t *testing.T) {
	ends := map[string]func(op *Operation, a *Conn, cancel func()){
		"cancelled":         func(op *Operation, _ *Conn, _ func()) { op.Cancel() },
		"its context":       func(_ *Operation, _ *Conn, cancel func()) { cancel() },
		"its time":          func(op *Operation, _ *Conn, _ func()) { _ = op.SetTimeout(time.Nanosecond) },
		"connection closed": func(_ *Operation, a *Conn, _ func()) { _ = a.Close() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			// Where this goroutine is held up for long, the connection's own reads instead.
			for attempt := 0; !freed(t, end, name == "connection closed"); attempt++ {
				require.Less(t, attempt, 50)
			}
		})
	}
}

// freed ends an operation whose receiver waits, and says whether that one read for itself.
func freed(t *testing.T, end func(op *Operation, a *Conn, cancel func()), closes bool) (readItself bool) {
	near, a, _ := pair(t, ServicerFunc(echo))
	warm(t, near)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	op, err := near.Operate(ctx, Opening{Group: "the.Group", Method: "TheMethod"})
	require.NoError(t, err)
	exchange(t, op, "x")
	exchange(t, op, "x")
	received := make(chan error, 1)
	go func() {
		_, err := op.Recv(context.Background())
		received <- err
	}()
	require.Eventually(t, func() bool {
		op.mu.Lock()
		defer op.mu.Unlock()
		readItself = op.fetching
		return op.fetching || a.reading.parked.Load() > 0
	}, 10*time.Second, time.Microsecond)
	end(op, a, cancel)
	select {
	case err := <-received:
		var ended *OutcomeError
		require.ErrorAs(t, err, &ended)
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on reading")
	}
	if !closes {
		exchange(t, dial(t, near), "others go on")
	}
	return readItself
}

// Two goroutines of one operation: who sends waits for credit that only comes if somebody reads.
func TestSenderIsCreditedWhileNobodyReceives(t *testing.T) {
	near, _, _ := pair(t, ServicerFunc(func(ctx context.Context, op *Operation) error {
		if op.Method() == "TheMethod" {
			return echo(ctx, op)
		}
		for {
			if _, err := op.Recv(ctx); err != nil {
				if errors.Is(err, io.EOF) {
					return op.Complete(Closing{})
				}
				return err
			}
		}
	}))
	warm(t, near)
	op, err := near.Operate(context.Background(), Opening{Group: "the.Group", Method: "Swallow"})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for range 100 {
		require.NoError(t, op.Send(ctx, make([]byte, payloadSize)))
	}
	require.NoError(t, op.Complete(Closing{}))
	_, err = op.Recv(ctx)
	require.ErrorIs(t, err, io.EOF)
}

// TestTurnUnderManyKindsOfLoad changes between one and several operations, both ways, with receivers that come and go.
func TestTurnUnderManyKindsOfLoad(t *testing.T) {
	ours, theirs := osPipes(t)
	var ends [2]*End
	var conns [2]*Conn
	for i, stream := range []io.ReadWriteCloser{ours, theirs} {
		conns[i] = openConn(t, StreamCarrier(stream), &ConnOptions{Side: i})
		ends[i] = NewEnd(ServicerFunc(echo), &EndOptions{AutoGrant: 32, ServiceEnds: true})
		require.NoError(t, ends[i].Start())
		t.Cleanup(func() { <-ends[i].Stop(0) })
		Join(ends[i], conns[i])
	}
	for round := range 30 {
		warm(t, ends[round%2])
		var both sync.WaitGroup
		for i := range 1 + round%3 {
			both.Go(func() {
				op, err := ends[i%2].Operate(context.Background(), Opening{Group: "the.Group", Method: "TheMethod"})
				if err != nil {
					t.Error(err)
					return
				}
				both.Go(func() {
					for range 50 {
						if err := op.Send(context.Background(), []byte("x")); err != nil {
							t.Error(err)
							return
						}
					}
					_ = op.Complete(Closing{})
				})
				n := 0
				for {
					if _, err := op.Recv(context.Background()); err != nil {
						break
					}
					n++
				}
				if n != 50 {
					t.Errorf("%d of 50 came back", n)
				}
			})
		}
		both.Wait()
	}
}
