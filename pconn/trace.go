package pconn

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/packetstream/packetstream/internal/aside"
	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
)

// TraceVariable is the environment variable that makes any program built with this package log the
// header of every packet: to standard error if it is "stderr", else to the file that it names, to
// which lines are appended. A packet that is sent has its line a little before or after it leaves, so that the lines of
// what several goroutines do at once may come in another order than their packets. Lines that are not taken in time are
// dropped, and a line in their place says how many.
const TraceVariable = "PACKETSTREAM_TRACE"

// traceDepth is how many trace lines may wait to be written. A trace with holes is of less use than
// the memory of a deep queue.
const traceDepth = 16384

// trace writes the headers of packets as lines.
type trace struct {
	queue *aside.Queue[string]
	write func(string)
	file  *os.File // what is ours to close, or nil
	told  uint64   // how many dropped lines the trace has told of; the queue's goroutine's
}

func newTrace(path string) (*trace, error) {
	t := &trace{write: writeStderr}
	if path != "stderr" {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("pconn: %s: %w", TraceVariable, err)
		}
		t.file = f
		t.write = func(line string) { _, _ = f.WriteString(line) }
	}
	t.queue = aside.New(traceDepth, t.line)
	return t, nil
}

// line writes one line, and before it how many were dropped since the last one.
func (t *trace) line(line string) {
	if dropped := t.queue.Dropped(); dropped > t.told {
		t.write(fmt.Sprintf("%d lines dropped about here\n", dropped-t.told))
		t.told = dropped
	}
	t.write(line)
}

// close hands over what is queued, until limit.
func (t *trace) close(limit context.Context) {
	_ = t.queue.Close(limit)
	if t.file != nil {
		_ = t.file.Close()
	}
}

func traceLine(c *Conn, dir string, h *packet.Header) string {
	kind := ""
	switch {
	case h.IsEOF():
		kind = "EOF"
	case h.IsERQ():
		kind = "ERQ"
	case h.Request && h.Channel == reservedChannel:
		kind = fmt.Sprintf("%v flags %#x", frame.KindOf(h), h.Flags)
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
