package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

// Conn is the packet connection that everything goes over: a pconn.Conn, or what has one inside.
type Conn interface {
	OpenStream(ctx context.Context, name string, metadata pconn.Metadata) (*pconn.Stream, error)
	Listen(name string) (*pconn.Listener, error)
	Done() <-chan struct{}
	Err() error
}

// Options are settings of Local, Remote and Socks. The zero value works, and so does nil.
type Options struct {
	// Listening is called once, with the address that is listened on.
	Listening func(address string)
	// Limits bound what those who connect here may take.
	Limits endpoint.Limits
	// Logger is told of connections that fail. nil is silent.
	Logger *slog.Logger
}

func (o *Options) listening(address string) {
	if o.Listening != nil {
		o.Listening(address)
	}
}

const (
	// connected is what stands before the bytes of a connection that was made.
	connected = 0
	// dialTimeout is how long connecting may take: longer than a system retries, shorter than a person waits.
	dialTimeout = 30 * time.Second
	// greetingTimeout is how long a client may take to say where it wants to go.
	greetingTimeout = 30 * time.Second
	// maxAddress is how many bytes the address may have that the other end listens on.
	maxAddress = 4 << 10
)

// sockets is how sockets are joined: each end of a direction is its owner's affair, and an answer may take hours.
func sockets() *endpoint.JoinOptions { return &endpoint.JoinOptions{HalfOpen: -1} }

// errGreeting says that the other end does not speak as this package does.
var errGreeting = errors.New("forward: the other end did not say that it is connected")

// Dial connects to an address from the other end, whose Server has to allow it, and returns when it is connected. ctx
// limits that. The error is a *pconn.StreamError that matches pconn.ErrStreamRefused if the other end could or would
// not, and says why. The stream has to be closed.
func Dial(ctx context.Context, conn Conn, to Address) (*pconn.Stream, error) {
	stream, err := conn.OpenStream(ctx, streamForward, pconn.Metadata{field(keyTo, to.String())})
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = stream.SetReadDeadline(time.Unix(1, 0)) })
	err = awaitConnected(stream)
	if !stop() && (err == nil || errors.Is(err, os.ErrDeadlineExceeded)) {
		err = ctx.Err()
	}
	if err != nil {
		stream.Reset(0)
		return nil, reason(err)
	}
	return stream, nil
}

func awaitConnected(stream *pconn.Stream) error {
	var first [1]byte
	if _, err := stream.Read(first[:]); err != nil {
		return err
	}
	if first[0] != connected {
		return errGreeting
	}
	return nil
}

// dialed is the opener's end of a stream that may not be connected yet.
type dialed struct {
	*pconn.Stream
	connected bool // the reader's
}

// Read gives the bytes of the connection, once there is one.
func (d *dialed) Read(p []byte) (int, error) {
	if !d.connected {
		if err := awaitConnected(d.Stream); err != nil {
			return 0, err
		}
		d.connected = true
	}
	return d.Stream.Read(p)
}

// join opens a stream for a connection that has come, and joins the two.
func join(ctx context.Context, conn Conn, t endpoint.Transport, name string, metadata pconn.Metadata) error {
	stream, err := conn.OpenStream(ctx, name, metadata)
	if err != nil {
		return errors.Join(err, t.Close())
	}
	return reason(endpoint.Join(ctx, t, &dialed{Stream: stream}, sockets()))
}

// reason has an error begin with what the other end says.
func reason(err error) error {
	var refused *pconn.StreamError
	if errors.As(err, &refused) && refused.Refused {
		return fmt.Errorf("forward: the other end: %s: %w", refused.Text, err)
	}
	return err
}

// until returns a context that ends with the connection, too. stop frees what it holds.
func until(ctx context.Context, conn Conn) (c context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	// stop waits for it.
	go func() {
		defer close(ended)
		select {
		case <-conn.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel()
		<-ended
	}
}

// endMoment is how long the end of a connection may come behind what it has brought about.
const endMoment = time.Second

// ended is how serving has ended: a connection that is over is an error, unless that was asked for.
func ended(ctx context.Context, conn Conn, err error) error {
	if errors.Is(err, ErrStopped) {
		// An end that closes stops listening first.
		moment, cancel := context.WithTimeout(ctx, endMoment)
		defer cancel()
		select {
		case <-conn.Done():
		case <-moment.Done():
		}
	}
	select {
	case <-conn.Done():
		if ctx.Err() == nil {
			return errors.Join(conn.Err(), err)
		}
	default:
	}
	return err
}

// address is what a listener listens on, as ParseAddress reads it.
func address(a net.Addr) string { return a.Network() + ":" + a.String() }
