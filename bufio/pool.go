package bufio

import "sync"

// The pools hold the buffers of Inputs that have nothing buffered, by their three sizes, as pointers to
// arrays so that putting one back takes no memory.
var (
	smallPool  = sync.Pool{New: func() any { return new([bufferSmall]byte) }}
	middlePool = sync.Pool{New: func() any { return new([bufferMiddle]byte) }}
	largePool  = sync.Pool{New: func() any { return new([MaxPeek]byte) }}
)

// getBuffer returns a buffer of the smallest size that holds n bytes, n being at most MaxPeek.
func getBuffer(n int) []byte {
	switch {
	case n <= bufferSmall:
		return smallPool.Get().(*[bufferSmall]byte)[:]
	case n <= bufferMiddle:
		return middlePool.Get().(*[bufferMiddle]byte)[:]
	}
	return largePool.Get().(*[MaxPeek]byte)[:]
}

// putBuffer takes back what getBuffer gave.
func putBuffer(b []byte) {
	switch len(b) {
	case bufferSmall:
		smallPool.Put((*[bufferSmall]byte)(b))
	case bufferMiddle:
		middlePool.Put((*[bufferMiddle]byte)(b))
	case MaxPeek:
		largePool.Put((*[MaxPeek]byte)(b))
	}
}
