// Package reuse keeps the memory of messages that were written or read for the next ones.
package reuse

import (
	"math/bits"
	"sync"
)

const (
	// MinSize (bytes) is from where on memory is kept: less is cheap to make.
	MinSize = 1 << minBits
	// MaxSize (bytes) is up to where memory is kept: more is dear to keep.
	MaxSize = 1 << maxBits

	minBits = 11
	maxBits = 20
)

// Buffers keeps memory by powers of two. What is taken holds whatever it held before, since to clear it can cost more than to fill it. Its
// zero value is ready, and its methods may be called concurrently. They do not block.
type Buffers struct {
	classes [maxBits - minBits + 1]sync.Pool
}

// Take returns memory without bytes and with room for size of them, which is the caller's until GiveBack, or for good.
func (b *Buffers) Take(size int) []byte {
	if size < MinSize || size > MaxSize {
		return make([]byte, 0, size)
	}
	need := bits.Len(uint(size - 1))
	if kept, ok := b.classes[need-minBits].Get().(*[]byte); ok {
		return (*kept)[:0]
	}
	return make([]byte, 0, 1<<need)
}

// GiveBack keeps what Take returned, or what that grew to, and leaves other sizes to the collector. Nobody else may have any of it.
func (b *Buffers) GiveBack(data []byte) {
	size := cap(data)
	if size < MinSize || size > MaxSize || size&(size-1) != 0 {
		return
	}
	b.classes[bits.Len(uint(size-1))-minBits].Put(&data)
}
