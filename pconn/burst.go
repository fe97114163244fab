package pconn

import "github.com/packetstream/packetstream/packet"

// burst is the responses that one read has brought, up to maxBurst at a time. Their calls are found under one hold
// of the lock, and then completed one by one: callers that were woken already would wait for it with the receiver.
type burst []answer

// answer is one of them.
type answer struct {
	h       packet.Header
	payload []byte // in the input's buffer
	call    *call  // nil if nobody waits for it
}

// maxBurst is how many responses are taken at a time.
const maxBurst = 64

// responses takes the response whose header was just taken together with those behind it that are wholly buffered,
// of which nothing special was said. It reports false, and has done nothing, if there is none to go with the first.
func (c *Conn) responses(first *packet.Header) (done bool, err error) {
	if c.ext.extra != nil || c.ext.pieces {
		return false, nil
	}
	b, _ := c.in.Peek(0)
	if first.Size > c.opts.MaxPayload || first.Size >= int64(len(b)) {
		return false, nil
	}
	at := int(first.Size)
	h, n, ok := c.furtherResponse(b[at:])
	if !ok {
		return false, nil
	}
	begin := at
	all := append(c.burst[:0], answer{h: *first, payload: b[:at]})
	for ok {
		end := at + n + int(h.Size)
		all = append(all, answer{h: h, payload: b[at+n : end]})
		c.watch.received(&h, end-at)
		at = end
		if len(all) == maxBurst {
			break
		}
		h, n, ok = c.furtherResponse(b[at:])
	}
	c.burst = all
	c.held += len(all) - 1 // the first is counted
	c.counters.PacketsIn.Add(uint64(len(all) - 1))
	c.counters.BytesIn.Add(uint64(at - begin))
	c.claimBurst(all)
	for i := range all {
		a := &all[i]
		switch {
		case a.call == nil:
		case a.call.kind == callDropped:
			a.call.complete()
		default:
			a.call.answered(&a.h, a.call.keep(a.payload), nil)
		}
		a.call, a.payload = nil, nil
	}
	return true, c.in.Skip(int64(at))
}

// furtherResponse looks for a response, wholly in b, that is taken as any other. n is what its header takes.
func (c *Conn) furtherResponse(b []byte) (h packet.Header, n int, ok bool) {
	h, n, err := packet.ParseHeader(b)
	ok = err == nil && !h.Request && h.Channel != reservedChannel && h.Size <= int64(len(b)-n) && h.Size <= c.opts.MaxPayload
	return h, n, ok
}

// claimBurst takes the calls of responses out of the table.
func (c *Conn) claimBurst(all burst) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range all {
		a := &all[i]
		a.call = c.st.calls.find(a.h.Channel, a.h.Tag)
		if a.call == nil {
			c.countUnclaimed(&a.h)
			continue
		}
		c.st.removeCall(a.call)
	}
	c.step()
}
