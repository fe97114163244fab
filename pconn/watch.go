package pconn

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/packetstream/packetstream/internal/aside"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/tick"
)

// TraceVariable is the environment variable that makes any program built with this package log the
// header of every packet: to standard error if it is "stderr", else to the file that it names, to
// which lines are appended.
const TraceVariable = "PACKETSTREAM_TRACE"

// traceDepth is how many trace lines may wait to be written. A trace with holes says so, but is of
// less use: the queue is deep.
const traceDepth = 16384

// watch is who looks on at a connection's packets: ticks, length functions, the trace. A nil watch is
// nobody.
type watch struct {
	conn    *Conn
	ticker  *tick.Ticker
	recvLen func(int)
	sendLen func(int)
	trace   *aside.Queue[string]
	file    *os.File // of the trace, if it is ours to close
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
	out := os.Stderr
	if path != "stderr" {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("pconn: %s: %w", TraceVariable, err)
		}
		w.file, out = f, f
	}
	w.trace = aside.New(traceDepth, func(line string) { _, _ = out.WriteString(line) })
	return w, nil
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
	if !w.trace.Put(traceLine(w.conn, dir, h)) {
		w.conn.counters.DroppedLogs.Add(1)
	}
}

func traceLine(c *Conn, dir string, h *packet.Header) string {
	kind := ""
	switch {
	case h.IsEOF():
		kind = "EOF"
	case h.IsERQ():
		kind = "ERQ"
	case h.Request:
		kind = fmt.Sprintf("request type %d flags %#x", h.Type-1, h.Flags)
	case h.Flags&1 != 0:
		kind = fmt.Sprintf("response ok flags %#x", h.Flags>>1)
	default:
		kind = fmt.Sprintf("response not ok flags %#x", h.Flags>>1)
	}
	return fmt.Sprintf("%s %s %s channel %d tag %d %s payload %d\n",
		time.Now().Format("15:04:05.000000"), c.opts.Name, dir, h.Channel, h.Tag, kind, h.Size)
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
		_ = w.trace.Close(limit)
	}
	if w.file != nil {
		_ = w.file.Close()
	}
}
