package pconn

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
)

// Memory that callers pass in is used where it is, for large payloads and for DoInto's buffers, and
// is theirs again as soon as their call returns. A caller that goes away early waits for no more than
// the one system call that has its memory, which cannot block.

// sendRef is where a payload waits that is sent from the caller's own memory.
type sendRef struct {
	batch   *batch
	ref     bufio.Ref
	packets int // that it is: two with the HEADERS before it
}

// releasePayload makes sure that the call's payload is not touched again, since its caller is about
// to return.
func (c *Conn) releasePayload(call *call) {
	c.mu.Lock()
	c.releaseRef(call, ErrCancelled)
	c.unlockAndWrite()
}

// releaseRef takes a payload out that was not begun, and copies the rest of one that was. It waits for
// no more than the one system call that the payload may be in, which does not block. It reports whether the peer need
// not be told: nothing of the request has left or will, or the CANCEL is on its way. Conn.mu is held.
func (c *Conn) releaseRef(call *call, cause error) (done bool) {
	if call.large != nil {
		return c.giveUpLarge(call, cause)
	}
	ref := call.ref
	if ref.batch == nil {
		return false
	}
	call.ref = sendRef{}
	return c.takeOut(ref)
}

// takeOut takes a packet out of its batch, or copies the rest of one that was begun, and reports whether it took it
// out: the payload's memory is not touched again. Conn.mu is held, but not while it waits.
func (c *Conn) takeOut(r sendRef) bool {
	for r.batch.State(r.ref) == bufio.RefLent {
		c.waitReturned()
	}
	if c.unlink(r) {
		return true
	}
	r.batch.Detach(r.ref)
	return false
}

// unlink takes a packet out of its batch, if nothing of it was begun. Conn.mu is held.
func (c *Conn) unlink(r sendRef) bool {
	before := r.batch.Len()
	if !r.batch.Unlink(r.ref) {
		return false
	}
	c.withdrawn(r.batch, r.packets, before)
	return true
}

// withdrawn counts packets that were taken out of a batch, which had so many bytes before. Conn.mu is held.
func (c *Conn) withdrawn(b *batch, packets, before int) {
	b.packets -= packets
	c.counters.Withdrawn.Add(uint64(packets))
	c.counters.WithdrawnBytes.Add(uint64(before - b.Len()))
}

// readInto reads a response's payload straight into its caller's buffer, if it fits there, and
// completes the call.
func (c *Conn) readInto(h *packet.Header, more *extra) (done bool, err error) {
	done, err = c.fill(h, 0)
	if !done || err != nil {
		return done, err
	}
	if call, found := c.claim(h, true); found == claimTaken {
		call.answered(h, call.buf[:h.Size], more)
	}
	return true, nil
}

// fill reads the payload of a response, or a part of it in a PIECE, into its caller's buffer from at on. It reports
// false, and has read nothing, if there is no caller with such a buffer. The buffer is lent only for reads that
// cannot block, so that the caller can have it back at any time; what comes after it went away is discarded.
func (c *Conn) fill(h *packet.Header, at int64) (begun bool, err error) {
	for off := int64(0); off < h.Size; {
		call := c.lendBuffer(h, at+h.Size)
		if call == nil && off == 0 {
			return false, nil
		}
		if call == nil {
			return true, c.in.Skip(h.Size - off)
		}
		n, err := c.in.TryRead(call.buf[at+off : at+h.Size])
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
	return true, nil
}

// lendBuffer returns the call of a response, or of a PIECE of one, whose payload of size bytes goes into the caller's
// buffer, which is the receiver's until returnBuffer.
func (c *Conn) lendBuffer(h *packet.Header, size int64) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.st.calls.at(h.Tag)
	if call == nil || call.buf == nil || int64(cap(call.buf)) < size || h.Channel != reservedChannel && h.Channel != call.channel {
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

// waitReturned waits for a system call that has memory of a caller's to return, which cannot block, or for relieve.
// Conn.mu is held, but not while it waits.
func (c *Conn) waitReturned() {
	if c.st.returned == nil {
		c.st.returned = sync.NewCond(&c.mu)
	}
	c.st.leavers++
	c.st.returned.Wait()
	c.st.leavers--
}
