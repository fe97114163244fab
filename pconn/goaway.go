package pconn

import (
	"context"
	"errors"
	"fmt"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
)

// ErrGoingAway says that an end takes no new requests, since it goes away. The *GoAwayError of a call
// matches it, and so does the *RemoteError of a request that crossed the news. Such a request was surely not
// begun, and may be made elsewhere.
var ErrGoingAway = errors.New("pconn: peer is going away")

// GoAwayError says that the peer takes no new requests. What it has taken it finishes. The call was not sent.
type GoAwayError struct {
	Code uint64 // what the peer gave to GoAway
	Text string
}

func (e *GoAwayError) Error() string {
	return fmt.Sprintf("pconn: peer is going away (code %d): %s", e.Code, quoteText([]byte(e.Text)))
}

// Is makes the error match ErrGoingAway.
func (e *GoAwayError) Is(target error) bool { return target == ErrGoingAway }

// GoAway takes no new requests and streams of the peer from now on, and tells the peer, with a code and at most
// 128 bytes of text for its callers' *GoAwayError. What was accepted is finished, our own calls go on, and
// while they do, requests of the peer that may belong to them are served. The connection goes on until one end
// ends it.
//
// A peer without extensions is not told: its requests are rejected. ctx bounds the wait for finding out
// whether it has them. GoAway does not wait for anything to be finished.
func (c *Conn) GoAway(ctx context.Context, code uint64, text string) error {
	c.mu.Lock()
	c.st.goingAway = true
	c.mu.Unlock()
	in, err := c.leavePlace(ctx)
	if err != nil {
		return err
	}
	if in != nil {
		defer c.rejoinPlace(in)
	}
	if err := c.awaitExtensions(ctx); err != nil {
		if err == ErrNoExtensions {
			return nil
		}
		return err
	}
	f := frame.GoAway{Code: code, Text: clipText(text, maxCause)}
	payload := f.Append(nil)
	h := frame.Header(frame.KindGoAway, 0, 0, len(payload))
	c.mu.Lock()
	q := c.appendTo(c.st.sender.controlBatch(), &h, nil, payload)
	c.mu.Unlock()
	c.flush(&h, q)
	return nil
}

// goneAway takes a GOAWAY of the peer. Only the first counts.
func (c *Conn) goneAway(h *packet.Header) error {
	payload, err := c.readFields(h)
	if err != nil {
		return err
	}
	f, err := frame.ParseGoAway(payload)
	if err != nil {
		return badFrame(h, payload, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.st.goneAway == nil {
		c.st.goneAway = &GoAwayError{Code: f.Code, Text: f.Text}
		c.st.callers.wakeFirst()
		c.st.streams.openers.wakeFirst()
	}
	return nil
}
