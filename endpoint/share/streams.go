package share

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/packetstream/packetstream/pconn"
)

const (
	// joinBuffer is how many bytes of a stream are copied at once, and held for a writer that waits.
	joinBuffer = 32 << 10

	// lastBytes bounds how long what a connection has sent before it ended may take to reach the child: the child need not
	// read.
	lastBytes = time.Second
)

// open opens a stream at a child for one that a connection has opened, and joins the two.
func (c *Children) open(ctx context.Context, s *pconn.Stream) error {
	to, err := c.pool.OpenStream(ctx, s.Name(), c.named(s.Metadata(), s.Conn()))
	if err != nil {
		return refused(fromChild(ctx, err))
	}
	return join(ctx, s, to)
}

// openBack opens a stream at a connection for one that a child has opened, and joins the two.
func (c *Children) openBack(ctx context.Context, s *pconn.Stream) error {
	conn, err := c.whom(s.Metadata())
	if err != nil {
		return refused(err)
	}
	to, err := conn.OpenStream(ctx, s.Name(), without(s.Metadata()))
	if err != nil {
		return refused(fromConn(ctx, conn, err))
	}
	return join(ctx, s, to)
}

func refused(err error) error { return pconn.Refuse("%w", err) }

// copied is how a direction has ended.
type copied struct {
	from *pconn.Stream // names the direction
	at   *pconn.Stream // the stream that failed
	err  error         // nil if the end was passed on
}

// decides reports whether a direction's failure is the end of the other at once: a reset is. The end of a connection is not
// where something is still to be read that came before it.
func (c copied) decides() bool { return c.err != nil && (c.at == c.from || resetOf(c.err) != nil) }

// join copies both directions between a stream that this end has accepted and the one that it has opened for it, until both
// have ended or one of the streams has failed, and ends the second. How that failed is the error.
func join(ctx context.Context, accepted, opened *pconn.Stream) error {
	ended := make(chan copied, 2)
	// Both end when the streams do, and are waited for below.
	go func() { ended <- copyStream(opened, accepted) }()
	go func() { ended <- copyStream(accepted, opened) }()
	failed, running := await(ctx, accepted, ended)
	var err error
	switch failed.at {
	case nil:
		_ = opened.Close()
	case accepted:
		opened.Reset(codeOf(failed.err))
	case opened:
		err = failure(accepted, failed.err)
		opened.Reset(0)
	}
	_ = accepted.SetDeadline(time.Unix(1, 0)) // if it is closed, so much the better
	for ; running > 0; running-- {
		<-ended
	}
	return err
}

// await waits for the end of a join, and returns what failed, if anything, and how many directions are still copied. ctx is
// that of the stream which was accepted.
func await(ctx context.Context, accepted *pconn.Stream, ended <-chan copied) (failed copied, running int) {
	stop := ctx.Done()
	var late <-chan time.Time // set when the stream's connection has ended
	sent := false             // all that the stream has sent was passed on
	for running = 2; running > 0 && !(sent && late != nil); {
		select {
		case end := <-ended:
			running--
			if end.decides() {
				return end, running
			}
			sent = sent || end.from == accepted && end.err == nil
			if end.err != nil && end.at != accepted {
				failed = end
			}
		case <-stop:
			if reset := resetOf(context.Cause(ctx)); reset != nil {
				return copied{at: accepted, err: reset}, running
			}
			stop = nil
			timer := time.NewTimer(lastBytes)
			defer timer.Stop()
			late = timer.C
		case <-late:
			return copied{at: accepted, err: context.Cause(ctx)}, running
		}
	}
	return failed, running
}

// copyStream copies one direction until its end, and passes that on.
func copyStream(to, from *pconn.Stream) copied {
	buf := make([]byte, joinBuffer)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				if reset := resetOf(err); reset != nil && reset.Remote && reset.Stopped {
					_ = from.CloseRead()
					return copied{from: from}
				}
				return copied{from, to, err}
			}
		}
		switch {
		case err == io.EOF:
			_ = to.CloseWrite()
			return copied{from: from}
		case err != nil:
			return copied{from, from, err}
		}
	}
}

func resetOf(err error) *pconn.StreamError {
	var reset *pconn.StreamError
	if errors.As(err, &reset) {
		return reset
	}
	return nil
}

func codeOf(err error) uint64 {
	if reset := resetOf(err); reset != nil {
		return reset.Code
	}
	return 0
}

// failure passes on to an accepted stream how the one behind it failed: a code by a reset, and a text by the error
// of its handler.
func failure(accepted *pconn.Stream, err error) error {
	reset := resetOf(err)
	switch {
	case reset == nil:
		return fromChild(context.Background(), err)
	case reset.Refused:
		return pconn.Refuse("%s", reset.Text)
	case reset.Code != 0 || reset.Text == "":
		accepted.Reset(reset.Code)
		return nil
	}
	return pconn.Errorf("%s", reset.Text)
}
