package pconn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"unicode/utf8"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
)

// CancelError is the cause of a handler's context that ended because the caller gave the request up, or
// because the time is over that the caller gave. It matches context.Canceled or
// context.DeadlineExceeded.
type CancelError struct {
	// Code is that of the caller's cause, if NewError made it, else 0.
	Code uint64
	// Text is that of the caller's cause, if it had one besides the end of its context. At most 128 bytes
	// of it are sent.
	Text string
	// Deadline says that the time to answer is over.
	Deadline bool
}

func (e *CancelError) Error() string {
	s := "pconn: the caller gave up"
	if e.Deadline {
		s = "pconn: the caller's deadline is over"
	}
	if e.Code != 0 {
		s += fmt.Sprintf(" (code %d)", e.Code)
	}
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// Is makes the error match the context error that fits.
func (e *CancelError) Is(target error) bool {
	if e.Deadline {
		return target == context.DeadlineExceeded
	}
	return target == context.Canceled
}

// cancelPayload is what the peer is told of a request that is given up. A long text is left out when
// much waits to be sent already.
func cancelPayload(channel uint64, cause error, short bool) []byte {
	f := frame.Cancel{Channel: channel, Reason: frame.ReasonCancelled}
	if errors.Is(cause, context.DeadlineExceeded) {
		f.Reason = frame.ReasonDeadline
	}
	var told *handlerError
	if errors.As(cause, &told) {
		f.Code = told.code
	}
	if !short && cause != context.Canceled && cause != context.DeadlineExceeded && cause != ErrCancelled {
		f.Text = clipText(cause.Error(), maxCause)
	}
	return f.Append(nil)
}

// clipText cuts a text so that it has at most n bytes and ends with a whole character.
func clipText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// appendCancel queues the CANCEL of a call that was just taken back. It leaves before all else, but never
// before the request. Conn.mu is held.
func (c *Conn) appendCancel(call *call, cause error) (h packet.Header, q queued) {
	s := &c.st.sender
	c.counters.CancelsOut.Add(1)
	payload := cancelPayload(call.channel, cause, s.controlLen() > maxLongCauses)
	h = frame.Header(frame.KindCancel, call.tag, 0, len(payload))
	if call.tag > s.given {
		return h, c.appendTo(s.toFill(), &h, nil, payload)
	}
	// There are no more of them than requests of ours, all of which are bounded.
	return h, c.appendTo(s.controlBatch(), &h, nil, payload)
}

// cancelled takes a CANCEL of the peer.
func (c *Conn) cancelled(h *packet.Header) error {
	payload, err := c.readFields(h)
	if err != nil {
		return err
	}
	f, err := frame.ParseCancel(payload)
	if err != nil {
		return badFrame(h, payload, err)
	}
	handler, unused := c.abandon(f.Channel, h.Tag)
	c.dropFiles(unused)
	if handler == nil {
		return nil
	}
	cause := &CancelError{Code: f.Code, Text: f.Text, Deadline: f.Reason == frame.ReasonDeadline}
	if _, own := handler.callersDeadline(); !own || !cause.Deadline {
		// Otherwise that ends the context in a moment, in the way of deadlines.
		handler.end(cause)
	}
	return nil
}

// abandon gives a request of the peer up. It returns the context of its handler if that is at work, else the files that nobody
// will take.
func (c *Conn) abandon(channel, tag uint64) (atWork *handlerContext, unused []*os.File) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.st
	in := s.incoming.find(channel, tag)
	if in == nil {
		if p := c.ext.partials.take(partialKey{tag, false}); p != nil {
			c.counters.CancelsIn.Add(1)
			return nil, p.more.takeFiles()
		}
		if c.abandonReply(channel, tag) {
			c.counters.CancelsIn.Add(1)
			return nil, nil
		}
	}
	if in == nil || in.abandoned {
		c.counters.StrayCancels.Add(1)
		return nil, nil
	}
	c.counters.CancelsIn.Add(1)
	in.abandoned = true
	if in.state != incomingQueued {
		return in.ctx, nil
	}
	s.queue.remove(in)
	s.incoming.remove(in)
	in.state = incomingDone
	c.step()
	return nil, in.ctx.req.TakeFiles()
}
