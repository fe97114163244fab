//go:build linux && long

package interop

import "testing"

// Nothing grows with the number of requests served.
func TestLongMemory(t *testing.T) {
	l := newLoad(t, "server")
	l.rise(10, 1_000_000)
	l.end()
}

// Nor with the number of requests that were cancelled, or that the peer never answers.
func TestLongMemoryUnanswered(t *testing.T) {
	l := newLoad(t, "raw")
	l.rise(10, 200_000)
	l.end()
}
