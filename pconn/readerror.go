package pconn

import (
	"errors"
	"io"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/packet"
)

// errEOF is the peer's EOF packet.
var errEOF = errors.New("EOF packet")

// readError gives an error of receiving the form in which it ends the connection. start is where the
// packet in question began.
func (c *Conn) readError(start int64, err error) error {
	at := start - c.startOffset
	var perr *ProtocolError
	var ferr *packet.FormatError
	switch {
	case err == errEOF:
		c.mu.Lock()
		c.st.gotEOF = true
		c.mu.Unlock()
		return ErrPeerClosed
	case errors.As(err, &perr):
		perr.Offset = at
		return perr
	case errors.As(err, &ferr):
		quote, _ := c.in.Peek(c.in.Buffered())
		return &ProtocolError{Offset: at, Reason: "this is not a packet", Quote: clip(quote), Err: err}
	case errors.Is(err, io.ErrUnexpectedEOF):
		quote, _ := c.in.Peek(c.in.Buffered())
		return &ProtocolError{Offset: at, Reason: "the stream ends inside a packet", Quote: clip(quote), Err: err}
	case errors.Is(err, bufio.ErrFilesLost):
		return &ProtocolError{Offset: at, Reason: "not all files that came could be had", Err: err}
	case errors.Is(err, bufio.ErrTooManyFiles):
		return &ProtocolError{Offset: at, Reason: "files came that belong to nothing", Err: err}
	case errors.Is(err, io.EOF):
		return ErrPeerClosed
	}
	return err
}

// clip copies the part of b that an error quotes.
func clip(b []byte) []byte { return append([]byte(nil), b[:min(len(b), maxQuote)]...) }
