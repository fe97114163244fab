package eventstream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/eventstreamtest"
	"github.com/packetstream/packetstream/rpc/eventstream"
)

var connect = rawMessage(eventstream.Message{Type: eventstream.MessageTypeConnect}, 0, "")

// pair connects a client to a server inside a bubble of synctest.
func pair(t *testing.T, s *eventstream.Server, opts *eventstream.Options) (c *eventstream.ClientConn, ended <-chan error) {
	t.Helper()
	client, ended := serve(t, s)
	c, err := eventstream.NewClient(t.Context(), client, opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(); <-c.Done() })
	return c, ended
}

func handle(operation string, f eventstream.HandlerFunc) *eventstream.Server {
	mux := eventstream.NewMux()
	mux.Handle(operation, f)
	return &eventstream.Server{Handler: mux}
}

// TestSlowHandlerHoldsBackItsConnection has a handler that takes nothing: what the server holds for it stays bounded,
// the client's sends come to wait, and all arrives once the handler goes on.
func TestSlowHandlerHoldsBackItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		s := handle("Slow", func(ctx context.Context, s *eventstream.ServerStream) error {
			<-goOn
			for n := 0; ; n++ {
				m, err := s.Recv(ctx)
				if err != nil {
					return err
				}
				if string(m.Payload) == "end" {
					return s.Send(ctx, &eventstream.Message{Flags: eventstream.FlagTerminateStream, Payload: []byte(strconv.Itoa(n))})
				}
			}
		})
		s.ReceiveQueue = 8 << 10
		c, _ := pair(t, s, &eventstream.Options{SendQueue: 8 << 10})
		st, err := c.OpenStream(t.Context(), "Slow", nil)
		require.NoError(t, err)
		sent := make(chan int, 1)
		go func() {
			for i := range 100 {
				assert.NoError(t, st.Send(t.Context(), &eventstream.Message{Payload: make([]byte, 1<<10)}))
				sent <- i
			}
			assert.NoError(t, st.Send(t.Context(), text("end")))
			close(sent)
		}()
		stuck := -1
		for waiting := false; !waiting; {
			select {
			case stuck = <-sent:
			case <-time.After(time.Second):
				waiting = true
			}
		}
		assert.Less(t, stuck, 30, "sends go on though nobody receives")

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Equal(t, context.DeadlineExceeded, st.Send(ctx, &eventstream.Message{Payload: make([]byte, 7<<10)}))
		k := c.NewStream(nil)
		require.ErrorIs(t, k.Activate("Slow", &eventstream.Message{Payload: make([]byte, 7<<10)}, nil), eventstream.ErrQueueFull)
		require.ErrorIs(t, c.SendProtocolMessage(&eventstream.Message{
			Type: eventstream.MessageTypePing, Payload: make([]byte, 7<<10),
		}, nil), eventstream.ErrQueueFull)

		close(goOn)
		for range sent {
		}
		m, err := st.Recv(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "101", string(m.Payload))
		require.NoError(t, st.Close())
	})
}

// TestSlowCallbackHoldsBackItsConnection is the same for a client with callbacks: the server cannot send on.
func TestSlowCallbackHoldsBackItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := make(chan int, 200)
		s := handle("Flood", func(ctx context.Context, s *eventstream.ServerStream) error {
			for i := range 200 {
				if err := s.Send(ctx, &eventstream.Message{Payload: make([]byte, 1<<10)}); err != nil {
					return err
				}
				sent <- i
			}
			return nil
		})
		s.SendQueue = 8 << 10
		c, _ := pair(t, s, &eventstream.Options{ReceiveQueue: 8 << 10})
		goOn, closed := make(chan struct{}), make(chan struct{})
		received := 0
		k := c.NewStream(&eventstream.ContinuationHandler{
			Message: func(*eventstream.Continuation, *eventstream.Message) { <-goOn; received++ },
			Closed:  func(*eventstream.Continuation, error) { close(closed) },
		})
		require.NoError(t, k.Activate("Flood", text(""), nil))
		time.Sleep(time.Second)
		assert.Less(t, len(sent), 50)
		close(goOn)
		<-closed
		assert.Equal(t, 201, received, "200 messages and the end")
	})
}

// TestHandlersRunConcurrently has a handler that waits for another stream's, in every way that can wait: the
// receiving goroutine that runs it must let another one receive.
func TestHandlersRunConcurrently(t *testing.T) {
	waits := map[string]func(ctx context.Context, s *eventstream.ServerStream, ready <-chan struct{}) error{
		"on something else": func(_ context.Context, _ *eventstream.ServerStream, ready <-chan struct{}) error {
			<-ready
			return nil
		},
		"in Recv": func(ctx context.Context, s *eventstream.ServerStream, _ <-chan struct{}) error {
			for {
				if _, err := s.Recv(ctx); err != nil {
					return nil
				}
			}
		},
		"in Recv with another context": func(ctx context.Context, s *eventstream.ServerStream, _ <-chan struct{}) error {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			for {
				if _, err := s.Recv(ctx); err != nil {
					return nil
				}
			}
		},
	}
	for name, wait := range waits {
		t.Run(name, func(t *testing.T) {
			for _, transport := range []string{"tcp", "pipe"} {
				t.Run(transport, func(t *testing.T) {
					ready := make(chan struct{})
					mux := eventstream.NewMux()
					mux.HandleFunc("Wait", func(ctx context.Context, s *eventstream.ServerStream) error { return wait(ctx, s, ready) })
					mux.HandleCall("Ready", func(context.Context, *eventstream.Message) (*eventstream.Message, error) { return nil, nil })
					c := connectOver(t, transport, &eventstream.Server{Handler: mux})
					for range 3 {
						st, err := c.OpenStream(t.Context(), "Wait", nil)
						require.NoError(t, err)
						_, err = c.Call(t.Context(), "Ready", nil)
						require.NoError(t, err)
						defer st.Close()
					}
					close(ready)
				})
			}
		})
	}
}

// connectOver connects a client to a server over a transport with deadlines or one without.
func connectOver(t *testing.T, transport string, s *eventstream.Server) *eventstream.ClientConn {
	t.Helper()
	var c *eventstream.ClientConn
	var err error
	if transport == "tcp" {
		l := listen(t, "tcp", "127.0.0.1:0")
		startServer(t, s, l)
		c, err = eventstream.Dial(t.Context(), "tcp", l.Addr().String(), nil)
	} else {
		client, ended := serve(t, s)
		t.Cleanup(func() { _ = s.Close(); await(t, ended, "ServeConn") })
		c, err = eventstream.NewClient(t.Context(), client, nil)
	}
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(); <-c.Done() })
	return c
}

// TestCloseDuringHandlersRecv closes a server whose handler waits in Recv and receives for itself there.
func TestCloseDuringHandlersRecv(t *testing.T) {
	errs := make(chan error, 1)
	s := handle("Wait", func(ctx context.Context, s *eventstream.ServerStream) error {
		_, _ = s.Recv(ctx)
		err := s.Send(ctx, text("ready"))
		if err == nil {
			_, err = s.Recv(ctx)
		}
		errs <- err
		return err
	})
	c := connectOver(t, "tcp", s)
	st, err := c.OpenStream(t.Context(), "Wait", nil)
	require.NoError(t, err)
	_, err = st.Recv(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.ErrorIs(t, await(t, errs, "Recv"), eventstream.ErrClosed)
	require.ErrorIs(t, c.Wait(t.Context()), eventstream.ErrPeerClosed)
}

// TestPingFlood sends pings and reads no answers: the server gives up instead of holding them.
func TestPingFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &eventstream.Server{SendQueue: 64 << 10}
		client, ended := serve(t, s)
		_, err := client.Write(connect)
		require.NoError(t, err)
		ping := rawMessage(eventstream.Message{Type: eventstream.MessageTypePing, Payload: make([]byte, 1<<10)}, 0, "")
		for range 200 {
			if _, err = client.Write(ping); err != nil {
				break
			}
		}
		require.Error(t, err)
		require.ErrorIs(t, <-ended, eventstream.ErrQueueFull)
	})
}

// TestClientAnswersPing is the idiomatic form's part; with a callback answering is the application's.
func TestClientAnswersPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		responses := make(chan *eventstream.Message, 1)
		var conn *eventstream.ServerConn
		s := &eventstream.Server{
			Connect: func(_ context.Context, r *eventstream.ConnectRequest) {
				conn = r.Conn()
				assert.NoError(t, r.Accept(nil, nil))
				assert.ErrorIs(t, r.Accept(nil, nil), eventstream.ErrHandshake)
			},
			ProtocolMessage: func(_ context.Context, _ *eventstream.ServerConn, m *eventstream.Message) bool {
				responses <- m
				return true
			},
		}
		pair(t, s, nil)
		require.NoError(t, conn.SendProtocolMessage(t.Context(), &eventstream.Message{
			Type: eventstream.MessageTypePing, Headers: eventstream.Headers{eventstream.String("k", "v")}, Payload: []byte("p"),
		}))
		got := <-responses
		assert.Equal(t, eventstream.MessageTypePingResponse, got.Type)
		assert.Equal(t, "p", string(got.Payload))
		assert.Equal(t, eventstream.Headers{eventstream.String("k", "v")}, got.Headers.User())
		require.ErrorIs(t, conn.SendProtocolMessage(t.Context(), text("")), eventstream.ErrMessageType)
		require.ErrorIs(t, conn.SendProtocolMessage(t.Context(), &eventstream.Message{Type: eventstream.MessageTypeConnect}), eventstream.ErrHandshake)
		require.ErrorIs(t, conn.Fail(text("")), eventstream.ErrMessageType)
		assert.NotNil(t, conn.NetConn())
	})
}

func TestMaxStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := eventstreamtest.New()
		s.MaxStreams = 2
		c, _ := pair(t, s, nil)
		for range 2 {
			st, err := c.OpenStream(t.Context(), "interop#Hold", nil)
			require.NoError(t, err)
			defer st.Close()
		}
		synctest.Wait()
		_, err := c.Call(t.Context(), "interop#Echo", nil)
		var failure *eventstream.ApplicationError
		require.ErrorAs(t, err, &failure)
		assert.Equal(t, "TooManyStreams", failure.Headers.Text("error-code"))
		assert.True(t, c.IsOpen())
	})
}

func TestHandshakeTimeouts(t *testing.T) {
	t.Run("server", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, ended := serve(t, &eventstream.Server{})
			start := time.Now()
			require.ErrorIs(t, <-ended, eventstream.ErrHandshakeTimeout)
			assert.Equal(t, eventstream.DefaultHandshakeTimeout, time.Since(start))
			_, err := client.Read(make([]byte, 1))
			assert.Equal(t, io.EOF, err)
		})
	})
	t.Run("client", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := eventstreamtest.New()
			client, ended := serve(t, s)
			_, err := eventstream.NewClient(t.Context(), client, &eventstream.Options{
				HandshakeTimeout: time.Second,
				ConnectHeaders:   eventstream.Headers{eventstream.String("interop-connect", "silent")},
			})
			require.ErrorIs(t, err, eventstream.ErrHandshakeTimeout)
			require.ErrorIs(t, <-ended, eventstream.ErrPeerClosed)
		})
	})
	t.Run("client's context", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			client, _ := newPipe()
			_, err := eventstream.NewClient(ctx, client, &eventstream.Options{HandshakeTimeout: -1})
			require.Equal(t, context.DeadlineExceeded, err)
		})
	})
	t.Run("accepted late", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &eventstream.Server{HandshakeTimeout: -1, Connect: func(_ context.Context, r *eventstream.ConnectRequest) {
				time.AfterFunc(time.Hour, func() { assert.NoError(t, r.Accept(nil, []byte("at last"))) })
			}}
			c, _ := pair(t, s, &eventstream.Options{HandshakeTimeout: -1})
			assert.Equal(t, "at last", string(c.Ack().Payload))
		})
	})
}

// TestWriteTimeout has a client that stops reading: the server gives it up, in the end.
func TestWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := eventstreamtest.New()
		s.WriteTimeout = time.Minute
		s.Logger = slog.New(slog.NewTextHandler(&log, nil))
		client, ended := serve(t, s)
		_, err := client.Write(connect)
		require.NoError(t, err)
		start := time.Now()
		require.ErrorIs(t, <-ended, eventstream.ErrWriteTimeout)
		assert.Equal(t, time.Minute, time.Since(start))
		assert.Contains(t, log.String(), "peer does not read")
	})
}

func TestLinger(t *testing.T) {
	reject := func(linger time.Duration, closeFirst bool) time.Duration {
		var took time.Duration
		synctest.Test(t, func(t *testing.T) {
			s := &eventstream.Server{Linger: linger, Connect: func(_ context.Context, r *eventstream.ConnectRequest) {
				assert.NoError(t, r.Reject(nil, []byte("no")))
			}}
			client, ended := serve(t, s)
			got := collect(client)
			_, err := client.Write(connect)
			require.NoError(t, err)
			start := time.Now()
			synctest.Wait()
			require.Len(t, got.messages(t), 1)
			if closeFirst {
				require.NoError(t, client.Close())
			}
			var rejected *eventstream.RejectedError
			require.ErrorAs(t, <-ended, &rejected)
			took = time.Since(start)
			<-got.done
		})
		return took
	}
	assert.Equal(t, eventstream.DefaultLinger, reject(0, false))
	assert.Equal(t, time.Second, reject(time.Second, false))
	assert.Zero(t, reject(-1, false))
	assert.Zero(t, reject(time.Second, true))
}

func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := eventstreamtest.New()
		idle, idleEnded := pair(t, s, nil)
		busy, busyEnded := pair(t, s, nil)
		st, err := busy.OpenStream(t.Context(), "interop#Chat", text("a"))
		require.NoError(t, err)
		synctest.Wait()
		down := make(chan error, 1)
		go func() { down <- s.Shutdown(t.Context()) }()
		synctest.Wait()
		require.NoError(t, <-idleEnded)
		require.ErrorIs(t, idle.Wait(t.Context()), eventstream.ErrPeerClosed)

		_, err = busy.Call(t.Context(), "interop#Echo", nil)
		var failure *eventstream.ApplicationError
		require.ErrorAs(t, err, &failure)
		assert.Equal(t, "ServerShutdown", failure.Headers.Text("error-code"))
		m, err := st.Recv(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "a", string(m.Payload))
		require.NoError(t, st.Close())
		require.NoError(t, <-busyEnded)
		require.NoError(t, <-down)
		require.NoError(t, s.Shutdown(t.Context()))
		client, _ := newPipe()
		require.ErrorIs(t, s.ServeConn(t.Context(), client), eventstream.ErrServerClosed)
	})
}

func TestShutdownGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := eventstreamtest.New()
		c, ended := pair(t, s, nil)
		st, err := c.OpenStream(t.Context(), "interop#Hold", nil)
		require.NoError(t, err)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.Equal(t, context.DeadlineExceeded, s.Shutdown(ctx))
		require.NoError(t, <-ended)
		_, err = st.Recv(t.Context())
		require.ErrorIs(t, err, eventstream.ErrPeerClosed)
	})
}

func TestServeConnContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		client, server := newPipe()
		ended := make(chan error, 1)
		go func() { ended <- eventstreamtest.New().ServeConn(ctx, server) }()
		c, err := eventstream.NewClient(t.Context(), client, nil)
		require.NoError(t, err)
		cancel()
		require.Equal(t, context.Canceled, <-ended)
		require.ErrorIs(t, c.Wait(t.Context()), eventstream.ErrPeerClosed)
	})
}

// flakyListener fails for a while before it accepts.
type flakyListener struct {
	net.Listener
	mu   sync.Mutex
	errs []error
}

func (l *flakyListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, err
	}
	return l.Listener.Accept()
}

type temporary struct{ error }

func (temporary) Temporary() bool { return true }

func TestServeRetriesAccept(t *testing.T) {
	broken := errors.New("broken")
	l := &flakyListener{Listener: listen(t, "tcp", "127.0.0.1:0"), errs: []error{temporary{broken}, temporary{broken}}}
	s := eventstreamtest.New()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c, err := eventstream.Dial(t.Context(), "tcp", l.Addr().String(), nil)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, s.Close())
	require.ErrorIs(t, await(t, served, "Serve"), eventstream.ErrServerClosed)
	require.ErrorIs(t, s.Serve(l), eventstream.ErrServerClosed)

	l = &flakyListener{Listener: listen(t, "tcp", "127.0.0.1:0"), errs: []error{broken}}
	require.Equal(t, broken, new(eventstream.Server).Serve(l))
}

func TestBadSettings(t *testing.T) {
	for _, opts := range []*eventstream.Options{{SendQueue: -1}, {ReceiveQueue: -1}, {MaxMessage: 15}, {MaxMessage: 25 << 20}} {
		client, server := newPipe()
		_, err := eventstream.NewConn(client, nil, opts)
		require.Error(t, err)
		_, err = eventstream.NewClient(t.Context(), client, opts)
		require.Error(t, err)
		s := &eventstream.Server{SendQueue: opts.SendQueue, ReceiveQueue: opts.ReceiveQueue, MaxMessage: opts.MaxMessage}
		require.Error(t, s.ServeConn(t.Context(), server))
	}
	_, err := eventstream.Dial(t.Context(), "tcp", "nowhere", nil)
	require.ErrorContains(t, err, "dial nowhere")
}

func TestMaxMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := eventstreamtest.New()
		s.MaxMessage = 1 << 10
		c, ended := pair(t, s, nil)
		_, err := c.Call(t.Context(), "interop#Echo", &eventstream.Message{Payload: make([]byte, 1<<10)})
		require.ErrorIs(t, err, eventstream.ErrPeerClosed)
		require.ErrorIs(t, <-ended, eventstream.ErrTooLarge)
	})
}

// TestHandlerErrors looks at what the client gets when a handler returns.
func TestHandlerErrors(t *testing.T) {
	tests := map[string]struct {
		err  error
		code string
	}{
		"any error":                   {errors.New("secret"), "InternalFailure"},
		"an application error":        {&eventstream.ApplicationError{Headers: eventstream.Headers{eventstream.String("error-code", "Mine")}}, "Mine"},
		"one that cannot be sent":     {&eventstream.ApplicationError{Headers: numbered(1024)}, ""},
		"nil":                         {nil, ""},
		"a context's, of its own":     {context.Canceled, "InternalFailure"},
		"wrapped, an application one": {errors.Join(io.EOF, &eventstream.ApplicationError{Headers: eventstream.Headers{eventstream.String("error-code", "Mine")}}), "Mine"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := handle("Op", func(context.Context, *eventstream.ServerStream) error { return test.err })
				c, _ := pair(t, s, nil)
				m, err := c.Call(t.Context(), "Op", nil)
				if test.code == "" {
					require.NoError(t, err)
					assert.Empty(t, m.Payload)
					return
				}
				var failure *eventstream.ApplicationError
				require.ErrorAs(t, err, &failure)
				assert.Equal(t, test.code, failure.Headers.Text("error-code"))
				assert.NotContains(t, err.Error(), "secret")
			})
		})
	}
}

// TestBareEndCancelsHandler has a client that drops a subscription.
func TestBareEndCancelsHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := make(chan error, 1)
		s := handle("Subscribe", func(ctx context.Context, s *eventstream.ServerStream) error {
			<-ctx.Done()
			cause <- context.Cause(ctx)
			assert.ErrorIs(t, s.Send(context.Background(), text("late")), eventstream.ErrStreamClosed)
			return nil
		})
		c, _ := pair(t, s, nil)
		st, err := c.OpenStream(t.Context(), "Subscribe", nil)
		require.NoError(t, err)
		require.NoError(t, st.Close())
		require.ErrorIs(t, <-cause, eventstream.ErrStreamClosed)
		_, err = st.Recv(t.Context())
		require.ErrorIs(t, err, eventstream.ErrStreamClosed)
	})
}

// TestTerminatingRequestIsServed has a client that wants no answer: its request is no cancellation.
func TestTerminatingRequestIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := make(chan error, 1)
		s := handle("Notify", func(ctx context.Context, s *eventstream.ServerStream) error {
			time.Sleep(time.Second)
			m, err := s.Recv(ctx)
			assert.NoError(t, err)
			assert.Empty(t, m.Payload)
			assert.NoError(t, s.Send(ctx, text("ignored by the client")))
			_, err = s.Recv(ctx)
			assert.Equal(t, io.EOF, err)
			assert.ErrorIs(t, s.Send(ctx, text("too late")), eventstream.ErrStreamClosed)
			served <- ctx.Err()
			return nil
		})
		c, _ := pair(t, s, nil)
		_, err := c.OpenStream(t.Context(), "Notify", &eventstream.Message{Flags: eventstream.FlagTerminateStream})
		require.NoError(t, err)
		require.NoError(t, <-served)
	})
}

// TestCloseWritesWhatWasAccepted closes right behind a send.
func TestCloseWritesWhatWasAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := newPipe()
		c, err := eventstream.NewConn(client, nil, nil)
		require.NoError(t, err)
		flushed := make(chan error, 2)
		note := func(err error) { flushed <- err }
		require.NoError(t, c.SendProtocolMessage(&eventstream.Message{Type: eventstream.MessageTypeConnect}, note))
		closed := make(chan struct{})
		go func() { defer close(closed); _ = c.Close() }()
		synctest.Wait()
		got := collect(server)
		<-closed
		<-got.done
		assert.Equal(t, string(connect), got.messages(t)[0].bytes)
		require.NoError(t, <-flushed)
	})
}

// TestCloseGivesUp closes a connection whose peer does not read.
func TestCloseGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := newPipe()
		c, err := eventstream.NewConn(client, nil, nil)
		require.NoError(t, err)
		flushed := make(chan error, 1)
		require.NoError(t, c.SendProtocolMessage(&eventstream.Message{Type: eventstream.MessageTypeConnect}, func(err error) { flushed <- err }))
		start := time.Now()
		require.NoError(t, c.Close())
		assert.Equal(t, time.Second, time.Since(start))
		require.Error(t, <-flushed)
		require.NoError(t, c.Wait(t.Context()))
		require.NoError(t, server.Close())
	})
}

// TestCloseWhileHeldBack ends a connection whose receiver waits with the last message of a stream in its hands: the
// stream has to end all the same.
func TestCloseWhileHeldBack(t *testing.T) {
	big := &eventstream.Message{Payload: make([]byte, 4<<10)}
	bigLast := &eventstream.Message{Payload: big.Payload, Flags: eventstream.FlagTerminateStream}
	small := &eventstream.Options{ReceiveQueue: 5 << 10}
	twice := func() *eventstream.Server {
		return handle("Twice", func(ctx context.Context, s *eventstream.ServerStream) error {
			return errors.Join(s.Send(ctx, big), s.Send(ctx, bigLast))
		})
	}
	t.Run("stream", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, _ := pair(t, twice(), small)
			st, err := c.OpenStream(t.Context(), "Twice", nil)
			require.NoError(t, err)
			synctest.Wait()
			require.NoError(t, c.Close())
			_, err = st.Recv(context.Background())
			require.NoError(t, err)
			_, err = st.Recv(context.Background())
			require.ErrorIs(t, err, eventstream.ErrClosed)
		})
	})
	t.Run("continuation", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, _ := pair(t, twice(), small)
			goOn, closed := make(chan struct{}), make(chan error, 1)
			k := c.NewStream(&eventstream.ContinuationHandler{
				Message: func(*eventstream.Continuation, *eventstream.Message) { <-goOn },
				Closed:  func(_ *eventstream.Continuation, reason error) { closed <- reason },
			})
			require.NoError(t, k.Activate("Twice", text(""), nil))
			synctest.Wait()
			require.NoError(t, c.Close())
			close(goOn)
			require.ErrorIs(t, <-closed, eventstream.ErrClosed)
		})
	})
	t.Run("server", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			goOn, received := make(chan struct{}), make(chan error, 2)
			s := handle("Late", func(_ context.Context, s *eventstream.ServerStream) error {
				<-goOn
				for range 2 {
					_, err := s.Recv(context.Background())
					received <- err
				}
				return nil
			})
			s.ReceiveQueue = small.ReceiveQueue
			c, ended := pair(t, s, nil)
			st, err := c.OpenStream(t.Context(), "Late", big)
			require.NoError(t, err)
			require.NoError(t, st.Send(t.Context(), bigLast))
			time.Sleep(time.Second)
			require.NoError(t, s.Close())
			synctest.Wait()
			close(goOn)
			require.NoError(t, <-received)
			require.ErrorIs(t, <-received, eventstream.ErrClosed)
			require.NoError(t, <-ended)
		})
	})
}
