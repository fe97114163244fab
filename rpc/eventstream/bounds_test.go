package eventstream_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/eventstreamtest"
	"github.com/packetstream/packetstream/rpc/eventstream"
)

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

// TestUnreadEnds opens streams whose handlers return at once, and reads nothing: the ends wait for room, well or bad,
// and the streams count as open until then.
func TestUnreadEnds(t *testing.T) {
	const streams, queue, maxStreams = 150, 64 << 10, 100
	for name, result := range map[string]error{"well": nil, "badly": &eventstream.ApplicationError{}} {
		open := func(t *testing.T) (client half, ended <-chan error, served *atomic.Int32) {
			served = new(atomic.Int32)
			s := handle("Op", func(context.Context, *eventstream.ServerStream) error {
				served.Add(1)
				return result
			})
			s.SendQueue, s.MaxStreams, s.WriteTimeout = queue, maxStreams, -1
			client, ended = serve(t, s)
			b := slices.Clone(connect)
			for id := range int32(streams) {
				b = append(b, rawMessage(eventstream.Message{}, id+1, "Op")...)
			}
			_, err := client.Write(b)
			require.NoError(t, err)
			return client, ended, served
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, ended, served := open(t)
				synctest.Wait()
				assert.EqualValues(t, streams, served.Load())
				got := collect(client)
				synctest.Wait()
				messages := got.messages(t)
				assert.Len(t, messages, 1+streams)
				for stream, lines := range byStream(messages) {
					assert.Len(t, lines, 1, "stream %d", stream)
				}
				require.NoError(t, client.Close())
				require.ErrorIs(t, <-ended, eventstream.ErrPeerClosed)
				<-got.done
			})
		})
		t.Run(name+", too many", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, ended, served := open(t)
				var err error
				for id := int32(streams + 1); err == nil && id < 10*streams; id++ {
					_, err = client.Write(rawMessage(eventstream.Message{}, id, "Op"))
				}
				require.Error(t, err)
				require.ErrorIs(t, <-ended, eventstream.ErrQueueFull)
				// Each end takes some 600 bytes of the queue.
				assert.Less(t, served.Load(), int32(queue/600+maxStreams+10))
				require.NoError(t, client.Close())
			})
		})
	}
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
