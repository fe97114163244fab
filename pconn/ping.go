package pconn

import (
	"context"
	"slices"
	"time"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
)

// pings are the PINGs that are not answered. There are never more than callers wait for, one of keepalive's and one that
// measures the round trip, however many were given up. Guarded by Conn.mu.
type pings struct {
	waited map[uint64][]*ping // who waits for the answer, by tag
	queued uint64             // the tag of one that has not begun to leave and serves whoever comes, or 0
	alive  uint64             // the tag of keepalive's last
	trip   uint64             // the tag of the one that measures the round trip
	sent   instant            // when that was
}

// ping is one caller that waits for an answer.
type ping struct {
	sent instant
	trip time.Duration // set before done is closed, as err is
	err  error
	done chan struct{}
}

// leave forgets a caller that has given up.
func (t *pings) leave(tag uint64, p *ping) {
	all := t.waited[tag]
	i := slices.Index(all, p)
	switch {
	case i < 0: // the answer has come just now
	case len(all) == 1:
		delete(t.waited, tag)
	default:
		t.waited[tag] = slices.Delete(all, i, i+1)
	}
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
		c.ext.pings.leave(tag, p)
		c.mu.Unlock()
		return 0, ctx.Err()
	}
}

// sendPing sends a PING for p, or for keepalive if p is nil. While one waits to be sent, it is for all who come.
func (c *Conn) sendPing(p *ping) (tag uint64, err error) {
	c.mu.Lock()
	if err := c.st.mayCall(true); err != nil {
		c.mu.Unlock()
		return 0, err
	}
	t := &c.ext.pings
	var q queued
	var h packet.Header
	if t.queued == 0 {
		t.queued = c.st.calls.skip()
		h = frame.Header(frame.KindPing, t.queued, 0, 0)
		q = c.appendTo(c.st.sender.controlBatch(), &h, nil, nil)
		c.counters.PingsOut.Add(1)
	} else if !c.st.sender.graceArmed {
		c.wakeSender() // whoever queued it may not be about to write
	}
	tag = t.queued
	if p == nil {
		t.alive = tag
	} else {
		p.sent = clock()
		if t.waited == nil {
			t.waited = make(map[uint64][]*ping)
		}
		t.waited[tag] = append(t.waited[tag], p)
	}
	c.mu.Unlock()
	c.flush(&h, q)
	return tag, nil
}

// measureTrip adds a PING that measures the round trip to what the caller is about to have written. Conn.mu is held.
func (c *Conn) measureTrip(now instant) {
	s, t := &c.st.sender, &c.ext.pings
	if s.eof || s.err != nil {
		return
	}
	if t.queued == 0 {
		t.queued = c.st.calls.skip()
		c.addFrame(s.controlBatch(), frame.KindPing, t.queued, 0, nil)
		c.counters.PingsOut.Add(1)
	}
	t.trip, t.sent = t.queued, now
}

// pinged answers a PING.
func (c *Conn) pinged(h *packet.Header) error {
	c.counters.PingsIn.Add(1)
	r := packet.Header{Channel: h.Channel, Tag: h.Tag, Flags: responseFlags(true, 0)}
	c.mu.Lock()
	q, err := c.control(&r, nil, nil)
	c.mu.Unlock()
	c.flush(&r, q)
	if err != nil {
		return err
	}
	return c.skipPayload(h)
}

// pingAnswered takes the answer to a PING, or counts it if nobody waits for it.
func (c *Conn) pingAnswered(h *packet.Header) error {
	c.mu.Lock()
	t := &c.ext.pings
	waited := t.waited[h.Tag]
	delete(t.waited, h.Tag)
	switch {
	case h.Tag == t.alive && t.alive != 0:
		t.alive = 0
	case h.Tag == t.trip && t.trip != 0: // counted below
	case len(waited) == 0:
		c.countUnclaimed(h)
	}
	if h.Tag == t.trip && t.trip != 0 {
		now := clock()
		c.st.streams.trip.measured(now.since(t.sent), now)
		t.trip = 0
	}
	c.mu.Unlock()
	for _, p := range waited {
		p.trip = clock().since(p.sent)
		close(p.done)
	}
	return c.skipPayload(h)
}

// failPings gives the connection's end to everybody who waits for an answer to a PING. Conn.mu is held.
func (c *Conn) failPings(err error) {
	if c.ext.extended == nil {
		return
	}
	for _, waited := range c.ext.pings.waited {
		for _, p := range waited {
			p.err = err
			close(p.done)
		}
	}
	c.ext.pings = pings{}
}
