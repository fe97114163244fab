package pconn

import "github.com/packetstream/packetstream/packet"

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
	c.countReceived(&h, n)
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
		c.lone = 0
		goOn, err = c.request(&h)
	} else {
		if goOn, err = c.response(&h); !goOn && err == nil {
			return false, nil // nothing of the receiver's may be touched
		}
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

// countReceived counts a packet of n bytes whose header was taken, and tells those who look on.
func (c *Conn) countReceived(h *packet.Header, n int) {
	c.counters.PacketsIn.Add(1)
	c.counters.BytesIn.Add(uint64(n))
	c.watch.received(h, n)
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
	if err == packet.ErrShort {
		c.deliverNow()
		err = h.Read(c.in)
		c.noteRead()
	} else if err == nil {
		err = c.in.Skip(int64(n))
	}
	if err == nil && h.Size >= gatherFrom && h.Size > int64(c.in.Buffered()) {
		c.wrote = c.held
		c.setAwake(false) // what comes takes time even where nothing has to be waited for
	}
	return err
}

// noteRead notes that a read has brought what is buffered.
func (c *Conn) noteRead() {
	c.readAt = clock()
	c.portion.arrived(c.in.Offset(), c.in.Buffered())
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
