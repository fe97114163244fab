package pconn

import (
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/packetstream/packetstream/packet"
)

// A program that was meant to speak packets and prints a greeting instead would leave its callers
// waiting for the rest of what reads as a packet: "Welcome to" is the start of one of 88 bytes. The
// first packet is therefore looked at as it comes.

// maxFirst is how many bytes of an incomplete first packet are looked at for text.
const maxFirst = 256

// firstPacket returns when the first packet is there, or is not text. It takes nothing.
func (c *Conn) firstPacket() error {
	var warn *time.Timer
	defer func() {
		if warn != nil {
			warn.Stop()
		}
	}()
	for want := 1; ; want++ {
		b, err := c.in.Peek(want)
		if err != nil {
			return c.firstEnd(b, err)
		}
		want = len(b)
		h, n, err := packet.ParseHeader(b)
		switch {
		case err == nil && !h.Request && !c.issued(h.Tag):
			return &ProtocolError{Reason: "the first packet answers nothing that was asked", Quote: clip(b)}
		case err == nil && int64(len(b)-n) >= h.Size,
			err != nil && err != packet.ErrShort,
			len(b) > maxFirst,
			!isText(b):
			c.noteText(nil)
			return nil
		}
		c.noteText(b)
		if warn == nil {
			warn = time.AfterFunc(textDelay, c.logText)
		}
	}
}

// firstEnd is the end of the stream, or of the connection, within the first packet.
func (c *Conn) firstEnd(b []byte, err error) error {
	if len(b) > 0 && isText(b) && errors.Is(err, io.EOF) {
		return textError(b, io.ErrUnexpectedEOF)
	}
	if len(b) > 0 && errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return c.readError(c.startOffset, err)
}

func textError(b []byte, err error) error {
	return &ProtocolError{Reason: "the peer sent text instead of packets", Quote: clip(b), Err: err}
}

// issued reports whether a tag of this number has been sent. One that was not can be in no response.
func (c *Conn) issued(tag uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return tag >= firstTag && tag <= c.st.calls.last
}

// isText reports whether b reads as text, the beginning of a character at its end included.
func isText(b []byte) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && n == 1 && utf8.FullRune(b):
			return false
		case r == utf8.RuneError && n == 1:
			return true
		case r < ' ' && r != '\n' && r != '\r' && r != '\t' && r != '\x1b', r == 0x7f:
			return false
		}
		b = b[n:]
	}
	return true
}

// noteText remembers what an incomplete first packet begins with, or that it is none of text.
func (c *Conn) noteText(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.st.text = nil
	if b != nil {
		c.st.text = clip(b)
	}
}

// Text returns the first bytes that were received if they are no packet yet and read as text, such as
// a greeting or an error message that a program prints where packets were expected; nil otherwise. A
// caller whose context ended may ask for it.
func (c *Conn) Text() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.st.text
}

// logText warns of a first packet that reads as text and does not go on: after a second, and when a
// caller gives up.
func (c *Conn) logText() {
	if b := c.Text(); b != nil {
		c.logf(levelWarn, "the peer seems to send text instead of packets", "text", fmt.Sprintf("%q", b))
	}
}
