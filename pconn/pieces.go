package pconn

import (
	"fmt"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
)

// partials are the payloads that are coming in pieces. Guarded by Conn.mu.
type partials struct {
	of    map[partialKey]*partial
	bytes int64 // of the whole payloads, but for those that are dropped
}

// partialKey is what a piece is a part of: the peer's request, or its response to ours.
type partialKey struct {
	tag      uint64
	response bool
}

// partial is a payload of which pieces have come. Only the receiver looks into it.
type partial struct {
	more    *extra
	total   int64
	got     int64
	buf     []byte // of got bytes, nil if they are not kept here
	into    bool   // they are in the buffer of a caller
	dropped bool   // it is too large: nothing is kept of it
}

// piece takes a part of a payload.
func (c *Conn) piece(h *packet.Header) error {
	c.ext.pieces = true
	key := partialKey{h.Tag, h.Flags&frame.FlagResponse != 0}
	more := c.takeExtra(h.Tag, key.response)
	p, err := c.partialOf(key, h, more)
	if err != nil {
		c.leave(more)
		return err
	}
	if more != nil && (p == nil || p.more != more) {
		c.leave(more)
	}
	if p == nil || p.dropped {
		return c.skipPayload(h)
	}
	return c.readPart(h, p)
}

// partialOf returns what a piece is a part of, or nil for that of a response that nobody waits for.
func (c *Conn) partialOf(key partialKey, h *packet.Header, more *extra) (*partial, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	total := int64(h.Flags >> 1)
	p := c.ext.partials.of[key]
	if p == nil {
		p = &partial{more: more, total: total, dropped: total > c.opts.MaxPayload}
		if key.response {
			call := c.st.calls.at(h.Tag)
			if call == nil || call.kind == callDropped {
				c.counters.LatePieces.Add(1)
				return nil, nil
			}
			p.into = !p.dropped && call.buf != nil && int64(cap(call.buf)) >= total
		}
		if err := c.ext.partials.put(key, p); err != nil {
			return nil, err
		}
	}
	if h.Size == 0 || p.total != total || p.got+h.Size > total {
		return nil, &ProtocolError{Reason: fmt.Sprintf("a piece of %d bytes behind %d of %d, of a payload of %d", h.Size, p.got, p.total, total),
			Quote: quoteHeader(h, nil)}
	}
	p.got += h.Size
	return p, nil
}

func (t *partials) put(key partialKey, p *partial) error {
	if n := len(t.of); n >= maxPartials {
		return &LimitError{What: "payloads in pieces", Value: int64(n) + 1, Max: maxPartials}
	}
	if !p.dropped {
		if t.bytes > 0 && t.bytes+p.total > maxOutstandingBytes {
			return &LimitError{What: "payloads in pieces, bytes", Value: t.bytes + p.total, Max: maxOutstandingBytes}
		}
		t.bytes += p.total
	}
	if t.of == nil {
		t.of = make(map[partialKey]*partial)
	}
	t.of[key] = p
	return nil
}

// take takes a partial out, or returns nil.
func (t *partials) take(key partialKey) *partial {
	p := t.of[key]
	if p == nil {
		return nil
	}
	delete(t.of, key)
	if !p.dropped {
		t.bytes -= p.total
	}
	return p
}

// whole is the header of the packet that h completes.
func (p *partial) whole(h *packet.Header) *packet.Header {
	w := *h
	w.Size = p.total
	return &w
}

// takePartial returns the pieces that came of the payload whose packet came now, or nil. They are the caller's also
// with an error.
func (c *Conn) takePartial(h *packet.Header) (*partial, error) {
	if !c.ext.pieces {
		return nil, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.ext.partials.take(partialKey{h.Tag, !h.Request})
	c.ext.pieces = len(c.ext.partials.of) > 0
	if p == nil {
		return nil, nil
	}
	p.got += h.Size
	if p.got != p.total {
		return p, &ProtocolError{Reason: fmt.Sprintf("a payload of %d bytes in pieces ends after %d", p.total, p.got),
			Quote: quoteHeader(h, nil)}
	}
	return p, nil
}

// readPart reads what a packet has of a payload in pieces, to where the payload is wanted.
func (c *Conn) readPart(h *packet.Header, p *partial) error {
	if p.into {
		begun, err := c.fill(h, p.got-h.Size)
		if !begun && err == nil {
			err = c.skipPayload(h) // the caller has gone away meanwhile
		}
		return err
	}
	old := len(p.buf)
	size := old + int(h.Size)
	if size > cap(p.buf) {
		grown := make([]byte, old, min(p.total, max(2*int64(size), maxUpFront)))
		copy(grown, p.buf)
		p.buf = grown
	}
	p.buf = p.buf[:size]
	return c.payloadError(h, c.in.ReadFull(p.buf[old:]))
}

// wholePayload reads the payload of a request, or the rest of one that came in pieces.
func (c *Conn) wholePayload(h *packet.Header, p *partial) ([]byte, error) {
	if p == nil {
		return c.readPayload(h)
	}
	err := c.readPart(h, p)
	return p.buf, err
}

// responseInPieces reads the rest of a response and completes its call.
func (c *Conn) responseInPieces(h *packet.Header, p *partial) error {
	var err error
	if p.dropped {
		err = c.skipPayload(h)
	} else {
		err = c.readPart(h, p)
	}
	if err != nil {
		return err
	}
	call, found := c.claim(h, true)
	switch {
	case found == claimNone:
	case p.dropped:
		c.counters.TooLarge.Add(1)
		call.err = tooLarge("response", p.total, c.opts.MaxPayload)
		call.complete()
	case p.into:
		call.answered(h, call.buf[:p.total], p.more)
	default:
		call.answered(h, p.buf, p.more)
	}
	return nil
}
