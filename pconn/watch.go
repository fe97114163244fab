package pconn

import (
	"context"
	"os"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/tick"
)

// watch is who looks on at a connection's packets: ticks, length functions, the trace. A nil watch is
// nobody.
type watch struct {
	conn    *Conn
	ticker  *tick.Ticker
	recvLen func(int)
	sendLen func(int)
	trace   *trace // nil if there is none
}

func newWatch(c *Conn) (*watch, error) {
	o := &c.opts
	path := os.Getenv(TraceVariable)
	if o.Tick == nil && o.RecvLen == nil && o.SendLen == nil && path == "" {
		return nil, nil
	}
	w := &watch{conn: c, recvLen: o.RecvLen, sendLen: o.SendLen}
	if o.Tick != nil {
		w.ticker = tick.New(o.Tick)
	}
	if path == "" {
		return w, nil
	}
	var err error
	w.trace, err = newTrace(path)
	return w, err
}

func (w *watch) sent(h *packet.Header, n int) {
	if w == nil {
		return
	}
	if w.sendLen != nil {
		w.sendLen(n)
	}
	if *h == (packet.Header{Request: true}) {
		w.tick(tick.EOF)
	} else {
		w.tick(tick.Sent)
	}
	w.line(">", h)
}

func (w *watch) received(h *packet.Header, n int) {
	if w == nil {
		return
	}
	if w.recvLen != nil {
		w.recvLen(n)
	}
	w.tick(tick.Received)
	w.line("<", h)
}

func (w *watch) tick(symbol tick.Symbol) {
	if w != nil && !w.ticker.Tick(symbol) {
		w.conn.counters.DroppedTicks.Add(1)
	}
}

// line traces one header.
func (w *watch) line(dir string, h *packet.Header) {
	if w.trace == nil {
		return
	}
	if !w.trace.queue.Put(traceLine(w.conn, dir, h)) {
		w.conn.counters.DroppedLogs.Add(1)
	}
}

// close hands over what is queued, until limit.
func (w *watch) close(limit context.Context) {
	if w == nil {
		return
	}
	if w.ticker != nil {
		_ = w.ticker.Close(limit) // ticks not taken by then are dropped
	}
	if w.trace != nil {
		w.trace.close(limit)
	}
}
