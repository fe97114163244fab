package pconn

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
)

// Extensions says what a connection does about what the reference has no packet for: cancellation and
// deadlines that reach the peer, metadata, errors with details, streams. Two ends that have them tell
// each other by a HELLO on the reserved channel; see docs/PROTOCOL.md, chapter 12.
type Extensions uint8

const (
	// ExtensionsLazy answers a peer's HELLO, and sends one when something first needs the extensions:
	// metadata, Ping, GoAway, a stream. What can do without them, which is cancellation and deadlines,
	// does without until then.
	ExtensionsLazy Extensions = iota

	// ExtensionsOff is an implementation of the plain protocol.
	ExtensionsOff

	// ExtensionsOffered sends HELLO at the start, and goes on without the extensions if the peer has
	// none. It costs a Python peer of the reference one line on its standard error.
	ExtensionsOffered

	// ExtensionsRequired sends HELLO at the start and ends the connection, with ErrNoExtensions, if the
	// peer has none. Calls wait for the answer.
	ExtensionsRequired
)

func (e Extensions) String() string {
	if int(e) < len(extensionNames) {
		return extensionNames[e]
	}
	return fmt.Sprintf("extensions %d", uint8(e))
}

var extensionNames = [...]string{"lazy", "off", "offer", "required"}

// ExtensionsNamed is the reverse of Extensions.String, for flags and configurations.
func ExtensionsNamed(name string) (Extensions, error) {
	for i, n := range extensionNames {
		if n == name {
			return Extensions(i), nil
		}
	}
	return 0, fmt.Errorf("pconn: extensions %q are none of lazy, off, offer, required", name)
}

// ErrNoExtensions says that something needs the extensions and the peer has none, or they are off.
var ErrNoExtensions = errors.New("pconn: peer has no extensions")

// extension is what the two ends know of each other by their HELLOs.
type extension struct {
	on      atomic.Bool // frames may be sent; extended stays from then on
	settled bool        // it is known whether the peer has extensions, or never will be; guarded by Conn.mu
	offered bool        // our HELLO is queued; guarded by Conn.mu

	// The receiver's.
	answered bool   // the peer's HELLO has come
	pieces   bool   // a payload may have come in part
	extra    *extra // what HEADERS and FILES have said of the next packet

	*extended // nil until it is on

	// Guarded by Conn.mu.
	settling chan struct{} // closed when it is settled, if somebody waits for that
	err      error         // why not, once settled
	tag      uint64        // of our HELLO, until it is answered
	partials partials
}

// extended is what there is only where the extensions are on. Others do without its memory.
type extended struct {
	peer      frame.Hello // what the peer takes, defaults filled in
	pings     pings
	keepalive keepalive
}

// frame takes one frame of the peer, in order. Its error ends the connection.
func (c *Conn) frame(h *packet.Header) error {
	kind := frame.KindOf(h)
	if kind == frame.KindHello {
		return c.hello(h)
	}
	if !c.ext.on.Load() {
		return c.rejectFrame(h, unknownChannelText(h.Channel))
	}
	c.counters.FramesIn.Add(1)
	switch kind {
	case frame.KindPing:
		return c.pinged(h)
	case frame.KindGoAway:
		return c.goneAway(h)
	case frame.KindCancel:
		return c.cancelled(h)
	case frame.KindHeaders:
		return c.headers(h)
	case frame.KindPiece:
		return c.piece(h)
	case frame.KindFiles:
		return c.filesFrame(h)
	case frame.KindOpen, frame.KindData, frame.KindEnd, frame.KindStop, frame.KindReset, frame.KindCredit:
		return c.streamFrame(h)
	}
	c.counters.UnknownFrames.Add(1)
	return c.skipPayload(h)
}

// frameResponse takes a response on the reserved channel.
func (c *Conn) frameResponse(h *packet.Header) error {
	c.mu.Lock()
	ours := c.ext.tag != 0 && h.Tag == c.ext.tag
	if ours {
		c.ext.tag = 0
	}
	c.mu.Unlock()
	switch {
	case ours:
		return c.helloAnswered(h)
	case c.ext.extended != nil:
		return c.pingAnswered(h)
	}
	c.mu.Lock()
	c.countUnclaimed(h)
	c.mu.Unlock()
	return c.skipPayload(h)
}

func (c *Conn) rejectFrame(h *packet.Header, text string) error {
	if err := c.reject(h, text); err != nil {
		return err
	}
	return c.skipPayload(h)
}

// readFields reads a frame's payload of fields.
func (c *Conn) readFields(h *packet.Header) ([]byte, error) {
	if h.Size > maxFields {
		return nil, &LimitError{What: frame.KindOf(h).String() + " frame, bytes", Value: h.Size, Max: maxFields}
	}
	return c.readPayload(h)
}

// badFrame is the error of a frame that is not what PROTOCOL.md says.
func badFrame(h *packet.Header, payload []byte, err error) error {
	return &ProtocolError{Reason: fmt.Sprintf("a bad frame about tag %d", h.Tag), Quote: quoteHeader(h, payload), Err: err}
}

// control queues a packet that leaves before all others, and HEADERS before it where there are any. The error is that of
// a peer which does not read what it is told. Conn.mu is held.
func (c *Conn) control(h *packet.Header, headers, payload []byte) (queued, error) {
	s := &c.st.sender
	if n := s.controlLen(); n > maxControl {
		return queued{}, &LimitError{What: "rejections and other control packets waiting to be read, bytes", Value: int64(n), Max: maxControl}
	}
	return c.appendTo(s.controlBatch(), h, headers, payload), nil
}

// flush does for what was just queued what may not be done under the lock, without blocking.
func (c *Conn) flush(h *packet.Header, q queued) {
	c.sent(h, q)
	if q.flush {
		c.writeCycle(callerRounds)
	}
}

// awaitExtensions offers the extensions, if that was not done, and waits until it is known that the peer
// has them. The error is ctx's, ErrNoExtensions or that of the connection's end.
func (c *Conn) awaitExtensions(ctx context.Context) error {
	if c.ext.on.Load() {
		return nil
	}
	if c.opts.Extensions == ExtensionsOff {
		return ErrNoExtensions
	}
	c.offer()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ext.settled {
		if c.ext.settling == nil {
			c.ext.settling = make(chan struct{})
		}
		settling := c.ext.settling
		c.mu.Unlock()
		select {
		case <-settling:
		case <-ctx.Done():
		}
		c.mu.Lock()
	}
	switch {
	case c.ext.on.Load():
		return nil
	case !c.ext.settled:
		return ctx.Err()
	}
	return c.ext.err
}

// needExtensions waits for the extensions where a request cannot do without.
func (c *Conn) needExtensions(ctx context.Context, req *Request) error {
	if len(req.Metadata) == 0 && len(req.Files) == 0 && !c.needs {
		return nil
	}
	if len(req.Files) > 0 {
		if err := c.needFiles(ctx, len(req.Files)); err != nil {
			return err
		}
	}
	if err := c.awaitExtensions(ctx); err != nil {
		return err
	}
	return c.checkMetadata("request", req.Metadata.size())
}

// settle makes known whether the peer has extensions: err says why not. Only the first time counts.
// Conn.mu is held.
func (c *Conn) settle(err error) {
	if c.ext.settled {
		return
	}
	c.ext.settled, c.ext.err = true, err
	if c.ext.settling != nil {
		close(c.ext.settling)
	}
}
