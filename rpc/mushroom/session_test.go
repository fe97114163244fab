package mushroom_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/rpc/mushroom"
)

func TestNotificationsKeepTheirOrder(t *testing.T) {
	ctx := testContext(t)
	var got []string // only one notification's handler runs at a time, and requests come after it
	a, _ := pair(t, nil, serving(func(_ context.Context, r *mushroom.Request) (any, error) {
		if r.Kind == mushroom.KindRequest {
			return got, nil
		}
		got = append(got, r.Method)
		return nil, nil
	}))
	var want []string
	for n := range 300 {
		want = append(want, fmt.Sprint(n))
		require.NoError(t, a.Notify(fmt.Sprint(n), nil))
	}
	seen, err := mushroom.Call[[]string](ctx, a, "all", nil)
	require.NoError(t, err)
	assert.Equal(t, want, seen)
}

// TestHandlersThatWaitForThePeerLetOthersRun: both ends call back from a notification's handler, which
// would wait for ever if it kept its turn.
func TestHandlersThatWaitForThePeerLetOthersRun(t *testing.T) {
	ctx := testContext(t)
	done := make(chan error, 1)
	back := func(ctx context.Context, r *mushroom.Request) (any, error) {
		var depth int
		if err := r.Decode(&depth); err != nil || depth == 0 {
			return depth, err
		}
		_, err := r.Session.Request(ctx, "deeper", depth-1)
		if r.Kind == mushroom.KindNotification {
			done <- err
		}
		return depth, err
	}
	opts := serving(back)
	opts.Limits.MaxHandlers = 1
	a, _ := pair(t, opts, opts)
	require.NoError(t, a.Notify("start", 50))
	select {
	case err := <-done:
		assert.NoError(t, err)
	case <-ctx.Done():
		require.NoError(t, ctx.Err())
	}
}

// TestHandlerThatLeavesARequestBehind does not count as at work for ever: with one place for handlers,
// others run.
func TestHandlerThatLeavesARequestBehind(t *testing.T) {
	ctx := testContext(t)
	answer, answered := make(chan struct{}), make(chan struct{})
	opts := serving(func(ctx context.Context, r *mushroom.Request) (any, error) {
		if r.Method == "leave" {
			asked := make(chan struct{})
			go func() {
				defer close(answered)
				close(asked)
				_, _ = r.Session.Request(ctx, "hold", nil)
			}()
			<-asked
		}
		return "fine", nil
	})
	opts.Limits.MaxHandlers = 1
	held := make(chan struct{})
	a, _ := pair(t, serving(func(context.Context, *mushroom.Request) (any, error) {
		close(held)
		<-answer
		return nil, nil
	}), opts)
	_, err := a.Request(ctx, "leave", nil)
	require.NoError(t, err)
	<-held
	close(answer)
	<-answered
	for range 3 {
		_, err = a.Request(ctx, "next", nil)
		require.NoError(t, err)
	}
}

func TestHandlerErrors(t *testing.T) {
	ctx := testContext(t)
	a, _ := pair(t, nil, serving(func(_ context.Context, r *mushroom.Request) (any, error) {
		switch r.Method {
		case "rpc":
			return nil, fmt.Errorf("wrapped: %w", &mushroom.RPCError{Data: []int{1}})
		case "request":
			return nil, &mushroom.RequestError{Method: "x", Data: json.RawMessage(`{"kept":1}`)}
		case "missing":
			return nil, &mushroom.MethodNotFoundError{Name: "other"}
		case "plain":
			return nil, errors.New("a secret")
		case "panic":
			panic("a secret")
		case "no JSON":
			return make(chan int), nil
		case "no JSON in an error":
			return nil, &mushroom.RPCError{Data: make(chan int)}
		case "bad message":
			return mushroom.Message{Kind: mushroom.KindResponse, Data: json.RawMessage("{")}, nil
		case "too large":
			return strings.Repeat("x", 2<<20), nil
		}
		return "fine", nil
	}))
	for method, want := range map[string]string{
		"rpc": `[1]`, "request": `{"kept":1}`, "missing": `"other"`,
		"plain": `"Internal server error"`, "panic": `"Internal server error"`,
		"no JSON": `"Internal server error"`, "no JSON in an error": `"Internal server error"`,
		"bad message": `"Internal server error"`, "too large": `"Internal server error"`,
	} {
		_, err := a.Request(ctx, method, nil)
		var failed *mushroom.RequestError
		require.ErrorAs(t, err, &failed, method)
		assert.Equal(t, method, failed.Method)
		assert.JSONEq(t, want, string(failed.Data), method)
		assert.Contains(t, err.Error(), want)
	}
	got, err := a.Request(ctx, "fine", nil)
	require.NoError(t, err)
	assert.Equal(t, `"fine"`, string(got))

	_, err = mushroom.Call[int](ctx, a, "fine", nil)
	assert.ErrorContains(t, err, `answer to "fine"`)
	_, err = mushroom.Call[int](ctx, a, "plain", nil)
	assert.ErrorContains(t, err, "Internal server error")
}

func TestSendRefuses(t *testing.T) {
	ctx := testContext(t)
	a, _ := pair(t, nil, nil)
	_, err := a.Request(ctx, "m", make(chan int))
	assert.ErrorContains(t, err, "unsupported type")
	assert.ErrorContains(t, a.Notify("m", make(chan int)), "unsupported type")
	assert.ErrorIs(t, a.Notify("m", strings.Repeat("x", 1<<20)), mushroom.ErrTooLarge)
	assert.ErrorContains(t, a.Send(mushroom.Message{Kind: mushroom.KindHeartbeat}), "sent by the session itself")
	assert.Error(t, a.Send(mushroom.Message{Kind: mushroom.KindNotification, Data: json.RawMessage("[")}))
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = a.Request(ended, "m", nil)
	assert.Equal(t, context.Canceled, err)
	assert.NoError(t, a.Err(), "none of this ends the session")
}

func TestSendUnderAnID(t *testing.T) {
	s, peer, lines := bare(t, nil)
	first := s.NextMessageID()
	require.NoError(t, s.Send(mushroom.Message{Kind: mushroom.KindNotification, ID: mushroom.IntID(first), Method: "a"}))
	hear(t, lines, `[1,0,"a",null]`)
	reserved := s.NextMessageID()
	require.NoError(t, s.Send(mushroom.Message{Kind: mushroom.KindError, RequestID: mushroom.IntID(7), Data: json.RawMessage("5")}))
	hear(t, lines, `[4,2,7,5]`)
	err := s.Send(mushroom.Message{Kind: mushroom.KindNotification, ID: mushroom.IntID(reserved), Method: "late"})
	assert.ErrorContains(t, err, "message id 1 is not above 2")
	require.NoError(t, s.Send(mushroom.Message{Kind: mushroom.KindNotification, ID: mushroom.IntID(10), Method: "b"}))
	require.NoError(t, s.Notify("c", nil))
	hear(t, lines, `[1,10,"b",null]`, `[1,11,"c",null]`)
	assert.Equal(t, []int64{0, 2, 10, 11}, s.Unacknowledged())
	tell(t, peer, `[0,2.5]`)
	eventually(t, func() bool { return len(s.Unacknowledged()) == 2 }, "acknowledged")
}

func TestRequestGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peer, lines := bare(t, &mushroom.StreamOptions{RequestTimeout: time.Minute})
		go func() {
			for lines.Scan() { // net.Pipe needs a reader
			}
		}()
		require.NoError(t, peer.SetDeadline(time.Time{}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.Request(ctx, "m", nil)
		assert.Equal(t, context.DeadlineExceeded, err)
		start := time.Now()
		_, err = s.Request(t.Context(), "m", nil)
		assert.ErrorIs(t, err, mushroom.ErrRequestTimeout)
		assert.Equal(t, time.Minute, time.Since(start))
		assert.Zero(t, mushroom.Pending(s), "nothing is left behind")
		// The late answers are taken and dropped.
		tell(t, peer, `[3,0,0,"late"]`, `[3,1,1,"late"]`, `[3,2,null,"lost"]`, `[3,3,"a","lost"]`, `[0,1]`)
		require.NoError(t, s.Flush(t.Context()))
		assert.NoError(t, s.Err())
	})
}

func TestTooManyRequests(t *testing.T) {
	s, _, lines := bare(t, &mushroom.StreamOptions{Limits: mushroom.Limits{MaxPending: 1}})
	ctx, cancel := context.WithCancel(testContext(t))
	first := make(chan error)
	go func() {
		_, err := s.Request(ctx, "m", nil)
		first <- err
	}()
	require.True(t, lines.Scan())
	_, err := s.Request(ctx, "m", nil)
	assert.ErrorIs(t, err, mushroom.ErrTooManyRequests)
	cancel()
	assert.Equal(t, context.Canceled, <-first)
}

func TestPeerThatDoesNotAcknowledge(t *testing.T) {
	for name, limits := range map[string]mushroom.Limits{
		"messages": {MaxUnacked: 10}, "bytes": {MaxUnackedBytes: 200},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, lines := bare(t, &mushroom.StreamOptions{Limits: limits})
			read := make(chan struct{})
			go func() {
				defer close(read)
				for lines.Scan() {
				}
			}()
			var err error
			for n := 0; err == nil && n < 1000; n++ {
				err = s.Notify("m", n)
			}
			assert.ErrorIs(t, err, mushroom.ErrUnacknowledged)
			<-s.Done()
			<-read
			assert.Same(t, err, s.Err())
		})
	}
}

func TestDuplicatesAndGaps(t *testing.T) {
	got := make(chan string, 10)
	_, peer, lines := bare(t, serving(func(_ context.Context, r *mushroom.Request) (any, error) {
		got <- r.Method
		return nil, nil
	}))
	for _, step := range []struct{ say, hear string }{
		{`[1,5,"first"]`, `[0,5]`}, {`[1,5,"same"]`, `[0,5]`}, {`[1,4,"late"]`, `[0,5]`},
		{`[1,5.5,"float"]`, `[0,5.5]`}, {``, ``}, {`[1,9,"gap"]`, `[0,9]`},
	} {
		tell(t, peer, step.say)
		if step.hear != "" {
			hear(t, lines, step.hear)
		}
	}
	assert.Equal(t, []string{"first", "float", "gap"}, []string{<-got, <-got, <-got})
	assert.Empty(t, got)
}

func TestTextIDs(t *testing.T) {
	got := make(chan string, 10)
	s, peer, lines := bare(t, serving(func(_ context.Context, r *mushroom.Request) (any, error) {
		got <- r.Method
		return nil, nil
	}))
	tell(t, peer, `[1,"a","first"]`)
	hear(t, lines, `[0,"a"]`)
	tell(t, peer, `[1,"b","second"]`)
	hear(t, lines, `[0,"b"]`)
	tell(t, peer, `[1,"a","old"]`)
	hear(t, lines, `[0,"b"]`)
	assert.Equal(t, []string{"first", "second"}, []string{<-got, <-got})
	tell(t, peer, `[1,0,"a number"]`)
	<-s.Done()
	assert.ErrorIs(t, s.Err(), mushroom.ErrBadMessage)
}

// TestHandlerThatFlushes waits for an acknowledgement that comes behind more messages than wait for a handler.
func TestHandlerThatFlushes(t *testing.T) {
	flushed := make(chan error, 1)
	s, peer, lines := bare(t, &mushroom.StreamOptions{
		Limits: mushroom.Limits{MaxInbox: 4},
		Dispatcher: mushroom.HandlerFunc(func(ctx context.Context, r *mushroom.Request) (any, error) {
			if r.Method != "flush" {
				return nil, nil
			}
			err := r.Session.Notify("sent", nil)
			if err == nil {
				err = r.Session.Flush(ctx)
			}
			flushed <- err
			return nil, err
		}),
	})
	go func() {
		for lines.Scan() {
			continue
		}
	}()
	tell(t, peer, `[1,0,"flush"]`)
	for n := range 10 {
		tell(t, peer, fmt.Sprintf(`[1,%d,"more"]`, n+1))
	}
	tell(t, peer, `[0,0]`)
	select {
	case err := <-flushed:
		require.NoError(t, err)
	case <-time.After(10 * time.Second):
		require.Fail(t, "the handler waits for ever")
	}
	require.NoError(t, s.Err())
}

// TestInboxCountsWhatIsNoMethod: what stands in a method's place is held like data.
func TestInboxCountsWhatIsNoMethod(t *testing.T) {
	release := make(chan struct{})
	s, peer, lines := bare(t, &mushroom.StreamOptions{
		Limits: mushroom.Limits{MaxUnackedBytes: 10_000},
		Dispatcher: mushroom.HandlerFunc(func(context.Context, *mushroom.Request) (any, error) {
			<-release
			return nil, nil
		}),
	})
	go func() {
		for lines.Scan() {
			continue
		}
	}()
	tell(t, peer, `[1,0,"wait"]`)
	bad := `["` + strings.Repeat("x", 1000) + `"]`
	told := make(chan struct{})
	go func() {
		defer close(told)
		for n := range 100 {
			if _, err := fmt.Fprintf(peer, "[1,%d,%s]\n", n+1, bad); err != nil {
				return
			}
		}
	}()
	eventually(t, func() bool { return mushroom.Crowd(s) >= 10 }, "the inbox is full")
	select {
	case <-told:
		assert.Fail(t, "all was taken")
	case <-time.After(100 * time.Millisecond):
	}
	assert.LessOrEqual(t, mushroom.Crowd(s), 11)
	close(release)
	<-told
}

// TestHandleMessageRefusesWhatIsNoMessage.
func TestHandleMessageRefusesWhatIsNoMessage(t *testing.T) {
	s, _, _ := bare(t, nil)
	for _, m := range []mushroom.Message{
		{Kind: 7, ID: mushroom.IntID(1), Method: "m"},
		{Kind: -2},
		{Kind: mushroom.KindRequest, Method: "m"},
	} {
		require.ErrorIs(t, s.HandleMessage(m), mushroom.ErrBadMessage, "%v", m.Kind)
	}
	require.NoError(t, s.Err())
}
