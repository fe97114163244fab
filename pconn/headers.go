package pconn

import (
	"context"
	"os"
	"time"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
)

// extra is what HEADERS and FILES say of the packet that follows them. It is the receiver's until that comes.
type extra struct {
	tag      uint64
	response bool
	headers  frame.Headers
	size     int64 // of the metadata, as counted against bounds
	tooLarge int64 // its size, if that is over the bound and nothing of it was kept
	headed   bool  // HEADERS has come
	files    []*os.File
}

// headers keeps a HEADERS for the packet that follows.
func (c *Conn) headers(h *packet.Header) error {
	e := c.extraOf(h)
	e.headed = true
	if h.Size > maxHeaders {
		e.tooLarge = h.Size
		return c.skipPayload(h)
	}
	payload, err := c.readPayload(h)
	if err != nil {
		return err
	}
	if e.headers, err = frame.ParseHeaders(payload); err != nil {
		return badFrame(h, payload, err)
	}
	e.size = e.headers.Size()
	if e.size > maxHeaders {
		e.headers, e.size, e.tooLarge = frame.Headers{}, 0, e.size
	}
	return nil
}

// takeExtra returns what a HEADERS said of the packet whose header just came, or nil. What was said of
// another packet is dropped: that has not followed.
func (c *Conn) takeExtra(tag uint64, response bool) *extra {
	e := c.ext.extra
	if e == nil {
		return nil
	}
	if e.tag != tag || e.response != response {
		c.dropExtra()
		return nil
	}
	c.ext.extra = nil
	return e
}

// extraOf returns the extra that a HEADERS belongs to: that of the FILES before it, or a new one.
func (c *Conn) extraOf(h *packet.Header) *extra {
	response := h.Flags&frame.FlagResponse != 0
	if e := c.ext.extra; e == nil || e.headed || e.tag != h.Tag || e.response != response {
		c.dropExtra()
		c.ext.extra = &extra{tag: h.Tag, response: response}
	}
	return c.ext.extra
}

func (c *Conn) dropExtra() {
	e := c.ext.extra
	if e == nil {
		return
	}
	c.ext.extra = nil
	if e.headed {
		c.counters.LostHeaders.Add(1)
	}
	c.leave(e)
}

// bytes is what the extra counts against the bound of unanswered requests.
func (e *extra) bytes() int64 {
	if e == nil {
		return 0
	}
	return e.size
}

// err is the error of a packet with too much metadata, if it has.
func (e *extra) err(what string) error {
	if e == nil || e.tooLarge == 0 {
		return nil
	}
	return &LimitError{What: what + " metadata, bytes", Value: e.tooLarge, Max: maxHeaders}
}

// checkMetadata finds metadata that is more than the peer takes. The extensions are on.
func (c *Conn) checkMetadata(what string, size int64) error {
	most := int64(min(c.ext.peer.MaxHeaders, maxHeaders))
	if size > most {
		return &LimitError{What: what + " metadata, bytes", Value: size, Max: most}
	}
	return nil
}

// requestHeaders appends to buf what goes before a request, if there is anything. The time left is that of
// ctx only where somebody waits as long as ctx says.
func (c *Conn) requestHeaders(ctx context.Context, call *call, req *Request, buf []byte) []byte {
	f := frame.Headers{Metadata: req.Metadata, Timeout: req.Timeout}
	if call.result == nil && call.kind == callWaits {
		if deadline, ok := ctx.Deadline(); ok {
			left := max(time.Until(deadline), 1)
			if f.Timeout == 0 || left < f.Timeout {
				f.Timeout = left
			}
		}
	}
	if f.Empty() {
		return nil
	}
	return f.Append(buf)
}

// flagOf is the flag of a frame about a packet, which says whether that is a response.
func flagOf(h *packet.Header) uint64 {
	if h.Request {
		return 0
	}
	return frame.FlagResponse
}

// headersBefore is the header of the HEADERS that stand before a packet.
func headersBefore(h *packet.Header, size int) packet.Header {
	return frame.Header(frame.KindHeaders, h.Tag, flagOf(h), size)
}

// appendHeaders appends the HEADERS that stand before a packet to buf, which is what the packet's batch gave: both leave, or
// neither.
func appendHeaders(buf []byte, before *packet.Header, payload []byte) []byte {
	h := headersBefore(before, len(payload))
	buf, _ = h.Append(buf)
	return append(buf, payload...)
}

// hear takes what the caller said beside the request. The handler has not begun.
func (in *incoming) hear(e *extra) {
	in.size += e.size
	in.ctx.req.Metadata = e.headers.Metadata
	in.ctx.req.Files = e.takeFiles()
	if e.headers.Timeout > 0 {
		in.ctx.rest.Store(&handlerRest{deadline: time.Now().Add(e.headers.Timeout)})
	}
}

// replyHeaders is what goes before an ok answer, or the error of too much of it.
func (c *Conn) replyHeaders(in *incoming, r *Reply) ([]byte, error) {
	if !c.ext.on.Load() {
		return nil, nil
	}
	var md *Metadata
	if r.more != nil && len(r.more.metadata) > 0 {
		md = &r.more.metadata
	} else {
		md = in.ctx.reply()
	}
	if md == nil {
		return nil, nil
	}
	f := frame.Headers{Metadata: *md}
	if err := c.checkMetadata("reply", f.Size()); err != nil {
		return nil, Errorf("%w", err)
	}
	return f.Append(nil), nil
}

// errorHeaders is what goes before an answer that tells of an error. Details that are too large are left
// out.
func (c *Conn) errorHeaders(in *incoming, err error) []byte {
	if !c.ext.on.Load() {
		return nil
	}
	var f frame.Headers
	if told, ok := asHandlers[*handlerError](err); ok {
		f.Code, f.Details = told.code, told.details
	} else if deadline, ok := in.ctx.callersDeadline(); ok && time.Until(deadline) <= 0 && isHandlers(err, context.DeadlineExceeded) {
		f.Reason = frame.ReasonDeadline
	}
	if err := c.checkMetadata("error", f.Size()); err != nil {
		c.logf(levelWarn, "details of an error are not sent", "channel", in.channel, "tag", in.tag, "error", err)
		f.Details = nil
	}
	return f.Append(nil)
}

// rejectHeaders is what tells a peer of a rejection more than its text.
func (c *Conn) rejectHeaders(h *packet.Header, text string) []byte {
	if !c.ext.on.Load() || h.Channel == reservedChannel {
		return nil
	}
	f := frame.Headers{Reason: frame.ReasonRefused}
	if text == textShuttingDown || text == textGoingAway {
		f.Reason = frame.ReasonGoingAway
	}
	return f.Append(nil)
}
