package pconn

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// An idle connection is little more than its Conn. The allocator has classes of sizes, of which a field too
// many takes the next: 2,304 bytes after 2,048, 8 of which are the allocator's own, and 288 after 256.
func TestSizesOfWhatAnIdleConnectionHolds(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(Conn{}), uintptr(2048-8))
	require.LessOrEqual(t, unsafe.Sizeof(batch{}), uintptr(256))
}

// What a request leaves to the collector decides how often that runs, which costs more than all else of a small one.
func TestSizeOfWhatARequestLeaves(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(handlerContext{}), uintptr(144))
}

// TestWhatEveryCallNeedsIsTogether counts the cache lines of a Conn that a call touches at the end that makes it: among many connections
// each is a wait for memory.
func TestWhatEveryCallNeedsIsTogether(t *testing.T) {
	const line, header = 64, 8 // the allocator's own comes first
	var c Conn
	lines := map[uintptr]bool{}
	for _, p := range []unsafe.Pointer{
		// Receiving.
		unsafe.Pointer(&c.in), unsafe.Pointer(&c.held), unsafe.Pointer(&c.readAt), unsafe.Pointer(&c.portion), unsafe.Pointer(&c.given),
		unsafe.Pointer(&c.alone.stream), unsafe.Pointer(&c.alone.handed), unsafe.Pointer(&c.beside), unsafe.Pointer(&c.scratch),
		unsafe.Pointer(&c.needs), unsafe.Pointer(&c.watched),
		unsafe.Pointer(&c.ext.on), unsafe.Pointer(&c.ext.extra),
		// What is asked of the options.
		unsafe.Pointer(&c.opts.Grace), unsafe.Pointer(&c.opts.MaxPayload), unsafe.Pointer(&c.opts.MaxHandlers),
		// Counting.
		unsafe.Pointer(&c.counters.PacketsIn), unsafe.Pointer(&c.counters.BytesIn), unsafe.Pointer(&c.counters.RequestsIn),
		unsafe.Pointer(&c.counters.PacketsOut), unsafe.Pointer(&c.counters.BytesOut), unsafe.Pointer(&c.counters.Flushes),
		// Sending.
		unsafe.Pointer(&c.mu), unsafe.Pointer(&c.out), unsafe.Pointer(&c.sending), unsafe.Pointer(&c.st.phase), unsafe.Pointer(&c.st.calls.alone),
		unsafe.Pointer(&c.st.calls.last), unsafe.Pointer(&c.st.callBytes), unsafe.Pointer(&c.st.maxCallBytes), unsafe.Pointer(&c.st.leader),
		unsafe.Pointer(&c.st.freeCall), unsafe.Pointer(&c.st.relieve), unsafe.Pointer(&c.lending), unsafe.Pointer(&c.lone),
		unsafe.Pointer(&c.st.callers.head), unsafe.Pointer(&c.st.repliers.head),
		unsafe.Pointer(&c.st.sender.pending), unsafe.Pointer(&c.st.sender.writing), unsafe.Pointer(&c.st.sender.time),
		unsafe.Pointer(&c.st.sender.due), unsafe.Pointer(&c.st.sender.given), unsafe.Pointer(&c.st.sender.err),
	} {
		lines[(uintptr(p)-uintptr(unsafe.Pointer(&c))+header)/line] = true
	}
	require.LessOrEqual(t, len(lines), 9, "%v", lines)
}
