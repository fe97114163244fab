package links

import (
	"math/bits"
	"sync"
)

// buffers keeps the memory of received payloads for the next ones, by powers of two. Its zero value is ready.
type buffers struct {
	classes [bits.UintSize]sync.Pool
}

// take returns memory for size bytes.
func (b *buffers) take(size int) []byte {
	class := bits.Len(uint(size - 1))
	if kept, ok := b.classes[class].Get().(*[]byte); ok {
		return (*kept)[:0]
	}
	if size > maxPooledSize {
		return make([]byte, 0, size)
	}
	return make([]byte, 0, 1<<class)
}

// giveBack keeps memory that take returned, or what it grew to.
func (b *buffers) giveBack(data []byte) {
	size := cap(data)
	if size < pooledSize || size > maxPooledSize || size&(size-1) != 0 {
		return
	}
	b.classes[bits.Len(uint(size-1))].Put(&data)
}
