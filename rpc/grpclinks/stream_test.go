package grpclinks_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestSendingAfterTheServerHasEnded(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		s := e.stream(t, "FailAtOnce")
		require.Eventually(t, func() bool { return s.SendMsg(say("late")) == io.EOF }, 10*time.Second, time.Millisecond)
		require.NoError(t, s.CloseSend())
		for range 3 {
			_, err := recv(s)
			requireStatus(t, codes.Aborted, "at once", err)
		}
	})
}

func TestSenderHeldBackIsFreedByTheServersEnd(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		s := e.stream(t, "EndWhenTold")
		require.NoError(t, s.SendMsg(say("go")))
		sent := make(chan error, 1)
		big := say(strings.Repeat("x", 64<<10))
		go func() {
			for {
				if err := s.SendMsg(big); err != nil {
					sent <- err
					return
				}
			}
		}()
		e.must(t, "Tell", "go")
		select {
		case err := <-sent:
			require.Equal(t, io.EOF, err)
		case <-e.ctx.Done():
			t.Fatal("the sender is stuck")
		}
		_, err := recv(s)
		requireStatus(t, codes.ResourceExhausted, "enough", err)
	})
}

func TestSendingAfterCloseSend(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		s := e.stream(t, "EchoStream")
		require.NoError(t, s.CloseSend())
		require.NoError(t, s.CloseSend())
		requireCode(t, codes.Internal, s.SendMsg(say("late")))
	})
}

func TestServerReadsTheHalfCloseAgainAndAgain(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		s := e.stream(t, "Collect")
		for range 3 {
			require.NoError(t, s.SendMsg(say("x")))
		}
		require.NoError(t, s.CloseSend())
		require.Equal(t, "3 EOF EOF", mustRecv(t, s))
		_, err := recv(s)
		require.Equal(t, io.EOF, err)
	})
}

func TestCancelEndsBothSides(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		ctx, cancel := context.WithCancel(e.ctx)
		s := e.streamWith(t, ctx, "WaitStream")
		require.NoError(t, s.SendMsg(say("stream")))
		require.Equal(t, "begun", mustRecv(t, s))
		cancel()
		_, err := drain(s)
		requireCode(t, codes.Canceled, err)
		require.Eventually(t, func() bool { return s.SendMsg(say("late")) != nil }, 10*time.Second, time.Millisecond)
		require.Equal(t, "context canceled | Canceled | true", e.must(t, "Report", "stream"))

		ctx, cancel = context.WithCancel(e.ctx)
		go func() {
			e.must(t, "Report", "unary begun")
			cancel()
		}()
		_, err = e.invokeWith(ctx, "Wait", "unary")
		requireCode(t, codes.Canceled, err)
		require.Equal(t, "context canceled", e.must(t, "Report", "unary"))
	})
}

func TestHandlersContextEndsWithTheHandler(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		require.Equal(t, "left", e.must(t, "Leave", "leave"))
		require.Equal(t, "context canceled", e.must(t, "Report", "leave"))
	})
}

func TestDeadlines(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		seen := func(ctx context.Context) (has bool, left time.Duration) {
			out, err := e.invokeWith(ctx, "Context", "")
			require.NoError(t, err)
			var all struct {
				Deadline bool
				Left     time.Duration
			}
			require.NoError(t, json.Unmarshal([]byte(out), &all))
			return all.Deadline, all.Left
		}
		ctx, cancel := context.WithTimeout(e.ctx, 10*time.Second)
		defer cancel()
		has, left := seen(ctx)
		require.True(t, has)
		require.InDelta(t, 10, left.Seconds(), 2)
		has, _ = seen(context.WithoutCancel(e.ctx))
		require.False(t, has)

		ctx, cancel = context.WithTimeout(e.ctx, 50*time.Millisecond)
		defer cancel()
		_, err := e.invokeWith(ctx, "Wait", "deadline")
		requireCode(t, codes.DeadlineExceeded, err)
		require.Contains(t, []string{"context deadline exceeded", "context canceled"}, e.must(t, "Report", "deadline"))

		ctx, cancel = context.WithTimeout(e.ctx, 50*time.Millisecond)
		defer cancel()
		s := e.streamWith(t, ctx, "Mute")
		_, err = recv(s)
		requireCode(t, codes.DeadlineExceeded, err)
	})
}

func TestContextThatIsOver(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		canceled, cancel := context.WithCancel(e.ctx)
		cancel()
		late, cancel := context.WithDeadline(e.ctx, time.Now().Add(-time.Second))
		defer cancel()
		for ctx, code := range map[context.Context]codes.Code{canceled: codes.Canceled, late: codes.DeadlineExceeded} {
			_, err := e.invokeWith(ctx, "Wait", "over")
			requireCode(t, code, err)
			_, err = e.cc.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test.S/WaitStream")
			requireCode(t, code, err)
		}
		e.must(t, "Tell", "marker")
		probe, cancel := context.WithTimeout(e.ctx, 50*time.Millisecond)
		defer cancel()
		_, err := e.invokeWith(probe, "Report", "over begun")
		requireCode(t, codes.DeadlineExceeded, err) // no handler ran
	})
}

func TestCardinality(t *testing.T) {
	both := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		for replies, code := range map[string]codes.Code{"": codes.Internal, "1": codes.OK, "12": codes.Internal} {
			s := e.stream(t, "Replies")
			require.NoError(t, s.SendMsg(say(replies)))
			require.NoError(t, s.CloseSend())
			_, err := recv(s)
			requireCode(t, code, err)
			_, err = e.invoke("Replies", replies)
			requireCode(t, code, err)
		}
		// A method that takes one request, called with none and with two.
		for _, method := range []string{"Echo", "Count"} {
			for requests := range 3 {
				s, err := e.cc.NewStream(e.ctx, both, "/test.S/"+method)
				require.NoError(t, err)
				for range requests {
					if err := s.SendMsg(say("1 0")); err != nil {
						require.Equal(t, io.EOF, err)
					}
				}
				require.NoError(t, s.CloseSend())
				n, err := drain(s)
				if requests == 1 {
					require.NoError(t, err)
					require.Equal(t, 1, n)
				} else {
					requireCode(t, codes.Internal, err)
				}
			}
		}
	})
}

func TestMessagesAreTakenOverBySendMsg(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		s := e.stream(t, "EchoStream")
		message := say("")
		const n = 50
		for i := range n {
			message.Value = fmt.Sprint(i)
			require.NoError(t, s.SendMsg(message))
			message.Value = "changed"
		}
		require.NoError(t, s.CloseSend())
		for i := range n {
			require.Equal(t, fmt.Sprint(i), mustRecv(t, s))
		}
		_, err := recv(s)
		require.Equal(t, io.EOF, err)
	})
}

func TestNilMessages(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		out := new(text)
		require.NoError(t, e.cc.Invoke(e.ctx, "/test.S/Nil", (*text)(nil), out))
		require.Empty(t, out.GetValue())
		require.NoError(t, e.cc.Invoke(e.ctx, "/test.S/Echo", nil, out))
		require.Empty(t, out.GetValue())
		s := e.stream(t, "EchoStream")
		require.NoError(t, s.SendMsg(nil))
		require.Empty(t, mustRecv(t, s))
		require.NoError(t, s.CloseSend())
		_, err := recv(s)
		require.Equal(t, io.EOF, err)
	})
}

func TestPreparedMessageIsRefused(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		if e.real {
			return // they are its own
		}
		s := e.stream(t, "EchoStream")
		err := s.SendMsg(&grpc.PreparedMsg{})
		require.Equal(t, codes.Internal, status.Code(err))
	})
}
