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

// TestBackOffAfterSlowHandlers opens streams whose handlers wait, and watches for how long each keeps the connection
// from its next call: once, then not for one stream, once, not for three, once, not for seven.
func TestBackOffAfterSlowHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mux := eventstream.NewMux()
		mux.HandleFunc("Wait", func(ctx context.Context, _ *eventstream.ServerStream) error {
			<-ctx.Done()
			return nil
		})
		mux.HandleCall("Ready", func(context.Context, *eventstream.Message) (*eventstream.Message, error) { return nil, nil })
		c, _ := pair(t, &eventstream.Server{Handler: mux}, nil)
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
