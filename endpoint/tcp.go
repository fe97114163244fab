package endpoint

import (
	"context"
	"fmt"
	"net"

	"github.com/packetstream/packetstream/pconn"
)

// TCP is an address of the network. Small packets leave at once (TCP_NODELAY); the batches are pconn's.
type TCP struct {
	// Addr is HOST:PORT, with an IPv6 address in brackets. To listen, an empty host is every address, and
	// port 0 one that the system chooses.
	Addr string
}

func parseTCP(rest string) (Endpoint, error) {
	if _, _, err := net.SplitHostPort(rest); err != nil {
		return nil, fmt.Errorf("%w; write tcp:HOST:PORT", err)
	}
	return TCP{Addr: rest}, nil
}

// String returns the address as Parse reads it.
func (e TCP) String() string { return "tcp:" + e.Addr }

// Dial connects to the address.
func (e TCP) Dial(ctx context.Context, opts *pconn.Options) (*Conn, error) {
	nc, err := e.open(ctx)
	if err != nil {
		return nil, err
	}
	return NewConn(nc, e.String(), opts)
}

// Open connects: see Opener.
func (e TCP) Open(ctx context.Context) (Transport, error) { return transportOf(e.open(ctx)) }

// open connects. Package net sets TCP_NODELAY by itself.
func (e TCP) open(ctx context.Context) (net.Conn, error) {
	return dialSocket(ctx, e, new(net.Dialer), "tcp", e.Addr)
}

// Listen listens at the address.
func (e TCP) Listen(ctx context.Context) (*Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", e.Addr)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %s: %w", e, err)
	}
	return NewListener(l, e), nil
}

// Serve listens and serves every connection: see Listener.Serve.
func (e TCP) Serve(ctx context.Context, opts *pconn.Options) error {
	return listenAndServe(ctx, e, opts)
}

// dialer is a net.Dialer or a tls.Dialer.
type dialer interface {
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
}

// dialSocket connects to a socket.
func dialSocket(ctx context.Context, e Endpoint, d dialer, network, addr string) (net.Conn, error) {
	nc, err := d.DialContext(ctx, network, addr)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("endpoint: %s: %w", e, err)
	}
	return nc, nil
}

// listenAndServe serves an endpoint that is listened at.
func listenAndServe(ctx context.Context, e Listenable, opts *pconn.Options) error {
	l, err := e.Listen(ctx)
	if err != nil {
		return err
	}
	return l.Serve(ctx, opts)
}
