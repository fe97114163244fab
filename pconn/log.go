package pconn

import (
	"context"
	"log/slog"

	"github.com/packetstream/packetstream/internal/aside"
)

const (
	levelDebug = slog.LevelDebug
	levelInfo  = slog.LevelInfo
	levelWarn  = slog.LevelWarn
	levelError = slog.LevelError
)

// logDepth is how many log records may wait for the logger.
const logDepth = 256

// logQueue hands records to a logger that may be slow, on nobody's time. nil is silent.
type logQueue struct{ queue *aside.Queue[logRecord] }

type logRecord struct {
	level slog.Level
	msg   string
	args  []any
}

func newLogQueue(l *slog.Logger, name string) *logQueue {
	if l == nil {
		return nil
	}
	if name != "" {
		l = l.With("conn", name)
	}
	return &logQueue{aside.New(logDepth, func(r logRecord) {
		l.Log(context.Background(), r.level, r.msg, r.args...)
	})}
}

// logf logs a message with its attributes. Whether the logger wants it is asked on the queue's goroutine
// too, since that is the program's code.
func (c *Conn) logf(level slog.Level, msg string, args ...any) {
	if c.log != nil && !c.log.queue.Put(logRecord{level, msg, args}) {
		c.counters.DroppedLogs.Add(1)
	}
}

// close hands over what is queued, until limit.
func (q *logQueue) close(limit context.Context) {
	if q != nil {
		_ = q.queue.Close(limit) // what is not handed over by then is lost with the connection
	}
}
