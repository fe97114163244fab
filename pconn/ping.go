package pconn

import (
	"context"
	"time"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
)

// ping is one PING that is waited for.
type ping struct {
	sent instant
	trip time.Duration // set before done is closed, as err is
	err  error
	done chan struct{}
}

// Ping asks the peer for a sign of life and returns how long it took: to the peer's receiving goroutine and
// back, past everything that waits to be sent. It may be called concurrently. If the peer has no extensions
// the error is ErrNoExtensions; when ctx ends first it is exactly ctx.Err(), else that of the connection's
// end.
func (c *Conn) Ping(ctx context.Context) (time.Duration, error) {
	in, err := c.leavePlace(ctx)
	if err != nil {
		return 0, err
	}
	if in != nil {
		defer c.rejoinPlace(in)
	}
	if err := c.awaitExtensions(ctx); err != nil {
		return 0, err
	}
	p := &ping{done: make(chan struct{})}
	tag, err := c.sendPing(p)
	if err != nil {
		return 0, err
	}
	select {
	case <-p.done:
		return p.trip, p.err
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.ext.pings, tag)
		c.mu.Unlock()
		return 0, ctx.Err()
	}
}

// sendPing sends a PING for p, or for nobody if p is nil.
func (c *Conn) sendPing(p *ping) (tag uint64, err error) {
	c.mu.Lock()
	if err := c.st.mayCall(true); err != nil {
		c.mu.Unlock()
		return 0, err
	}
	if c.ext.pings == nil {
		c.ext.pings = make(map[uint64]*ping)
	}
	if p != nil {
		p.sent = c.now()
	}
	tag = c.st.calls.skip()
	c.ext.pings[tag] = p
	h := frame.Header(frame.KindPing, tag, 0, 0)
	q := c.appendTo(c.st.sender.control, &h, nil)
	c.mu.Unlock()
	c.counters.PingsOut.Add(1)
	c.flush(&q)
	return tag, nil
}

// pinged answers a PING.
func (c *Conn) pinged(h *packet.Header) error {
	c.counters.PingsIn.Add(1)
	r := responseHeader(h.Channel, h.Tag, true, 0, 0)
	c.mu.Lock()
	q, err := c.control(&r, nil)
	c.mu.Unlock()
	c.flush(&q)
	if err != nil {
		return err
	}
	return c.skipPayload(h)
}

// pingAnswered takes the answer to a PING, or counts it if nobody waits for it.
func (c *Conn) pingAnswered(h *packet.Header) error {
	c.mu.Lock()
	p, ours := c.ext.pings[h.Tag]
	if !ours {
		c.countUnclaimed(h)
	}
	delete(c.ext.pings, h.Tag)
	c.mu.Unlock()
	if p != nil {
		p.trip = c.now().since(p.sent)
		close(p.done)
	}
	return c.skipPayload(h)
}

// failPings gives the connection's end to everybody who waits for an answer to a PING. Conn.mu is held.
func (c *Conn) failPings(err error) {
	for _, p := range c.ext.pings {
		if p != nil {
			p.err = err
			close(p.done)
		}
	}
	c.ext.pings = nil
}
