// Package syncbuf is a buffer for what a test has written to by one goroutine, such as a log or the standard error of
// a child, and reads in another.
package syncbuf

import (
	"bytes"
	"sync"
)

// Buffer is a bytes.Buffer that may be written and read at the same time.
type Buffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// Write appends to the buffer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String returns what was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
