package eventstream

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"
)

// Dial connects to address, as net.Dial has network and address, speaks TLS if opts.TLS is set, and
// finishes the handshake as NewClient does. ctx limits only this. opts may be nil.
func Dial(ctx context.Context, network, address string, opts *Options) (*ClientConn, error) {
	opts = orDefault(opts, &Options{})
	conn, err := dial(ctx, network, address, opts.TLS)
	if err != nil {
		return nil, fmt.Errorf("eventstream: dial %s: %w", address, err)
	}
	return NewClient(ctx, conn, opts)
}

func dial(ctx context.Context, network, address string, config *tls.Config) (net.Conn, error) {
	if config == nil {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	return (&tls.Dialer{Config: config}).DialContext(ctx, network, address)
}

// NewClient starts a client connection on rwc, which it owns from then on, sends CONNECT and waits
// for the CONNECT_ACK. ctx limits the handshake alone. opts may be nil. A PING of the server is answered.
// The caller closes the connection; if there is an error it is closed already: a *RejectedError
// if the server refused, ErrHandshakeTimeout, ctx's error, or why the connection ended.
func NewClient(ctx context.Context, rwc io.ReadWriteCloser, opts *Options) (*ClientConn, error) {
	opts = orDefault(opts, &Options{})
	c, err := NewConn(rwc, nil, opts)
	if err != nil {
		_ = rwc.Close()
		return nil, err
	}
	if err := c.connect(ctx, opts); err != nil {
		_ = c.Close()
		<-c.done
		return nil, err
	}
	return c, nil
}

func (c *ClientConn) connect(ctx context.Context, opts *Options) error {
	headers := opts.ConnectHeaders
	if _, ok := headers.Lookup(headerVersion); !ok {
		headers = append(Headers{String(headerVersion, Version)}, headers...)
	}
	m := &Message{Type: MessageTypeConnect, Headers: headers, Payload: opts.ConnectPayload}
	if err := c.SendProtocolMessage(m, nil); err != nil {
		return err
	}
	var expired <-chan time.Time
	if d := orDefault(opts.HandshakeTimeout, DefaultHandshakeTimeout); d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-c.acked:
	case <-c.ctx.Done():
		// An ack and the end of the connection may have come together.
		if c.Ack() == nil {
			return context.Cause(c.ctx)
		}
	case <-ctx.Done():
		return ctx.Err()
	case <-expired:
		return ErrHandshakeTimeout
	}
	if ack := c.Ack(); ack.Flags&FlagConnectionAccepted == 0 {
		return &RejectedError{Message: ack}
	}
	return nil
}

// Ack returns the server's CONNECT_ACK, or nil if there was none yet. It is not to be changed.
func (c *ClientConn) Ack() *Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ack
}
