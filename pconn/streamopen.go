package pconn

import (
	"context"
	"net"

	"github.com/packetstream/packetstream/packet"
	"github.com/packetstream/packetstream/packet/frame"
)

// OpenStream opens a stream to the peer, whose StreamHandler or Listener takes it by its name and metadata. It
// does not wait for that: what is written meanwhile is kept for whoever accepts, and a refusal is the
// error of a later Read or Write, a *StreamError that matches ErrStreamRefused.
//
// It waits, until ctx ends, while the peer has as many streams of ours as it takes, in order, and the first
// time until it is known that the peer has the protocol's extensions: ErrNoExtensions if not, or if it takes no
// streams at all. ctx does not concern the stream once it is open. Name and metadata over a bound are a *LimitError. It may be called
// concurrently; the metadata must not change until the stream has ended.
func (c *Conn) OpenStream(ctx context.Context, name string, metadata Metadata) (*Stream, error) {
	o := &frame.Open{Name: name, Metadata: metadata}
	if err := checkOpen(o); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	in, err := c.leavePlace(ctx)
	if err != nil {
		return nil, err
	}
	if in != nil {
		defer c.rejoinPlace(in)
	}
	if err := c.awaitExtensions(ctx); err != nil {
		return nil, err
	}
	if c.ext.peer.Features&frame.FeatureStreams == 0 || c.ext.peer.MaxStreams == 0 {
		return nil, ErrNoExtensions
	}
	return c.openStream(ctx, o, in != nil)
}

func (c *Conn) openStream(ctx context.Context, o *frame.Open, inHandler bool) (*Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.st.streams
	if (!t.openers.empty() || !c.roomForStream()) && c.st.mayCall(inHandler) == nil {
		ready := func() bool { return c.roomForStream() || c.st.mayCall(inHandler) != nil }
		if err := c.waitFor(ctx, &t.openers, ready); err != nil {
			return nil, err
		}
	}
	if err := c.st.mayCall(inHandler); err != nil {
		t.openers.wakeFirst()
		return nil, err
	}
	w := recvWindow{shared: t.budget.take(c.opts.Streams.Window)}
	w.size = max(w.shared, min(leastWindow, c.opts.Streams.Window))
	w.left = w.size
	o.Credit = uint64(w.size)
	t.lastOurs++
	s := c.add(true, t.lastOurs, o, w, c.ext.peer.StreamCredit)
	s.due.open = o
	s.queueDue()
	if c.roomForStream() {
		t.openers.wakeFirst()
	}
	// The first Write is probably about to come, and leaves with it.
	c.wakeSender()
	c.counters.StreamsOut.Add(1)
	return s, nil
}

// roomForStream says whether the peer takes another stream, or whether there is no point in waiting. Conn.mu is
// held.
func (c *Conn) roomForStream() bool {
	return c.st.recvEnded || c.st.sender.eof || uint64(len(c.st.streams.ours)) < c.ext.peer.MaxStreams
}

// checkOpen finds what makes an OPEN impossible.
func checkOpen(o *frame.Open) error {
	if len(o.Name) > maxStreamName {
		return &LimitError{What: "stream name, bytes", Value: int64(len(o.Name)), Max: maxStreamName}
	}
	if n := frame.PairsSize(o.Metadata); n > maxHeaders {
		return &LimitError{What: "stream metadata, bytes", Value: n, Max: maxHeaders}
	}
	return nil
}

// NetworkKey is the metadata key by which DialContext tells the network that it was asked for.
const NetworkKey = "network"

// DialContext opens a stream whose name is addr, with the network in its metadata: it is what
// http.Transport, grpc.WithContextDialer and the like ask for. The peer's Listen("") takes any.
func (c *Conn) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	s, err := c.OpenStream(ctx, addr, Metadata{{Key: NetworkKey, Value: []byte(network)}})
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: StreamAddr{Conn: c.opts.Name, Name: addr}, Err: err}
	}
	return s, nil
}

func (c *Conn) receiveOpen(h *packet.Header) error {
	payload, err := c.readFields(h)
	if err != nil {
		return err
	}
	o, err := frame.ParseOpen(payload)
	if err != nil {
		return badFrame(h, payload, err)
	}
	if err := checkOpen(&o); err != nil {
		return err
	}
	c.mu.Lock()
	t := &c.st.streams
	switch {
	case h.Flags&frame.FlagReceivers != 0 || h.Tag != t.lastTheirs+1:
		err = violation("OPEN of stream %s, after %d of the peer", streamName(h), t.lastTheirs)
	case len(t.theirs) >= c.opts.Streams.MaxOpen:
		err = &LimitError{What: "streams opened by the peer", Value: int64(len(t.theirs)) + 1, Max: int64(c.opts.Streams.MaxOpen)}
	}
	if err != nil {
		c.mu.Unlock()
		return err
	}
	t.lastTheirs++
	w := c.opts.Streams.Window
	s := c.add(false, h.Tag, &o, recvWindow{size: w, left: w}, o.Credit)
	c.counters.StreamsIn.Add(1)
	begin, refusal := c.acceptance(s)
	if refusal != nil {
		c.counters.StreamsRefused.Add(1)
		s.abort(*refusal, &StreamError{Stream: s.id, Name: s.name, Refused: true, Text: refusal.Text})
	}
	err = c.unlockAndFlush(nil)
	if begin {
		c.startStreamHandler(s)
	}
	return err
}
