package pconn

import (
	"context"
	"errors"
	"time"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
)

// Wait waits until the connection is over and returns nil after an end in good order (ErrClosed,
// ErrPeerClosed), else what Err returns. Handlers that did not end are in a *StayError beside it.
func (c *Conn) Wait() error {
	<-c.done
	err := c.Err()
	if errors.Is(err, ErrClosed) || errors.Is(err, ErrPeerClosed) {
		var perr *ProtocolError
		if !errors.As(err, &perr) {
			err = nil
		}
	}
	return errors.Join(err, c.stay)
}

// Shutdown ends the connection in good order. No new requests are made and no new streams opened; what is
// outstanding either way is finished, streams included, and handlers may still call. Then EOF is sent, and the peer's EOF, or the end of
// its stream, is waited for. If ctx ends first the connection is closed as by Close, without waiting
// for it, and the error is exactly ctx.Err(); otherwise it is that of Wait.
//
// Called by a handler of this connection, whose own end would have to be waited for, or by OnRecvEOF or
// OnSendEOF, it starts the shutdown and returns nil.
func (c *Conn) Shutdown(ctx context.Context) error {
	c.mu.Lock()
	c.st.shutdown = true
	c.drain()
	c.mu.Unlock()
	if c.caller() != callerOther {
		return nil
	}
	select {
	case <-c.done:
		return c.Wait()
	default:
	}
	select {
	case <-c.done:
		return c.Wait()
	case <-ctx.Done():
		c.beginClose()
		return ctx.Err()
	}
}

// Close ends the connection now. Calls outstanding fail with ErrClosed, the handlers' contexts are
// cancelled, and the handlers are waited for, for at most Options.CloseTimeout; those that stay are
// named in the *StayError that it returns. EOF is sent if the peer takes it in that time. Requests of which nothing has left
// never leave, but those of Notify; one that is leaving in pieces is cut off.
//
// It may be called more than once and from anywhere; by a handler too, whose own end it does not wait
// for. Called by a handler marked NonBlocking, or by OnRecvEOF or OnSendEOF, it does not wait at all.
func (c *Conn) Close() error {
	who := c.caller()
	if who == callerHandler {
		c.mu.Lock()
		c.st.closers++
		c.step()
		c.noteWorkersGone()
		c.mu.Unlock()
	}
	c.beginClose()
	if who == callerNeeded {
		return nil
	}
	<-c.done
	return c.stay
}

func (c *Conn) beginClose() {
	c.closeOne.Do(func() {
		c.cancel(ErrClosed)
		close(c.closing)
		c.mu.Lock()
		unsent := c.dropUnsent()
		c.mu.Unlock()
		c.interrupt()
		closeHandles(unsent)
	})
}

// windDown ends the connection after receiving has ended with err. It runs on the connection's own
// goroutine, and every wait in it is bounded.
func (c *Conn) windDown(err error) {
	c.answerGoodbye()
	err = c.endError(err)
	c.failCalls(err)
	c.notify(c.opts.OnRecvEOF)
	if errors.Is(err, ErrPeerClosed) || errors.Is(err, ErrClosed) {
		c.awaitAnswers()
	}
	c.cancel(err)
	c.dropQueued()
	limit, done := context.WithTimeout(context.Background(), c.opts.CloseTimeout)
	defer done()
	c.awaitSendEnd(limit)
	c.awaitHandlers(limit)
	c.awaitRelieve()
	if c.opts.CloseInput {
		_ = c.in.Close() // nothing is lost that anybody waits for
	}
	c.files.close(limit)
	if c.hooks != nil {
		_ = c.hooks.Close(limit) // a notification that does not return is left behind
	}
	c.watch.close(limit)
	c.log.close(limit)
	close(c.done)
}

// answerGoodbye lets our own EOF go out while the reason of the peer's is still being found out: a peer that
// said EOF may wait for ours, and Options.EndError for what the peer does then.
func (c *Conn) answerGoodbye() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.st.gotEOF {
		c.st.ending = true
		c.drain()
	}
}

// endError finds out what ended the connection, since an interrupted read has more than one reason.
func (c *Conn) endError(err error) error {
	c.mu.Lock()
	sendErr, gotEOF, text, failure := c.st.sender.err, c.st.gotEOF, c.st.text, c.st.failure
	if c.st.sender.helloLost && err == ErrPeerClosed {
		sendErr = nil // HELLO was not asked for
	}
	ours := c.st.shutdown && c.st.calls.n == 0
	c.mu.Unlock()
	select {
	case <-c.closing:
		if errors.Is(err, bufio.ErrInterrupted) {
			err = ErrClosed
		}
	default:
	}
	if errors.Is(err, bufio.ErrInterrupted) && failure != nil {
		err = failure
	}
	if errors.Is(err, bufio.ErrInterrupted) || err == ErrPeerClosed && !gotEOF {
		if sendErr != nil {
			err = sendErr
		}
	}
	if err == ErrPeerClosed && ours {
		err = ErrClosed
	}
	if err == ErrClosed && text != nil {
		return textError(text, ErrClosed)
	}
	if err != ErrClosed && c.opts.EndError != nil {
		err = c.opts.EndError(err)
	}
	return err
}

// failCalls gives the connection's end to everybody who waits for an answer.
func (c *Conn) failCalls(err error) {
	var calls []*call
	c.mu.Lock()
	s := &c.st
	s.recvEnded, s.endErr = true, err
	c.failPings(err)
	parts := c.ext.partials.of
	c.ext.partials = partials{}
	c.stopKeepalive()
	c.settle(err)
	s.calls.all(func(call *call) { calls = append(calls, call) })
	files := c.dropUnsent()
	for _, call := range calls {
		s.removeCall(call)
		call.unsent = c.endRequest(call) || call.unsent
	}
	s.callers.wakeFirst()
	streams := c.failStreams(err)
	watches := s.watches.dropIdle() // which is all of them
	c.drain()
	c.mu.Unlock()
	for _, stop := range watches {
		stop()
	}
	closeHandles(files)
	for _, p := range parts {
		c.leavePartial(p)
	}
	for _, stream := range streams {
		stream.cancel(err)
	}
	for _, call := range calls {
		call.err = err
		call.complete()
	}
	c.logf(levelDebug, "receiving ended", "error", err, "outstanding", len(calls))
}

// notify calls one of the notifications, on nobody's time.
func (c *Conn) notify(hook func(*Conn)) {
	if hook != nil {
		c.hooks.Put(hook)
	}
}

//go:noinline
func (c *Conn) callNotification(hook func(*Conn), _ mark) { hook(c) }

// awaitAnswers waits until the answers to accepted requests have left and EOF behind them, after an end
// in good order.
func (c *Conn) awaitAnswers() {
	limit := time.NewTimer(c.opts.DrainTimeout)
	defer limit.Stop()
	select {
	case <-c.sendEnd:
	case <-limit.C:
	case <-c.closing:
	}
}

// awaitSendEnd waits for handlers whose contexts were cancelled, sends EOF whatever is still at work
// when most of the time is gone, and stops a write that the peer does not take.
func (c *Conn) awaitSendEnd(limit context.Context) {
	most := time.NewTimer(c.opts.CloseTimeout * 3 / 4)
	defer most.Stop()
	select {
	case <-c.sendEnd:
		return
	case <-most.C:
	}
	c.mu.Lock()
	c.queueEOF()
	c.mu.Unlock()
	select {
	case <-c.sendEnd:
	case <-limit.Done():
		c.out.Interrupt()
		_ = c.out.Close()
	}
}

// endSending closes the output, once nothing more will be written to it. The output is closed at once
// because it holds the pipe open.
func (c *Conn) endSending(err error) {
	c.sendOne.Do(func() {
		closeErr := c.out.Close()
		if err == nil {
			eof := packet.Header{Request: true}
			c.countSent(&eof, eof.Len())
			if closeErr != nil {
				c.logf(levelDebug, "closing the output", "error", closeErr)
			}
			c.notify(c.opts.OnSendEOF)
		}
		close(c.sendEnd)
	})
}

// lateInterrupt ends receiving after a moment, when sending has failed.
func (c *Conn) lateInterrupt() {
	time.AfterFunc(lateAnswers, c.interrupt)
}

// awaitHandlers waits for the handlers to end, and remembers those that do not.
func (c *Conn) awaitHandlers(limit context.Context) {
	gone := make(chan struct{})
	c.mu.Lock()
	if c.st.workers <= int(c.st.closers) {
		close(gone)
	} else {
		c.st.workersGone = gone
	}
	c.mu.Unlock()
	select {
	case <-gone:
	case <-limit.Done():
		if stay := c.handlersAtWork(); len(stay) > 0 {
			c.stay = &StayError{Handlers: stay}
			c.logf(levelWarn, "handlers stay", "error", c.stay)
		}
	}
}
