package pconn

import (
	"errors"
	"time"
)

// ErrPeerSilent says that nothing came from the peer for so long that Options.Keepalive ended the connection.
var ErrPeerSilent = errors.New("pconn: peer is silent")

// keepalive looks whether the peer is alive. Guarded by Conn.mu.
type keepalive struct {
	timer  *time.Timer
	reads  uint64 // of the input, at the last look
	pinged bool   // nothing had come then, and the peer was asked
}

// startKeepalive begins to look after the peer, if that was asked for, now that it can be pinged. Conn.mu is held.
func (c *Conn) startKeepalive() {
	if k := &c.ext.keepalive; c.opts.Keepalive > 0 && k.timer == nil {
		// It must not look before the field is set, which it needs itself.
		k.timer = time.AfterFunc(c.opts.Keepalive, c.lookAfterPeer)
	}
}

// lookAfterPeer is the look, once in every period.
func (c *Conn) lookAfterPeer() {
	reads := c.in.Reads()
	c.mu.Lock()
	k := &c.ext.keepalive
	over := c.st.recvEnded
	silent := reads == k.reads && !c.st.sender.eof
	failed := silent && k.pinged
	k.reads, k.pinged = reads, silent
	if !over {
		k.timer.Reset(c.opts.Keepalive)
	}
	c.mu.Unlock()
	switch {
	case over:
	case failed:
		c.fail(ErrPeerSilent)
	case silent:
		_, _ = c.sendPing(nil) // what stands against it ends the connection anyway
	}
}

// stopKeepalive ends it. Conn.mu is held.
func (c *Conn) stopKeepalive() {
	if c.ext.extended != nil && c.ext.keepalive.timer != nil {
		c.ext.keepalive.timer.Stop()
	}
}

// fail ends the connection with an error from another goroutine than the receiver. Only the first counts.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	if c.st.failure == nil {
		c.st.failure = err
	}
	c.mu.Unlock()
	c.interrupt()
}
