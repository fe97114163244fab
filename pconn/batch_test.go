package pconn

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/packet"
)

// NoBatchChanged says whether anybody has written to what all idle connections share; TestMain asks at the end.
func NoBatchChanged() bool { return !reflect.ValueOf(&noBatch).Elem().IsZero() }

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

// TestLargeBatchesStay has batches leave that are no larger than any connection would have them, and no others.
func TestLargeBatchesStay(t *testing.T) {
	used := func(n int) *batch {
		b := new(batch)
		b.End(append(b.Begin(), make([]byte, n)...))
		b.Reset()
		return b
	}
	var s sender
	s.spare = used(1000)
	s.leaveSpares()
	require.Nil(t, s.spare)

	large := used(maxShared + 1)
	s.spare = large
	s.leaveSpares()
	require.Same(t, large, s.spare)
	require.Same(t, large, s.takeSpare())
}

// TestBatchOfAFullQueueKeepsItsBuffer fills batches to the bound of the queue, and past it by the last packet: who sends so
// much in each round would otherwise pay for another megabyte each time.
func TestBatchOfAFullQueueKeepsItsBuffer(t *testing.T) {
	for _, size := range []int{16, 1 << 10, gatherFrom - 1} {
		b := new(batch)
		data := make([]byte, packet.MaxHeader+size)
		round := func() {
			for b.Len() < maxQueue {
				b.End(append(b.Begin(), data...))
			}
			b.Reset()
		}
		require.Zero(t, testing.AllocsPerRun(3, round), "packets of %d bytes", size)
	}
}
