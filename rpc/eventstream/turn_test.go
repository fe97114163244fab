package eventstream_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/rpc/eventstream"
)

// waitAndReady has an operation whose handler waits for the stream's end, and one whose handler returns at once.
func waitAndReady() *eventstream.Mux {
	mux := eventstream.NewMux()
	mux.HandleFunc("Wait", func(ctx context.Context, _ *eventstream.ServerStream) error {
		<-ctx.Done()
		return nil
	})
	mux.HandleCall("Ready", func(context.Context, *eventstream.Message) (*eventstream.Message, error) { return nil, nil })
	return mux
}

// TestBackOffAfterSlowHandlers opens streams whose handlers wait, and watches for how long each keeps the connection
// from its next call: once, then not for one stream, once, not for three, once, not for seven.
func TestBackOffAfterSlowHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := pair(t, &eventstream.Server{Handler: waitAndReady()}, nil)
		var heldUp []bool
		for range 15 {
			st, err := c.OpenStream(t.Context(), "Wait", nil)
			require.NoError(t, err)
			begin := time.Now()
			_, err = c.Call(t.Context(), "Ready", nil)
			require.NoError(t, err)
			took := time.Since(begin)
			assert.LessOrEqual(t, took, 10*time.Millisecond)
			heldUp = append(heldUp, took > 0)
			require.NoError(t, st.Close())
		}
		const T, F = true, false
		assert.Equal(t, []bool{T, F, T, F, F, F, T, F, F, F, F, F, F, F, T}, heldUp)
	})
}

// TestLooksGrowRare lets handlers return at once for a while. One that waits then keeps the connection from its next
// call for longer than at first, but not for longer than is promised.
func TestLooksGrowRare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := pair(t, &eventstream.Server{Handler: waitAndReady()}, nil)
		for range 200 {
			_, err := c.Call(t.Context(), "Ready", nil)
			require.NoError(t, err)
			time.Sleep(time.Millisecond)
		}
		st, err := c.OpenStream(t.Context(), "Wait", nil)
		require.NoError(t, err)
		begin := time.Now()
		_, err = c.Call(t.Context(), "Ready", nil)
		require.NoError(t, err)
		assert.Greater(t, time.Since(begin), 5*time.Millisecond)
		assert.LessOrEqual(t, time.Since(begin), 25*time.Millisecond)
		require.NoError(t, st.Close())
	})
}

// TestHandlerReturnsDuringRecv leaves a goroutine in Recv behind, which receives for the connection at that moment.
func TestHandlerReturnsDuringRecv(t *testing.T) {
	for _, transport := range []string{"tcp", "pipe"} {
		t.Run(transport, func(t *testing.T) {
			left := make(chan error, 1)
			mux := eventstream.NewMux()
			mux.HandleFunc("Leave", func(ctx context.Context, s *eventstream.ServerStream) error {
				if _, err := s.Recv(ctx); err != nil {
					return err
				}
				receiving := make(chan struct{})
				go func() {
					close(receiving)
					_, err := s.Recv(ctx)
					left <- err
				}()
				<-receiving
				// Most of the times the other is in Recv by then; each order has to be right.
				time.Sleep(time.Millisecond)
				return nil
			})
			mux.HandleCall("Echo", func(_ context.Context, m *eventstream.Message) (*eventstream.Message, error) { return m, nil })
			c := connectOver(t, transport, &eventstream.Server{Handler: mux})
			for range 30 {
				_, err := c.Call(t.Context(), "Leave", nil)
				require.NoError(t, err)
				require.ErrorIs(t, await(t, left, "Recv"), eventstream.ErrStreamClosed)
				m, err := c.Call(t.Context(), "Echo", text("on"))
				require.NoError(t, err)
				require.Equal(t, "on", string(m.Payload))
			}
		})
	}
}
