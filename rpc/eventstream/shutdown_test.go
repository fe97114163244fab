package eventstream_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/eventstreamtest"
	"github.com/packetstream/packetstream/rpc/eventstream"
)

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
