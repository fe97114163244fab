package pconn_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/syncbuf"
	"github.com/packetstream/packetstream/pconn"
)

// logger logs all there is to a buffer.
func logger(to *syncbuf.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestLogTellsWhatPeersAreNotTold(t *testing.T) {
	var logs syncbuf.Buffer
	o := serve(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		if req.Type == 1 {
			panic("a secret panic")
		}
		return pconn.None(), errors.New("a secret error")
	})
	o.Logger, o.Name = logger(&logs), "server"
	p := raw(t, o)
	p.write(request(5, 0, ""))
	p.expectResponse(5, false, failedText)
	p.write(request(6, 1, ""))
	p.expectResponse(6, false, failedText)
	p.write(eof)
	receiveFrom(t, p.conn.Done())
	text := logs.String()
	for _, want := range []string{"conn=server", "a secret error", "a secret panic", "log_test.go", "type=1", "tag=5"} {
		require.Contains(t, text, want)
	}
}

func TestLogTellsOfRejections(t *testing.T) {
	var logs syncbuf.Buffer
	p := raw(t, &pconn.Options{Logger: logger(&logs)})
	p.write(request(5, 8, ""))
	p.expectResponse(5, false, "no request handler")
	p.write(eof)
	receiveFrom(t, p.conn.Done())
	require.Regexp(t, `level=INFO msg="request rejected".* tag=5 type=8 reason="no request handler"`, logs.String())
}

// stuckHandler is a slog.Handler that does not return.
type stuckHandler struct {
	slog.Handler
	free chan struct{}
}

func (h stuckHandler) Handle(context.Context, slog.Record) error { <-h.free; return nil }

func TestLoggerThatBlocks(t *testing.T) {
	free := make(chan struct{})
	o := &pconn.Options{Logger: slog.New(stuckHandler{slog.NewTextHandler(io.Discard, nil), free}), CloseTimeout: 50 * time.Millisecond}
	p := raw(t, o)
	for tag := range uint64(1000) { // each is logged as rejected
		p.write(request(tag+2, 1, "x"))
		p.expectResponse(tag+2, false, "no request handler")
	}
	require.Greater(t, p.conn.Counters().DroppedLogs.Load(), uint64(500), "what it does not take is dropped and counted")
	within(t, func() { p.conn.Close() })
	close(free)
}

// slowToSay is a slog.Handler that does not say whether it wants a record.
type slowToSay struct {
	slog.Handler
	free chan struct{}
}

func (h slowToSay) Enabled(context.Context, slog.Level) bool { <-h.free; return false }

func TestLoggerThatBlocksBeforeItsRecords(t *testing.T) {
	free := make(chan struct{})
	o := &pconn.Options{Logger: slog.New(slowToSay{slog.DiscardHandler, free}), CloseTimeout: 50 * time.Millisecond}
	p := raw(t, o)
	p.write(request(5, 1, "x")) // is logged as rejected
	p.expectResponse(5, false, "no request handler")
	within(t, func() { p.conn.Close() })
	close(free)
}
