package eventstream_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/rpc/eventstream"
)

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
