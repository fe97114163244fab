package pconn

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
)

// receive reads packets until the peer's EOF or an error, which ends the connection, or until it has
// lost receiving to another goroutine. It waits for nobody but the peer: not for a handler, a caller,
// a write, a tick or a log.
func (c *Conn) receive() {
	if err := c.receiveRest(); err != nil {
		c.end(err)
		return
	}
	for {
		if c.alone.handed && c.lendReceiving() {
			return
		}
		goOn, err := c.receiveOne()
		if err != nil {
			c.end(err)
			return
		}
		if !goOn {
			return
		}
	}
}

// receiveOne reads one packet and does what it asks for. Its error ends receiving; otherwise it reports
// whether this goroutine still receives.
func (c *Conn) receiveOne() (goOn bool, err error) {
	start := c.in.Offset()
	var h packet.Header
	if err := c.readHeader(&h); err != nil {
		return false, c.readError(start, err)
	}
	n := int(c.in.Offset()-start) + int(h.Size)
	c.counters.PacketsIn.Add(1)
	c.counters.BytesIn.Add(uint64(n))
	c.watch.received(&h, n)
	if c.alone.stream != nil && !c.alone.goesOn(&h) {
		c.somethingElse(&h)
	}
	if h.Channel != reservedChannel {
		c.countOther()
	}
	goOn = true
	buffered := h.Size <= int64(c.in.Buffered())
	c.held++
	if h.Request {
		c.letCallersRun()
		c.portion.requests++
		goOn, err = c.request(&h)
	} else {
		err = c.response(&h)
		c.beside.answered = c.besideBulk()
	}
	if err != nil {
		if c.rest.left > 0 {
			start = c.rest.start // it is a frame behind this one
		}
		return false, c.readError(start, err)
	}
	if goOn && !buffered {
		c.readAt = clock() // what is behind it has come since
	}
	return goOn, nil
}

// readHeader reads the next header. What inline handlers left to be written is written before anything has to be
// waited for (beforeWait is the input's BeforeWait): so what has come meanwhile is answered by the same write. A portion of
// many and a single answer leave before that is known. So does what was left to receiving (leftToReceiver) when many packets have come
// without a wait: a peer may never let it wait. Before the rest of a large packet all leave.
func (c *Conn) readHeader(h *packet.Header) error {
	b, _ := c.in.Peek(0)
	n, err := h.Parse(b)
	if err != nil {
		c.letCallersRun()
	}
	if c.portion.over(c.in.Offset()) || err != nil && c.held == 1 || c.held-c.wrote >= leftUpTo {
		c.wrote = c.held
		c.flushHeld()
	}
	short := err == packet.ErrShort
	if short {
		c.deliverNow()
		n, err = c.awaitHeader(h, len(b))
	}
	if err == nil {
		err = c.in.Skip(int64(n))
	}
	if short {
		c.readAt = clock()
		c.portion.arrived(c.in.Offset(), c.in.Buffered())
	}
	if err == nil && h.Size >= gatherFrom && h.Size > int64(c.in.Buffered()) {
		c.wrote = c.held
		c.setAwake(false) // what comes takes time even where nothing has to be waited for
	}
	return err
}

// awaitHeader reads until more than so many bytes are buffered and begin with a whole header, and returns how many that takes. A
// goroutine that waits here has as little on its stack as can be, since that is in no cache when it goes on.
func (c *Conn) awaitHeader(h *packet.Header, have int) (n int, err error) {
	for {
		b, err := c.in.Peek(have + 1)
		if len(b) <= have {
			if errors.Is(err, io.EOF) && have > 0 {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		n, err = h.Parse(b)
		if err != packet.ErrShort {
			return n, err
		}
		have = len(b)
	}
}

// claim is what a response finds.
type claim uint8

const (
	claimNone  claim = iota // nobody waits for it
	claimTaken              // the call, which is now the receiver's to complete
	claimLater              // a call, whose payload is to be read first
)

// response finds the call that a response is for and completes it, or drops the response.
func (c *Conn) response(h *packet.Header) error {
	if h.Channel == reservedChannel {
		return c.frameResponse(h)
	}
	if done, err := c.responses(h); done {
		return err
	}
	if p, err := c.takePartial(h); p != nil || err != nil {
		if err == nil {
			err = c.responseInPieces(h, p)
		}
		c.leavePartial(p)
		return err
	}
	more := c.takeExtra(h.Tag, true)
	err := c.responseWith(h, more)
	c.leave(more)
	return err
}

// responseWith is response with what was said of the response.
func (c *Conn) responseWith(h *packet.Header, more *extra) error {
	tooBig := h.Size > c.opts.MaxPayload
	call, found := c.claim(h, tooBig || h.Size <= int64(c.in.Buffered()))
	switch {
	case found == claimNone:
		return c.skipPayload(h)
	case found == claimLater:
		return c.responseLater(h, more)
	case call.kind == callDropped:
		call.complete()
		return c.skipPayload(h)
	case tooBig:
		c.counters.TooLarge.Add(1)
		call.err = tooLarge("response", h.Size, c.opts.MaxPayload)
		call.complete()
		return c.skipPayload(h)
	}
	b, _ := c.in.Peek(0) // all of the payload is buffered
	call.answered(h, call.keep(b[:h.Size]), more)
	return c.in.Skip(h.Size)
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
		c.step()
		return call, claimTaken
	}
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
	c.resp.OK, c.resp.Flags, c.resp.Payload = h.Flags&1 != 0, h.Flags>>1, payload
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
	c.complete()
}

// remoteError is the error of a response that says "not ok".
func (c *call) remoteError(more *extra) error {
	e := &RemoteError{Channel: c.channel, Type: c.typ, Flags: c.resp.Flags, Payload: c.resp.Payload}
	if more != nil {
		e.Code, e.Details, e.Reason = more.headers.Code, more.headers.Details, Reason(more.headers.Reason)
	}
	return e
}

// request takes one request of the peer: it is accepted, rejected or dropped. It reports whether this
// goroutine still receives.
func (c *Conn) request(h *packet.Header) (goOn bool, err error) {
	switch {
	case h.IsEOF():
		return false, errEOF
	case h.IsERQ():
		c.mu.Lock()
		c.st.noMoreRequests = true
		c.mu.Unlock()
		return true, nil
	case h.Type == 0:
		return false, &ProtocolError{Reason: "a request of type 0 that is neither EOF nor ERQ", Quote: quoteHeader(h, nil)}
	}
	if h.Channel == reservedChannel && c.opts.Extensions != ExtensionsOff {
		return true, c.frame(h)
	}
	more := c.takeExtra(h.Tag, false)
	parts, err := c.takePartial(h)
	if err == nil {
		goOn, err = c.requestWith(h, parts, more)
	}
	c.leavePartial(parts)
	c.leave(more)
	return goOn, err
}

// requestWith is request with what came before its packet.
func (c *Conn) requestWith(h *packet.Header, parts *partial, more *extra) (goOn bool, err error) {
	whole := h
	if parts != nil {
		more, whole = parts.more, parts.whole(h)
	}
	handler, known := c.handlerFor(h.Channel)
	// What is to be refused is refused before memory is taken for it, or it is waited for.
	judged := handler == nil || whole.Size > c.opts.MaxPayload || whole.Size >= gatherFrom || h.Size > int64(c.in.Buffered())
	marked := handler != nil && more == nil && parts == nil && isMarked(handler, h.Type-1)
	if judged {
		v, text, err := c.mayAccept(whole, more, handler, known, marked)
		switch {
		case err != nil:
			return false, err
		case v < verdictBusy:
			return true, c.refuse(h, v, text)
		}
		marked = marked && v != verdictBusy
	}
	if marked {
		if done, err := c.runMarked(h, handler, judged); done || err != nil {
			return true, err
		}
	}
	payload, err := c.wholePayload(h, parts)
	if err != nil {
		return false, err
	}
	return c.accept(whole, more, handler, payload, judged)
}

// mayAccept judges a request whose payload is to be read first.
func (c *Conn) mayAccept(h *packet.Header, more *extra, handler Handler, known, marked bool) (v verdict, text string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, text, err = c.judge(h, more, handler, known)
	if v == verdictHere && marked && !c.roomForMarked() {
		v = verdictBusy
	}
	return v, text, err
}

// refuse passes over a request that is not taken up, and rejects it if it is to be answered.
func (c *Conn) refuse(h *packet.Header, v verdict, text string) error {
	if v == verdictReject {
		if err := c.reject(h, text); err != nil {
			return err
		}
	}
	return c.skipPayload(h)
}

// readPayload reads a payload within the limits into memory of its own.
func (c *Conn) readPayload(h *packet.Header) ([]byte, error) {
	if h.Size == 0 {
		return nil, nil
	}
	if h.Size <= int64(c.in.Buffered()) {
		b, _ := c.in.Peek(0)
		payload := bytes.Clone(b[:h.Size]) // which does not clear the memory first
		return payload, c.in.Skip(h.Size)
	}
	payload := make([]byte, min(h.Size, maxUpFront))
	err := c.in.ReadFull(payload)
	for err == nil && int64(len(payload)) < h.Size {
		read := len(payload)
		grown := make([]byte, min(h.Size, int64(2*read)))
		copy(grown, payload)
		payload = grown
		err = c.in.ReadFull(payload[read:])
	}
	return payload, c.payloadError(h, err)
}

// skipPayload passes over a payload that nobody wants.
func (c *Conn) skipPayload(h *packet.Header) error {
	if h.Size <= int64(c.in.Buffered()) {
		return c.in.Skip(h.Size)
	}
	got, _ := c.in.Peek(0)
	quote := clip(got) // an error may be about to quote what is then gone
	err := c.in.Skip(h.Size)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return endsInPayload(h, quote, err)
	}
	return err
}

// payloadError says of the end of the stream that it came inside a payload.
func (c *Conn) payloadError(h *packet.Header, err error) error {
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	got, _ := c.in.Peek(c.in.Buffered())
	return endsInPayload(h, got, err)
}

func endsInPayload(h *packet.Header, got []byte, err error) error {
	return &ProtocolError{Reason: fmt.Sprintf("the stream ends inside a payload of %d bytes", h.Size),
		Quote: quoteHeader(h, got), Err: err}
}

// quoteHeader shows the bytes of a packet whose header was taken already.
func quoteHeader(h *packet.Header, payload []byte) []byte {
	b, _ := h.Append(nil)
	return append(b, payload[:min(len(payload), maxQuote)]...)
}

// errEOF is the peer's EOF packet.
var errEOF = errors.New("EOF packet")

// readError gives an error of receiving the form in which it ends the connection. start is where the
// packet in question began.
func (c *Conn) readError(start int64, err error) error {
	at := start - c.startOffset
	var perr *ProtocolError
	var ferr *packet.FormatError
	switch {
	case err == errEOF:
		c.mu.Lock()
		c.st.gotEOF = true
		c.mu.Unlock()
		return ErrPeerClosed
	case errors.As(err, &perr):
		perr.Offset = at
		return perr
	case errors.As(err, &ferr):
		quote, _ := c.in.Peek(c.in.Buffered())
		return &ProtocolError{Offset: at, Reason: "this is not a packet", Quote: clip(quote), Err: err}
	case errors.Is(err, io.ErrUnexpectedEOF):
		quote, _ := c.in.Peek(c.in.Buffered())
		return &ProtocolError{Offset: at, Reason: "the stream ends inside a packet", Quote: clip(quote), Err: err}
	case errors.Is(err, bufio.ErrFilesLost):
		return &ProtocolError{Offset: at, Reason: "not all files that came could be had", Err: err}
	case errors.Is(err, bufio.ErrTooManyFiles):
		return &ProtocolError{Offset: at, Reason: "files came that belong to nothing", Err: err}
	case errors.Is(err, io.EOF):
		return ErrPeerClosed
	}
	return err
}

// clip copies the part of b that an error quotes.
func clip(b []byte) []byte { return append([]byte(nil), b[:min(len(b), maxQuote)]...) }
