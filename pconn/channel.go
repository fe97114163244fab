package pconn

import (
	"bytes"
	"context"
	"maps"
	"strconv"
	"sync/atomic"
)

// Channel is one of a connection's channels: requests with tags and a handler of their own beside
// those of channel 0. It works between two ends that both have the channel. Its methods may be called
// concurrently.
type Channel struct {
	conn *Conn
	n    uint64
}

// Channel declares channel n, so that the peer's requests on it go to h, and ours can be made on it. A
// nil h rejects them, or stands for the handler of a channel that is declared already. Channel 0 is
// the connection itself and 127 is reserved (ErrReservedChannel). The error is ErrChannelInUse for a
// second handler.
//
// The peer may send on a channel before this end has declared it, and is rejected; channels that both
// ends need from the start are declared in Options.Channels.
func (c *Conn) Channel(n uint64, h Handler) (*Channel, error) {
	if err := checkChannel(n); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, declared := c.handlerFor(n); !declared {
		c.channels.set(n, h)
	} else if h != nil {
		return nil, ErrChannelInUse
	}
	return &Channel{conn: c, n: n}, nil
}

// channelTable holds the handlers of the channels other than 0. It is read without a lock, for each
// request, and replaced as a whole, with Conn.mu held.
type channelTable struct {
	atomic.Pointer[map[uint64]Handler]
}

func (t *channelTable) set(n uint64, h Handler) {
	next := make(map[uint64]Handler, len(*t.Load())+1)
	maps.Copy(next, *t.Load())
	next[n] = h
	t.Store(&next)
}

func (t *channelTable) remove(n uint64) {
	next := maps.Clone(*t.Load())
	delete(next, n)
	t.Store(&next)
}

// handlerFor returns a channel's handler, and whether there is such a channel.
func (c *Conn) handlerFor(channel uint64) (h Handler, known bool) {
	if channel == 0 {
		return c.opts.Handler, true
	}
	h, known = (*c.channels.Load())[channel]
	if !known && channel != reservedChannel && c.opts.OtherChannels != nil {
		return c.opts.OtherChannels, true
	}
	return h, known
}

func checkChannel(n uint64) error {
	if n == 0 || n == reservedChannel {
		return ErrReservedChannel
	}
	return nil
}

// Number returns the channel's number.
func (ch *Channel) Number() uint64 { return ch.n }

// Conn returns the channel's connection.
func (ch *Channel) Conn() *Conn { return ch.conn }

// Codec returns the connection's codec.
func (ch *Channel) Codec() Codec { return ch.conn.Codec() }

// Do is Conn.Do on this channel.
func (ch *Channel) Do(ctx context.Context, req Request) (Response, error) {
	req.Channel = ch.n
	return ch.conn.Do(ctx, req)
}

// DoInto is Conn.DoInto on this channel.
func (ch *Channel) DoInto(ctx context.Context, buf []byte, req Request) (Response, error) {
	req.Channel = ch.n
	return ch.conn.DoInto(ctx, buf, req)
}

// Submit is Conn.Submit on this channel.
func (ch *Channel) Submit(ctx context.Context, req Request) (*Result, error) {
	req.Channel = ch.n
	return ch.conn.Submit(ctx, req)
}

// Notify is Conn.Notify on this channel.
func (ch *Channel) Notify(ctx context.Context, req Request) error {
	req.Channel = ch.n
	return ch.conn.Notify(ctx, req)
}

// Close takes the channel away: later requests of the peer on it are rejected. Requests at work are
// finished, and calls outstanding get their responses. It is always nil.
func (ch *Channel) Close() error {
	ch.conn.mu.Lock()
	defer ch.conn.mu.Unlock()
	ch.conn.channels.remove(ch.n)
	return nil
}

// An unknown channel is told by text alone. The reference, which serves no channel but 0, sends a
// format that it forgot to fill in; we send the number. These two functions are the one place that
// knows both.

const unknownChannelPrefix = "unknown channel "

func unknownChannelText(n uint64) string { return unknownChannelPrefix + strconv.FormatUint(n, 10) }

func isUnknownChannel(channel uint64, payload []byte) bool {
	rest, ok := bytes.CutPrefix(payload, []byte(unknownChannelPrefix))
	return ok && channel != 0 && (string(rest) == "%d" || string(rest) == strconv.FormatUint(channel, 10))
}
