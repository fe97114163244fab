package prpc

import (
	"context"
	"time"
)

// Options are the settings of a connection. The zero value, or a nil pointer,
// is a connection that only calls, with the original's time limits.
type Options struct {
	// Methods finds the methods the peer may call; nil means there are none.
	Methods Locator
	// Data is sent to the peer in the handshake.
	Data any
	// OnConnect looks at the peer before the connection is used, for example at its
	// Conn.PeerData, and refuses it by an error. The peer is not told why. On a client the error
	// comes back wrapped, with ErrRejected. The handshake waits for it; calls made
	// meanwhile, from another goroutine, wait for the handshake.
	OnConnect func(ctx context.Context, c *Conn) error
	// HandshakeTimeout is how long the peer may take for the handshake;
	// 0 means 60 s, negative means for ever.
	HandshakeTimeout time.Duration
	// ReadTimeout is how long the reader of a stream may stand still while more
	// than 32 messages wait for it, before the call is ended; 0 means 5 s, negative means
	// until a limit on bytes is reached.
	ReadTimeout time.Duration
	// CallDelay is how long an end that accepted a connection keeps its own calls back when it
	// has not heard from the peer since the handshake; 0 means 100 ms, negative means not at
	// all. Peers that are not the original need none.
	CallDelay time.Duration
	// ServeTrace sends the chain of errors of a failed method, and the stack of one that
	// panicked, to its caller. They tell about the program's insides.
	ServeTrace bool
	// Reconnect makes a client that lost its carrier look for a new one.
	Reconnect *Reconnect
	// Limits bounds what the connection takes.
	Limits Limits
	// WebSocket is for Dial and Server.
	WebSocket WebSocketOptions

	// newID makes the connection ids a server gives; tests set it.
	newID func() string
}

// withDefaults returns a copy with every unset field set, or an error for a
// setting that is out of range.
func (o *Options) withDefaults() (Options, error) {
	var filled Options
	if o != nil {
		filled = *o
	}
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&filled.HandshakeTimeout, defaultHandshakeTimeout},
		{&filled.ReadTimeout, defaultReadTimeout},
		{&filled.CallDelay, defaultCallDelay},
	} {
		if *d.value == 0 {
			*d.value = d.standard
		}
	}
	if filled.newID == nil {
		filled.newID = randomID
	}
	var err error
	filled.Limits, err = filled.Limits.withDefaults()
	return filled, err
}
