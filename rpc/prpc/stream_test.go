package prpc_test

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/packetstream/packetstream/rpc/prpc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// readerTree has a stream method that reads when it is told to.
func readerTree(t *testing.T, read <-chan struct{}) prpc.Locator {
	t.Helper()
	methods, err := prpc.NewTree(prpc.Tree{
		"ping": func() string { return "pong" },
		"read": func(ctx context.Context, s *prpc.Stream) (int, error) {
			n := 0
			for {
				select {
				case <-read:
				case <-ctx.Done():
					return n, context.Cause(ctx)
				}
				if _, err := s.Recv(ctx); err != nil {
					return n, nil
				}
				n++
			}
		},
	})
	require.NoError(t, err)
	return methods
}

// A reader that stands still holds up nobody else, and its own call only after the
// read timeout.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := connect(t, nil, &prpc.Options{Methods: readerTree(t, nil)})
		call, err := c.Start(t.Context(), prpc.OStream, "read")
		require.NoError(t, err)
		start := time.Now()
		for n := range 1000 {
			require.NoError(t, call.Stream().Send(t.Context(), n))
		}
		pong, err := c.Call(t.Context(), "ping")
		require.NoError(t, err)
		assert.Equal(t, "pong", pong)
		assert.Zero(t, time.Since(start), "the ping was held up")
		_, err = call.Result(t.Context())
		assert.Equal(t, "callee stream buffer is full", remoteErr(t, err, prpc.StatusServerError).Message)
		assert.Equal(t, 5*time.Second, time.Since(start))
	})
}

// A reader that is slow but moves goes on; 32 messages may wait for ever.
func TestSteadyReaderIsNotStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read := make(chan struct{})
		c, _ := connect(t, nil, &prpc.Options{Methods: readerTree(t, read)})
		call, err := c.Start(t.Context(), prpc.OStream, "read")
		require.NoError(t, err)
		const count = 50
		for n := range count {
			require.NoError(t, call.Stream().Send(t.Context(), n))
		}
		require.NoError(t, call.Stream().Close())
		for n := range count + 1 {
			if n == count-32 {
				<-time.After(time.Hour)
			}
			<-time.After(4 * time.Second)
			read <- struct{}{}
		}
		got, err := call.Result(t.Context())
		require.NoError(t, err)
		assert.EqualValues(t, count, got)
	})
}

func TestStreamBytesAreLimited(t *testing.T) {
	for name, limits := range map[string]prpc.Limits{
		"stream": {StreamBytes: 1000}, "connection": {BufferBytes: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _ := connect(t, nil, &prpc.Options{Methods: readerTree(t, nil), Limits: limits, ReadTimeout: -1})
				for range 3 { // what a call held is free after it
					start := time.Now()
					call, err := c.Start(t.Context(), prpc.OStream, "read")
					require.NoError(t, err)
					for range 9 {
						require.NoError(t, call.Stream().Send(t.Context(), make([]byte, 100)))
					}
					synctest.Wait()
					assert.Equal(t, prpc.CallSending, call.State())
					require.NoError(t, call.Stream().Send(t.Context(), make([]byte, 200)))
					<-call.Done()
					_, err = call.Result(t.Context())
					remoteErr(t, err, prpc.StatusServerError)
					assert.Zero(t, time.Since(start))
					synctest.Wait()
				}
			})
		})
	}
}

// A caller that does not read is told so; the callee's method is cancelled.
func TestCallerOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		methods, err := prpc.NewTree(prpc.Tree{"flood": func(ctx context.Context, s *prpc.Stream) error {
			for {
				if err := s.Send(ctx, make([]byte, 1000)); err != nil {
					ended <- context.Cause(ctx)
					return err
				}
			}
		}})
		require.NoError(t, err)
		c, _ := connect(t, nil, &prpc.Options{Methods: methods})
		call, err := c.Start(t.Context(), prpc.IStream, "flood")
		require.NoError(t, err)
		<-call.Done()
		_, err = call.Result(t.Context())
		require.ErrorIs(t, err, prpc.ErrStreamOverflow)
		assert.Equal(t, prpc.CallCancelled, call.State())
		require.ErrorIs(t, <-ended, prpc.ErrCancelled)
	})
}

func TestStreamStatesAndModes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := rawClient(t, nil)
		ctx := t.Context()
		in, err := c.Start(ctx, prpc.IStream, "m")
		require.NoError(t, err)
		out, err := c.Start(ctx, prpc.OStream, "m")
		require.NoError(t, err)
		unary, err := c.Start(ctx, prpc.Unary, "m")
		require.NoError(t, err)
		assert.Equal(t, prpc.StreamRead, in.Stream().Mode())
		assert.Equal(t, prpc.StreamWrite, out.Stream().Mode())
		assert.Equal(t, prpc.StreamOpen, in.Stream().State())
		require.ErrorIs(t, in.Stream().Send(ctx, 1), prpc.ErrStreamMode)
		_, err = out.Stream().Recv(ctx)
		require.ErrorIs(t, err, prpc.ErrStreamMode)

		s := unary.Stream()
		assert.Nil(t, s)
		assert.Zero(t, s.Mode())
		assert.Equal(t, prpc.StreamClosed, s.State())
		require.ErrorIs(t, s.Send(ctx, 1), prpc.ErrNoStream)
		require.ErrorIs(t, s.Close(), prpc.ErrNoStream)
		_, err = s.Recv(ctx)
		require.ErrorIs(t, err, prpc.ErrNoStream)

		// What is buffered at the end can be read; meanwhile the stream is closing.
		send(t, p, l{8, 2, "a"}, l{8, 2, nil}, l{8, 2, "b"}, l{9, 2}, l{8, 2, "late"}, l{9, 2})
		synctest.Wait()
		assert.Equal(t, prpc.StreamClosing, in.Stream().State())
		assert.Equal(t, []any{"a", nil, "b"}, messages(t, in), "nil is a value")
		assert.Equal(t, prpc.StreamClosed, in.Stream().State())
		for range 2 {
			_, err = in.Stream().Recv(ctx)
			require.ErrorIs(t, err, io.EOF)
		}
		require.NoError(t, out.Stream().Close())
		require.NoError(t, out.Stream().Close())
		assert.Equal(t, prpc.StreamClosed, out.Stream().State())
		require.ErrorIs(t, out.Stream().Send(ctx, 1), prpc.ErrStreamClosed)
		require.NoError(t, c.Close())
	})
}

// The end of the connection is no end of a stream.
func TestStreamOfALostConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := rawClient(t, nil)
		call, err := c.Start(t.Context(), prpc.BiStream, "m")
		require.NoError(t, err)
		send(t, p, l{8, 2, "a"})
		synctest.Wait()
		p.drop()
		c.Wait()
		m, err := call.Stream().Recv(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "a", m)
		_, err = call.Stream().Recv(t.Context())
		require.ErrorIs(t, err, prpc.ErrClosed)
		require.NotErrorIs(t, err, io.EOF)
		ended := 0
		for _, err := range call.Stream().All(t.Context()) {
			require.ErrorIs(t, err, prpc.ErrClosed)
			ended++
		}
		assert.Equal(t, 1, ended)
		require.ErrorIs(t, call.Stream().Send(t.Context(), 1), prpc.ErrClosed)
	})
}

// A message that cannot be sent, or is not what is wanted, leaves the stream as it was.
func TestStreamGoesOnAfterABadMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := rawClient(t, nil)
		call, err := c.Start(t.Context(), prpc.BiStream, "m")
		require.NoError(t, err)
		var ee *prpc.EncodeError
		require.ErrorAs(t, call.Stream().Send(t.Context(), make(chan int)), &ee)
		assert.Equal(t, "can not serialize 'chan int' object", ee.Error())
		require.ErrorIs(t, call.Stream().Send(t.Context(), nil), prpc.ErrNilMessage)
		require.ErrorIs(t, call.Stream().Send(t.Context(), (*int)(nil)), prpc.ErrNilMessage)
		require.NoError(t, call.Stream().Send(t.Context(), 1))
		send(t, p, l{8, 2, "text"}, l{8, 2, 7})
		_, err = prpc.Recv[int](t.Context(), call.Stream())
		var de *prpc.DecodeError
		require.ErrorAs(t, err, &de)
		n, err := prpc.Recv[int](t.Context(), call.Stream())
		require.NoError(t, err)
		assert.Equal(t, 7, n)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = call.Stream().Recv(ctx)
		assert.Equal(t, context.DeadlineExceeded, err)
		require.NoError(t, c.Close())
	})
}

// Readers that wait together share the messages, and all see the end.
func TestConcurrentReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := rawClient(t, nil)
		call, err := c.Start(t.Context(), prpc.IStream, "m")
		require.NoError(t, err)
		total := make(chan int, 4)
		for range 4 {
			go func() {
				n := 0
				for _, err := range prpc.Messages[int](context.Background(), call.Stream()) {
					if err == nil {
						n++
					}
				}
				total <- n
			}()
		}
		for n := range 30 {
			send(t, p, l{8, 2, n})
		}
		synctest.Wait()
		send(t, p, l{9, 2})
		sum := 0
		for range 4 {
			sum += <-total
		}
		assert.Equal(t, 30, sum)
		require.NoError(t, c.Close())
	})
}
