package pconn

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/bufio"
)

// A batch that had a caller's memory in it is not used for small packets for ever, which would then take the lock for each step.
func TestSmallPacketsGetPlainBatchesBehindLargeOnes(t *testing.T) {
	toIn, toOut := bufio.Pipe(1 << 20)
	fromIn, fromOut := bufio.Pipe(1 << 20)
	peer, err := New(toIn, fromOut, &Options{Handler: NonBlocking(HandlerFunc(func(context.Context, *Request) (Reply, error) { return None(), nil }))})
	require.NoError(t, err)
	defer peer.Close()
	c, err := New(fromIn, toOut, nil)
	require.NoError(t, err)
	defer c.Close()
	call := func(size int) {
		_, err := c.Do(t.Context(), Request{Payload: make([]byte, size)})
		require.NoError(t, err)
	}
	had := func() (n int) {
		c.locked(func() {
			if c.st.sender.pending.HadRefs() {
				n++
			}
			for b := c.st.sender.spare; b != nil; b = b.spare {
				if b.HadRefs() {
					n++
				}
			}
		})
		return n
	}
	for range 10 {
		call(64 << 10)
	}
	require.Positive(t, had())
	for range 10 {
		call(16)
	}
	require.Zero(t, had())
}
