package pconn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Options are a connection's settings. The zero value of each is its documented default, and a nil
// *Options is the zero value of all.
type Options struct {
	// Name stands for the connection in logs and traces.
	Name string

	// Handler answers the peer's requests on channel 0. Without one they are rejected.
	Handler Handler

	// Channels are the handlers of further channels that exist from the start. Conn.Channel adds
	// others.
	Channels map[uint64]Handler

	// OtherChannels answers the peer's requests on channels that have no handler of their own and were not
	// declared. Without one they are rejected, as on channels that are unknown.
	OtherChannels Handler

	// StreamHandler takes the streams that the peer opens. Without one, those that no Listener takes are
	// refused.
	StreamHandler StreamHandler

	// Listen are names of streams for which there is a Listener from the start, which Conn.Listen returns: what
	// the peer opens before waits for it.
	Listen []string

	// Streams are the limits of streams.
	Streams StreamLimits

	// Context is the parent of every handler's context, by default context.Background(). Its end
	// does not end the connection.
	Context context.Context

	// Peer is what the endpoint knows of the other end, for handlers to see.
	Peer Peer

	// Codec turns values to payloads and back for Call and Typed, by default JSON.
	Codec Codec

	// CloseInput closes the input when the connection has ended. Unset, the input can be handed to
	// the next connection, with nothing lost of what was read ahead.
	CloseInput bool

	// Extensions says what is done about extensions of the protocol, by default ExtensionsLazy.
	Extensions Extensions

	// MaxFiles is how many files are taken with one request or response of the peer, at most MaxFiles; by default none,
	// since a descriptor is a right to something, and somebody has to close it. It works over Unix sockets, socket pairs
	// among them, on Linux; elsewhere it does nothing. Then the extensions are offered at the start.
	MaxFiles int

	// Cookie is sent to the peer with our HELLO, for it to recognise this end by.
	Cookie []byte

	// VerifyCookie, if set, is called with the Cookie of the peer's HELLO, or nil. Before it has
	// returned nil the peer's requests are rejected, and if it returns an error the connection ends
	// with ErrCookie. It runs where packets are received and must not block. It needs
	// ExtensionsRequired.
	VerifyCookie func(cookie []byte) error

	// Keepalive, if set, has the peer asked for a sign of life when nothing has come from it for so long. If
	// then nothing comes for as long again, the connection ends with ErrPeerSilent, at most three times
	// Keepalive after the last byte. It offers the extensions at the start, and does nothing for a peer that
	// has none.
	Keepalive time.Duration

	// Grace delays flushes, so that packets which follow within it leave in the same write. No
	// packet waits longer than one grace. 0 sends at once what is queued; DefaultGrace is what the
	// reference uses.
	Grace time.Duration

	// MaxPayload is the most bytes of payload taken from the peer or sent to it in one packet, by
	// default DefaultMaxPayload and at most MaxPayload. A larger one fails its own call only.
	MaxPayload int64

	// MaxHandlers is how many handlers may be at work at a time, by default DefaultMaxHandlers.
	// Handlers that wait in a call on this connection do not count.
	MaxHandlers int

	// MaxRequests is how many requests of the peer are accepted before the connection shuts down, as by
	// Shutdown: those accepted are answered, and later ones are rejected, which matches ErrGoingAway at a peer that
	// has the extensions. 0 is no limit.
	MaxRequests uint64

	// DrainTimeout bounds the wait for answers to accepted requests after the peer has ended its
	// side, by default DefaultDrainTimeout.
	DrainTimeout time.Duration

	// CloseTimeout bounds what Close waits for, by default DefaultCloseTimeout.
	CloseTimeout time.Duration

	// Tick is called with a short symbol for each step of activity (package tick has them); set it
	// to tick.Stderr for ticks on standard error. It never holds up the connection: ticks that it
	// does not take in time are dropped.
	Tick func([]byte)

	// RecvLen and SendLen, if set, are called once for each packet received or sent with its
	// length in bytes, header included. They run on the packet's path and must not block.
	RecvLen func(n int)
	SendLen func(n int)

	// OnRecvEOF is called once when nothing more will be received, OnSendEOF once when the EOF
	// packet has left. Neither holds up anything but the end of the connection, which waits for it
	// as long as for handlers.
	OnRecvEOF func(*Conn)
	OnSendEOF func(*Conn)

	// OnHandlerError is called with every error and panic (*PanicError) of a handler, before the
	// peer is answered. The request of a handler marked NonBlocking is valid only until it returns.
	OnHandlerError func(*Request, error)

	// EndError may give the error that ends the connection its last form before anybody sees it, for
	// instance by adding a child's exit status. It is called once and may wait a little, since
	// receiving has ended. What it returns should wrap what it was given.
	EndError func(error) error

	// Logger is told of what a person running the program may want to know. nil is silent. Records
	// that it does not take in time are dropped and counted.
	Logger *slog.Logger
}

// withDefaults returns a copy of o in which every setting has its value.
func (o *Options) withDefaults() (Options, error) {
	var v Options
	if o != nil {
		v = *o
	}
	switch {
	case v.MaxPayload < 0 || v.MaxPayload > MaxPayload:
		return v, fmt.Errorf("pconn: Options.MaxPayload %d is not within 0 and %d", v.MaxPayload, int64(MaxPayload))
	case v.MaxHandlers < 0:
		return v, fmt.Errorf("pconn: Options.MaxHandlers %d is negative", v.MaxHandlers)
	case v.Extensions > ExtensionsRequired:
		return v, fmt.Errorf("pconn: Options.Extensions %d is unknown", v.Extensions)
	case v.VerifyCookie != nil && v.Extensions != ExtensionsRequired:
		return v, errors.New("pconn: Options.VerifyCookie needs ExtensionsRequired")
	case v.MaxFiles < 0 || v.MaxFiles > MaxFiles:
		return v, fmt.Errorf("pconn: Options.MaxFiles %d is not within 0 and %d", v.MaxFiles, MaxFiles)
	case len(v.Cookie) > maxCookie:
		return v, fmt.Errorf("pconn: Options.Cookie of %d bytes, the limit is %d", len(v.Cookie), maxCookie)
	case v.Keepalive < 0:
		return v, fmt.Errorf("pconn: Options.Keepalive %v is negative", v.Keepalive)
	case v.Grace < 0:
		return v, fmt.Errorf("pconn: Options.Grace %v is negative", v.Grace)
	case v.DrainTimeout < 0:
		return v, fmt.Errorf("pconn: Options.DrainTimeout %v is negative", v.DrainTimeout)
	case v.CloseTimeout < 0:
		return v, fmt.Errorf("pconn: Options.CloseTimeout %v is negative", v.CloseTimeout)
	}
	for n := range v.Channels {
		if err := checkChannel(n); err != nil {
			return v, err
		}
	}
	var err error
	if v.Streams, err = v.Streams.withDefaults(); err != nil {
		return v, err
	}
	setDefault(&v.MaxPayload, DefaultMaxPayload)
	setDefault(&v.MaxHandlers, DefaultMaxHandlers)
	setDefault(&v.DrainTimeout, DefaultDrainTimeout)
	setDefault(&v.CloseTimeout, DefaultCloseTimeout)
	if v.Context == nil {
		v.Context = context.Background()
	}
	if v.Codec == nil {
		v.Codec = JSON
	}
	return v, nil
}

func setDefault[T int | int64 | uint64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}
