package pconn

import (
	"errors"
	"fmt"
	"io"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
)

// Memory that callers pass in is used where it is, for large payloads and for DoInto's buffers, and
// is theirs again as soon as their call returns. A caller that goes away early waits for no more than
// the one system call that has its memory, which cannot block.

// sendRef is where a payload waits that is sent from the caller's own memory.
type sendRef struct {
	batch *batch
	ref   bufio.Ref
}

// releasePayload makes sure that the call's payload is not touched again, since its caller is about
// to return.
func (c *Conn) releasePayload(call *call) {
	c.mu.Lock()
	c.releaseRef(call)
	c.mu.Unlock()
}

// releaseRef takes a payload out that was not begun, and copies the rest of one that was. It waits for
// no more than the one system call that the payload may be in, which does not block. It reports whether nothing
// of the request has left or will. Conn.mu is held.
func (c *Conn) releaseRef(call *call) (unlinked bool) {
	b, ref := call.ref.batch, call.ref.ref
	if b == nil {
		return false
	}
	call.ref = sendRef{}
	for b.State(ref) == bufio.RefLent {
		c.waitReturned()
	}
	before := b.Len()
	if !b.Unlink(ref) {
		b.Detach(ref)
		return false
	}
	b.packets--
	c.counters.Withdrawn.Add(1)
	c.counters.WithdrawnBytes.Add(uint64(before - b.Len()))
	return true
}

// readInto reads a response's payload straight into its caller's buffer, if it fits there, and
// completes the call. The buffer is lent only for reads that cannot block, so that the caller can
// have it back at any time; what comes after it went away is discarded.
func (c *Conn) readInto(h *packet.Header, more *extra) (done bool, err error) {
	for off := int64(0); off < h.Size; {
		call := c.lendBuffer(h)
		if call == nil && off == 0 {
			return false, nil
		}
		if call == nil {
			c.counters.LateResponses.Add(1)
			return true, c.in.Skip(h.Size - off)
		}
		n, err := c.in.TryRead(call.buf[off:h.Size])
		c.returnBuffer(call)
		off += int64(n)
		if errors.Is(err, bufio.ErrWouldBlock) {
			_, err = c.in.Peek(1)
		}
		if errors.Is(err, io.EOF) {
			return true, &ProtocolError{Reason: fmt.Sprintf("the stream ends %d bytes into a payload of %d", off, h.Size),
				Quote: quoteHeader(h, nil), Err: io.ErrUnexpectedEOF}
		}
		if err != nil {
			return true, err
		}
	}
	if call, found := c.claim(h, true); found == claimTaken {
		call.answered(h, call.buf[:h.Size], more)
	}
	return true, nil
}

// lendBuffer returns the call of a response whose payload goes into the caller's buffer, which is the
// receiver's until returnBuffer.
func (c *Conn) lendBuffer(h *packet.Header) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.st.calls.find(h.Channel, h.Tag)
	if call == nil || call.buf == nil || int64(cap(call.buf)) < h.Size {
		return nil
	}
	call.lent = true
	return call
}

func (c *Conn) returnBuffer(call *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	call.lent = false
	if c.st.leavers > 0 {
		c.st.returned.Broadcast()
	}
}

// waitReturned waits for a system call that has memory of a caller's to return, which cannot block.
// Conn.mu is held, but not while it waits.
func (c *Conn) waitReturned() {
	c.st.leavers++
	c.st.returned.Wait()
	c.st.leavers--
}
