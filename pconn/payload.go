package pconn

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/packetstream/packetstream/packet"
)

// readPayload reads a payload within the limits into memory of its own.
func (c *Conn) readPayload(h *packet.Header) ([]byte, error) {
	if h.Size == 0 {
		return nil, nil
	}
	if h.Size <= int64(c.in.Buffered()) {
		b, _ := c.in.Peek(0)
		payload := bytes.Clone(b[:h.Size]) // which does not clear the memory first
		return payload, c.in.Skip(h.Size)
	}
	payload := make([]byte, min(h.Size, maxUpFront))
	err := c.in.ReadFull(payload)
	for err == nil && int64(len(payload)) < h.Size {
		read := len(payload)
		grown := make([]byte, min(h.Size, int64(2*read)))
		copy(grown, payload)
		payload = grown
		err = c.in.ReadFull(payload[read:])
	}
	return payload, c.payloadError(h, err)
}

// skipPayload passes over a payload that nobody wants.
func (c *Conn) skipPayload(h *packet.Header) error {
	if h.Size <= int64(c.in.Buffered()) {
		return c.in.Skip(h.Size)
	}
	got, _ := c.in.Peek(0)
	quote := clip(got) // an error may be about to quote what is then gone
	err := c.in.Skip(h.Size)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return endsInPayload(h, quote, err)
	}
	return err
}

// payloadError says of the end of the stream that it came inside a payload.
func (c *Conn) payloadError(h *packet.Header, err error) error {
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	got, _ := c.in.Peek(c.in.Buffered())
	return endsInPayload(h, got, err)
}

func endsInPayload(h *packet.Header, got []byte, err error) error {
	return &ProtocolError{Reason: fmt.Sprintf("the stream ends inside a payload of %d bytes", h.Size),
		Quote: quoteHeader(h, got), Err: err}
}

// quoteHeader shows the bytes of a packet whose header was taken already.
func quoteHeader(h *packet.Header, payload []byte) []byte {
	b, _ := h.Append(nil)
	return append(b, payload[:min(len(payload), maxQuote)]...)
}
