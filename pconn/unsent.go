package pconn

import (
	"slices"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
)

// At the end of a connection callers learn whether their requests may be made again elsewhere: only where surely nothing
// of them has left, and nothing will. So what waits to be written then, and of which nothing was given to a write, is
// taken out, whoever has ended the connection; what was begun goes on, unless it is in pieces.

// dropUnsent takes those requests out of what is pending, with what goes before them, that the end of the connection fails
// or will fail: none was given to a write. A Notify stays, since its caller was told that it is queued. It returns descriptors
// for the caller to close, without the lock. Conn.mu is held.
func (c *Conn) dropUnsent() []*bufio.Handles {
	s := &c.st.sender
	if c.st.calls.last <= s.given || s.pending.Len() == 0 {
		return nil
	}
	before, packets := s.pending.Len(), 0
	files := s.pending.Filter(func(head []byte) (size int, stays bool) {
		h, n, err := packet.ParseHeader(head) // of our own making: there is no error
		call := c.failsWithEnd(&h)
		if err == nil && call != nil {
			packets += max(1, call.ref.packets)
			call.unsent = true
		}
		return n + int(h.Size), err != nil || call == nil
	})
	s.pending.headers = slices.DeleteFunc(s.pending.headers, func(h packet.Header) bool { return c.failsWithEnd(&h) != nil })
	c.withdrawn(s.pending, packets, before)
	c.st.repliers.wakeFirst()
	return files
}

// failsWithEnd returns the call that fails with the connection whose request a packet is, or goes before, or nil. Conn.mu
// is held.
func (c *Conn) failsWithEnd(h *packet.Header) *call {
	if !h.Request {
		return nil
	}
	if h.Channel == reservedChannel {
		kind := frame.KindOf(h)
		if kind != frame.KindHeaders && kind != frame.KindFiles || h.Flags&frame.FlagResponse != 0 {
			return nil
		}
	}
	call := c.st.calls.at(h.Tag)
	if call == nil || call.kind == callDropped {
		return nil
	}
	return call
}

// endRequest ends the sending of a request that fails with the connection, and reports whether surely nothing of it has
// left or will. What is in pieces does not hold up the end: it ends with CANCEL, by its caller where one has to
// have its memory back. Conn.mu is held.
func (c *Conn) endRequest(call *call) (unsent bool) {
	unsent = call.tag > c.st.sender.given
	if call.large == nil {
		return unsent
	}
	if call.result == nil && call.kind == callWaits {
		return c.st.sender.dropUntouched(call.large) || unsent
	}
	untouched := c.st.sender.dropUntouched(call.large)
	if !untouched {
		c.endLarge(call, ErrCancelled, c.unlink)
	}
	call.large = nil
	return untouched || unsent
}
