package pconn

import (
	"bytes"

	"github.com/packetstream/packetstream/packet"
)

// claim is what a response finds.
type claim uint8

const (
	claimNone  claim = iota // nobody waits for it
	claimTaken              // the call, which is now the receiver's to complete
	claimLater              // a call, whose payload is to be read first
)

// response finds the call that a response is for and completes it, or drops the response. It reports whether this goroutine
// still receives.
func (c *Conn) response(h *packet.Header) (goOn bool, err error) {
	if h.Channel == reservedChannel {
		c.lone = 0
		return true, c.frameResponse(h)
	}
	if done, err := c.responses(h); done {
		return true, err
	}
	if p, err := c.takePartial(h); p != nil || err != nil {
		if err == nil {
			err = c.responseInPieces(h, p)
		}
		c.leavePartial(p)
		return true, err
	}
	more := c.takeExtra(h.Tag, true)
	goOn, err = c.responseWith(h, more)
	c.leave(more)
	return goOn, err
}

// responseWith is response with what was said of the response.
func (c *Conn) responseWith(h *packet.Header, more *extra) (goOn bool, err error) {
	tooBig := h.Size > c.opts.MaxPayload
	call, found := c.claim(h, tooBig || h.Size <= int64(c.in.Buffered()))
	switch {
	case found == claimNone:
		return true, c.skipPayload(h)
	case found == claimLater:
		return true, c.responseLater(h, more)
	case call.kind == callDropped:
		call.complete()
		return true, c.skipPayload(h)
	case tooBig:
		c.counters.TooLarge.Add(1)
		call.err = tooLarge("response", h.Size, c.opts.MaxPayload)
		call.complete()
		return true, c.skipPayload(h)
	}
	if more == nil && h.Size == int64(c.in.Buffered()) && c.mayGiveReceiving(call) {
		c.giveReceiving(call, h)
		return false, nil
	}
	b, _ := c.in.Peek(0) // all of the payload is buffered
	call.answered(h, call.keep(b[:h.Size]), more)
	return true, c.in.Skip(h.Size)
}

// responseLater reads a payload that is still on its way while the call stays in the table, so that
// its caller may go away meanwhile.
func (c *Conn) responseLater(h *packet.Header, more *extra) error {
	into, err := c.readInto(h, more)
	if err != nil || into {
		return err
	}
	payload, err := c.readPayload(h)
	if err != nil {
		return err
	}
	if call, found := c.claim(h, true); found == claimTaken {
		call.answered(h, payload, more)
	}
	return nil
}

// claim looks the call of a response up and, if take is set, takes it out of the table. A response
// that nobody waits for is counted.
func (c *Conn) claim(h *packet.Header, take bool) (*call, claim) {
	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.st.calls.find(h.Channel, h.Tag)
	switch {
	case call == nil:
		c.countUnclaimed(h)
		return nil, claimNone
	case take || call.kind == callDropped:
		c.st.removeCall(call)
		c.countAnswered()
		c.step()
		return call, claimTaken
	}
	c.lone = 0 // large answers gain nothing by it
	return nil, claimLater
}

// countUnclaimed counts a response for which there is no call: late if the tag was ours once,
// unsolicited if it never was. Conn.mu is held.
func (c *Conn) countUnclaimed(h *packet.Header) {
	if h.Tag >= firstTag && h.Tag <= c.st.calls.last {
		c.counters.LateResponses.Add(1)
		return
	}
	c.counters.Unsolicited.Add(1)
}

// keep copies the response's payload to where the caller gets it: its buffer if that is large enough.
func (c *call) keep(payload []byte) []byte {
	if c.buf != nil && cap(c.buf) >= len(payload) {
		return append(c.buf[:0], payload...)
	}
	if len(payload) == 0 {
		return nil
	}
	return bytes.Clone(payload)
}

// answered completes the call with its response.
func (c *call) answered(h *packet.Header, payload []byte, more *extra) {
	c.answer(h, payload, more)
	c.complete()
}

// answer sets the outcome by the call's response.
func (c *call) answer(h *packet.Header, payload []byte, more *extra) {
	c.resp.OK, c.resp.Flags, c.resp.Payload = h.Flags&1 != 0, h.Flags>>1, payload
	c.unsent = false // a peer may answer what it was not asked, while the connection ends
	if more != nil {
		c.resp.Metadata = more.headers.Metadata
	}
	if !c.resp.OK {
		c.err = c.remoteError(more)
	} else if err := more.err("response"); err != nil {
		c.resp, c.err = Response{}, err
	} else {
		c.resp.Files = more.takeFiles()
	}
}

// remoteError is the error of a response that says "not ok".
func (c *call) remoteError(more *extra) error {
	payload := c.resp.Payload
	if c.buf != nil {
		payload = bytes.Clone(payload) // an error may be kept for longer than the caller's buffer holds this
	}
	e := &RemoteError{Channel: c.channel, Type: c.typ, Flags: c.resp.Flags, Payload: payload}
	if more != nil {
		e.Code, e.Details, e.Reason = more.headers.Code, more.headers.Details, Reason(more.headers.Reason)
	}
	return e
}
