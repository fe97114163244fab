package endpoint

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/pconn"
)

// Conn is a connection to an endpoint: a pconn.Conn, with the end of the child that was started for it, if any, a
// part of its own. Its methods may be called concurrently.
//
// Every Conn has to be ended, by Close or Shutdown.
type Conn struct {
	*pconn.Conn
	child *Child
}

// Child returns the child that the connection is to, or nil.
func (c *Conn) Child() *Child { return c.child }

// Done returns a channel that is closed when the connection, and the child, are over.
func (c *Conn) Done() <-chan struct{} {
	if c.child != nil {
		return c.child.Done()
	}
	return c.Conn.Done()
}

// Wait waits for the end and returns nil if it came in good order: see pconn.Conn.Wait and Child.Wait.
func (c *Conn) Wait() error {
	if c.child != nil {
		return c.child.Wait()
	}
	return c.Conn.Wait()
}

// Close ends the connection now: see pconn.Conn.Close and Child.Close.
func (c *Conn) Close() error {
	if c.child != nil {
		return c.child.Close()
	}
	return c.Conn.Close()
}

// Shutdown ends the connection in good order: see pconn.Conn.Shutdown and Child.Shutdown.
func (c *Conn) Shutdown(ctx context.Context) error {
	if c.child != nil {
		return c.child.Shutdown(ctx)
	}
	return c.Conn.Shutdown(ctx)
}

// options returns a copy of opts for one connection, with what the endpoint knows filled in where nothing is set.
func options(opts *pconn.Options, name string, peer pconn.Peer) *pconn.Options {
	var o pconn.Options
	if opts != nil {
		o = *opts
	}
	if o.Name == "" {
		o.Name = name
	}
	if o.Peer == (pconn.Peer{}) {
		o.Peer = peer
	}
	o.CloseInput = true
	return &o
}

// NewConn makes a packet connection of a socket, or of what another package has made like one; it is closed with the
// connection. name is the connection's where opts have none. Where nc has a method CloseWrite the end of one
// direction leaves the other open. What it knows of the peer goes to pconn.Peer: its RemoteAddr, the
// process and user of a Unix socket, the certificate of TLS (a method ConnectionState).
func NewConn(nc net.Conn, name string, opts *pconn.Options) (*Conn, error) {
	c, err := pconn.New(bufio.OwnInput(nc), bufio.OwnOutput(nc), options(opts, name, peerOf(nc)))
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return &Conn{Conn: c}, nil
}

// peerOf says who is at the other end of a socket.
func peerOf(nc net.Conn) pconn.Peer {
	peer := pconn.Peer{Addr: nc.RemoteAddr()}
	if s, ok := nc.(interface{ ConnectionState() tls.ConnectionState }); ok {
		if shown := s.ConnectionState().PeerCertificates; len(shown) > 0 {
			peer.Certificate = shown[0]
		}
	}
	if uc, ok := nc.(*net.UnixConn); ok {
		addSocketUser(&peer, uc)
	}
	return peer
}

// newDescriptorConn makes a connection of descriptors that are closed with it.
func newDescriptorConn(in *bufio.Input, out *bufio.Output, opts *pconn.Options) (*Conn, error) {
	c, err := pconn.New(in, out, opts)
	if err != nil {
		_ = in.Close()
		_ = out.Close()
		return nil, err
	}
	return &Conn{Conn: c}, nil
}

// serveOne serves the one connection of an endpoint.
func serveOne(ctx context.Context, e Endpoint, opts *pconn.Options) error {
	conn, err := e.Dial(ctx, opts)
	if err != nil {
		return err
	}
	select {
	case <-conn.Done():
		return conn.Wait()
	case <-ctx.Done():
		return drain(conn, opts)
	}
}

// drain ends a connection in good order, or closes it after its DrainTimeout.
func drain(conn *Conn, opts *pconn.Options) error {
	d := drainTimeout(opts)
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	err := conn.Shutdown(ctx)
	if err == nil || err != ctx.Err() {
		return err
	}
	return errors.Join(fmt.Errorf("%w: %s, %v", ErrNotDrained, conn.Name(), d), conn.Close())
}

func drainTimeout(opts *pconn.Options) time.Duration {
	if opts == nil || opts.DrainTimeout == 0 {
		return pconn.DefaultDrainTimeout
	}
	return opts.DrainTimeout
}
