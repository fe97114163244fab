package pconn

import (
	"errors"
	"fmt"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
)

// ErrCookie says that Options.VerifyCookie did not accept what the peer said of itself. It wraps what
// VerifyCookie returned.
var ErrCookie = errors.New("pconn: the peer's cookie was not accepted")

// helloRefused is what a peer is told that is not known by its cookie.
const helloRefused = "hello refused"

// ourHello is what this end says of itself.
func (c *Conn) ourHello() []byte {
	h := frame.Hello{
		Version:         frame.Version,
		Cookie:          c.opts.Cookie,
		MaxPayload:      uint64(c.opts.MaxPayload),
		MaxRequests:     maxOutstanding,
		MaxRequestBytes: maxOutstandingBytes,
		MaxHeaders:      maxHeaders,
		Features:        frame.FeatureStreams | frame.FeaturePieces,
		MaxStreams:      uint64(c.opts.Streams.MaxOpen),
		MaxBacklog:      uint64(c.opts.Streams.MaxBacklog),
		StreamCredit:    uint64(c.opts.Streams.Window),
	}
	if c.files.takes {
		h.Features |= frame.FeatureFiles
		h.MaxFiles = uint64(c.opts.MaxFiles)
	}
	return h.Append(nil)
}

// offer sends our HELLO, unless that was done, or the peer's came first.
func (c *Conn) offer() {
	c.mu.Lock()
	if c.ext.offered || c.ext.on.Load() || c.st.sender.eof || c.st.recvEnded {
		if c.st.sender.eof {
			c.settle(ErrDraining)
		}
		c.mu.Unlock()
		return
	}
	c.ext.offered, c.ext.tag = true, c.st.calls.skip()
	payload := c.ourHello()
	h := frame.Header(frame.KindHello, c.ext.tag, 0, len(payload))
	q := c.appendTo(c.st.sender.controlBatch(), &h, nil, payload)
	c.mu.Unlock()
	c.flush(&h, q)
}

// hello answers the peer's HELLO.
func (c *Conn) hello(h *packet.Header) error {
	if c.ext.answered {
		return &ProtocolError{Reason: "a second HELLO", Quote: quoteHeader(h, nil)}
	}
	peer, err := c.readHello(h)
	switch {
	case errors.Is(err, errNoHello):
		return c.reject(h, unknownChannelText(h.Channel))
	case errors.Is(err, ErrCookie):
		return errors.Join(err, c.reject(h, helloRefused))
	case err != nil:
		return err
	}
	c.ext.answered = true
	payload := c.ourHello()
	r := packet.Header{Channel: h.Channel, Tag: h.Tag, Flags: responseFlags(true, 0), Size: int64(len(payload))}
	c.mu.Lock()
	q, err := c.control(&r, nil, payload)
	if c.st.sender.err == nil { // else no answer leaves, and the peer may send no frames
		c.st.sender.helloFirst = true
		c.extend(peer)
	}
	c.mu.Unlock()
	c.flush(&r, q)
	return err
}

// helloAnswered takes the peer's answer to our HELLO.
func (c *Conn) helloAnswered(h *packet.Header) error {
	if h.Flags&1 == 0 {
		if err := c.skipPayload(h); err != nil {
			return err
		}
		return c.helloRejected()
	}
	peer, err := c.readHello(h)
	switch {
	case errors.Is(err, errNoHello):
		return c.helloRejected()
	case err != nil:
		return err
	}
	c.mu.Lock()
	c.extend(peer)
	c.mu.Unlock()
	return nil
}

// helloRejected goes on without extensions, if that may be.
func (c *Conn) helloRejected() error {
	c.mu.Lock()
	c.settle(ErrNoExtensions)
	c.mu.Unlock()
	c.logf(levelDebug, "the peer has no extensions")
	if c.opts.Extensions == ExtensionsRequired && !c.ext.on.Load() {
		return ErrNoExtensions
	}
	return nil
}

// errNoHello says that what came in HELLO's place is something else, of an application that uses the
// channel for itself.
var errNoHello = errors.New("pconn: no HELLO")

// readHello reads a HELLO, or the answer to one, and finds out whether the peer is the one meant.
func (c *Conn) readHello(h *packet.Header) (frame.Hello, error) {
	if h.Size > maxFields {
		if err := c.skipPayload(h); err != nil {
			return frame.Hello{}, err
		}
		return frame.Hello{}, errNoHello
	}
	payload, err := c.readPayload(h)
	if err != nil {
		return frame.Hello{}, err
	}
	peer, err := frame.ParseHello(payload)
	if err != nil {
		return frame.Hello{}, fmt.Errorf("%w: %w", errNoHello, err)
	}
	if c.opts.VerifyCookie != nil {
		if err := c.opts.VerifyCookie(peer.Cookie); err != nil {
			return frame.Hello{}, fmt.Errorf("%w: %w", ErrCookie, err)
		}
	}
	return peer, nil
}

// extend turns the extensions on. Conn.mu is held.
func (c *Conn) extend(peer frame.Hello) {
	if c.ext.on.Load() {
		return
	}
	setDefault(&peer.MaxPayload, DefaultMaxPayload)
	setDefault(&peer.MaxRequests, maxOutstanding)
	setDefault(&peer.MaxRequestBytes, maxOutstandingBytes)
	setDefault(&peer.MaxHeaders, maxHeaders)
	c.ext.extended = &extended{peer: peer}
	s := &c.st
	s.maxCalls = int(min(uint64(s.maxCalls), peer.MaxRequests))
	s.maxCallBytes = int64(min(uint64(s.maxCallBytes), peer.MaxRequestBytes))
	c.ext.on.Store(true)
	c.startKeepalive()
	c.settle(nil)
}
