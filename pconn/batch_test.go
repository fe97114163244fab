package pconn

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNamedBatchesStay has batches in which payloads were by reference among spare ones. Somebody may ask after the payload until
// its call is over, under this connection's lock, so another connection must not have the batch.
func TestNamedBatchesStay(t *testing.T) {
	var s sender
	named := func() *batch {
		b := new(batch)
		b.EndRef(append(b.Begin(), 'h'), []byte("payload"))
		b.Reset()
		return b
	}
	push := func(b *batch) { s.spare, b.spare = b, s.spare }

	first := named()
	push(first)
	push(new(batch))
	s.leaveSpares()
	require.Same(t, first, s.spare)
	require.Nil(t, first.spare)

	second := named()
	push(second)
	s.leaveSpares()
	require.Same(t, second, s.spare)
	require.Same(t, first, s.spare.spare)
}
