package pconn

import (
	"sync"

	"github.com/packetstream/packetstream/packet"
)

// burst is the responses that one read has brought, up to maxBurst at a time. Their calls are found under one hold
// of the lock, and then completed one by one: callers that were woken already would wait for it with the receiver.
type burst [maxBurst]answer

// answer is one of them.
type answer struct {
	h    packet.Header
	at   int   // where in the input's buffer its payload is
	call *call // nil if nobody waits for it
}

// maxBurst is how many responses are taken at a time.
const maxBurst = 64

// bursts are for whatever connection receives one next.
var bursts = sync.Pool{New: func() any { return new(burst) }}

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
	all := bursts.Get().(*burst)
	defer bursts.Put(all)
	begin := int(first.Size)
	n, end := c.gather(all, first, b, begin)
	if n == 1 {
		return false, nil
	}
	c.held += int32(n - 1) // the first is counted
	c.counters.PacketsIn.Add(uint64(n - 1))
	c.counters.BytesIn.Add(uint64(end - begin))
	c.claimBurst(all[:n])
	for i := range all[:n] {
		a := &all[i]
		switch {
		case a.call == nil:
		case a.call.kind == callDropped:
			a.call.complete()
		default:
			a.call.answered(&a.h, a.call.keep(b[a.at:a.at+int(a.h.Size)]), nil)
		}
		a.call = nil
	}
	return true, c.in.Skip(int64(end))
}

// gather fills all with the first response and those from b[at:] on that are as any other, and returns how many those are
// and where they end.
func (c *Conn) gather(all *burst, first *packet.Header, b []byte, at int) (n, end int) {
	all[0].h, all[0].at = *first, 0
	for n = 1; n < maxBurst; n++ {
		a := &all[n]
		took, ok := c.furtherResponse(&a.h, b[at:])
		if !ok {
			break
		}
		a.at = at + took
		size := took + int(a.h.Size)
		c.watch.received(&a.h, size)
		at += size
	}
	return n, at
}

// furtherResponse looks for a response, wholly in b, that is taken as any other. n is what its header takes.
func (c *Conn) furtherResponse(h *packet.Header, b []byte) (n int, ok bool) {
	n, err := h.Parse(b)
	ok = err == nil && !h.Request && h.Channel != reservedChannel && h.Size <= int64(len(b)-n) && h.Size <= c.opts.MaxPayload
	return n, ok
}

// claimBurst takes the calls of responses out of the table.
func (c *Conn) claimBurst(all []answer) {
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
	c.lone = 0
	c.st.sender.awake = true // their callers are about to make requests again
	c.step()
}
