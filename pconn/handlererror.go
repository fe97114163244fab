package pconn

import (
	"errors"
	"unicode/utf8"
)

// The text of every error that is not meant for the peer, as the reference has it.
const handlerFailed = "exception during handler"

// errorText is what the peer is told of a handler's error.
func errorText(err error) string {
	h, told := asHandlers[*handlerError](err)
	if !told {
		return handlerFailed
	}
	text := appendText(nil, h.Error())
	for n := maxErrorText; len(text) > maxErrorText; n-- {
		if utf8.RuneStart(text[n]) {
			text = text[:n]
		}
	}
	return string(text)
}

// asHandlers is errors.As for the error of a handler, whose methods may panic: a nil pointer that was
// returned as an error does.
func asHandlers[T error](err error) (target T, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	ok = errors.As(err, &target)
	return target, ok
}

// isHandlers is errors.Is for the error of a handler.
func isHandlers(err, target error) (is bool) {
	defer func() {
		if recover() != nil {
			is = false
		}
	}()
	return errors.Is(err, target)
}

// reportHandlerError tells those who are to know what the peer is not told.
func (c *Conn) reportHandlerError(in *incoming, err error) {
	if p, ok := asHandlers[*PanicError](err); ok {
		c.logf(levelError, "panic in handler", "type", in.typ, "channel", in.channel, "tag", in.tag, "panic", p.Value, "stack", string(p.Stack))
	} else {
		c.logf(levelWarn, "handler failed", "type", in.typ, "channel", in.channel, "tag", in.tag, "error", err)
	}
	if c.opts.OnHandlerError != nil {
		c.runErrorHook(in, err)
	}
}

// runErrorHook calls OnHandlerError and waits for it. It has a goroutine of its own, since it may end that
// or panic, which must cost neither the answer nor receiving.
func (c *Conn) runErrorHook(in *incoming, err error) {
	req := &in.ctx.req
	hook := func(*Conn) { c.opts.OnHandlerError(req, err) }
	call := c.callErrorHook
	if in.marked {
		call = c.callNotification
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }()
		call(hook, c.mark())
	}()
	<-done
}

//go:noinline
func (c *Conn) callErrorHook(hook func(*Conn), _ mark) { hook(c) }
