package prpc

import (
	"net"
	"sync"
	"syscall"
)

// batchConn holds back what is written between hold and release, so that many WebSocket
// frames leave in one write. Its users write one at a time; hold and release
// come from one goroutine.
type batchConn struct {
	net.Conn
	raw syscall.RawConn // nil if there is no socket

	// mu guards held and pending. Nothing is written under it.
	mu      sync.Mutex
	held    bool
	pending []byte
}

func newBatchConn(conn net.Conn) *batchConn {
	c := &batchConn{Conn: conn}
	if sc, ok := conn.(syscall.Conn); ok {
		c.raw, _ = sc.SyscallConn() // without one, nothing is written without waiting
	}
	return c
}

// Write writes at once, or keeps a copy while writes are held.
func (c *batchConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	if c.held {
		c.pending = append(c.pending, p...)
		c.mu.Unlock()
		return len(p), nil
	}
	c.mu.Unlock()
	return c.Conn.Write(p)
}

// hold begins to keep what is written.
func (c *batchConn) hold() {
	c.mu.Lock()
	c.held = true
	c.mu.Unlock()
}

// flush writes what was kept. Writes stay held.
func (c *batchConn) flush() error {
	var spare []byte
	for {
		c.mu.Lock()
		out := c.pending
		c.pending = spare[:0]
		c.mu.Unlock()
		if len(out) == 0 {
			return nil
		}
		if _, err := c.Conn.Write(out); err != nil {
			return err
		}
		spare = out
		if cap(spare) > 2*keptBuffer {
			spare = nil
		}
	}
}

// size returns the number of bytes kept.
func (c *batchConn) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pending)
}

// release writes what was kept and ends the hold.
func (c *batchConn) release() error {
	for {
		if err := c.flush(); err != nil {
			return err
		}
		// A control frame may have come between the flush and this lock.
		c.mu.Lock()
		if len(c.pending) == 0 {
			c.held = false
			c.mu.Unlock()
			return nil
		}
		c.mu.Unlock()
	}
}

// tryRelease is a release that writes only what the socket takes at once. If it reports
// false, there is more, and writes stay held until the next release.
func (c *batchConn) tryRelease() bool {
	c.mu.Lock()
	out := c.pending
	c.pending = nil
	c.mu.Unlock()
	n := writeNow(c.raw, out)
	c.mu.Lock()
	defer c.mu.Unlock()
	if n == len(out) && len(c.pending) == 0 {
		c.pending = out[:0]
		c.held = false
		return true
	}
	c.pending = append(out[:copy(out, out[n:])], c.pending...)
	return false
}
