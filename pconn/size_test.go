package pconn

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// An idle connection is little more than its Conn and a batch. The allocator has classes of sizes, of which a field too
// many takes the next: 2,304 bytes after 2,048, 8 of which are the allocator's own, and 288 after 256.
func TestSizesOfWhatAnIdleConnectionHolds(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(Conn{}), uintptr(2048-8))
	require.LessOrEqual(t, unsafe.Sizeof(batch{}), uintptr(256))
}

// What a request leaves to the collector decides how often that runs, which costs more than all else of a small one.
func TestSizeOfWhatARequestLeaves(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(handlerContext{}), uintptr(144))
}
