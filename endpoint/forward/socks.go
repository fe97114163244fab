package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/things-go/go-socks5"
	"github.com/things-go/go-socks5/statute"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

// Socks listens here as a SOCKS5 proxy, and has the other end connect to where each client wants to go. Names are
// looked up at the other end. Of the commands there is CONNECT, and clients need not say who they are: whoever may connect to
// the address it listens on may use it.
//
// It returns as Local does.
func Socks(ctx context.Context, conn Conn, at Address, opts *Options) error {
	return serve(ctx, conn, at, opts, func(ctx context.Context, t endpoint.Transport) error {
		client, ok := t.(net.Conn)
		if !ok {
			return errors.Join(fmt.Errorf("forward: SOCKS over %T: %w", t, errors.ErrUnsupported), t.Close())
		}
		s := &socks{conn: conn, ctx: ctx, client: client}
		return s.serve()
	})
}

// socks is one client.
type socks struct {
	conn   Conn
	ctx    context.Context // of serving the client
	client net.Conn
	stop   func() bool // has the end of ctx end no more reading of the client; set by serve
}

func (s *socks) serve() error {
	// The greeting and the request come first, and must come.
	if err := s.client.SetDeadline(time.Now().Add(greetingTimeout)); err != nil {
		return errors.Join(err, s.client.Close())
	}
	server := socks5.NewServer(
		socks5.WithResolver(atTheOtherEnd{}),
		socks5.WithRule(&socks5.PermitCommand{EnableConnect: true}),
		socks5.WithConnectHandle(s.connect),
	)
	s.stop = context.AfterFunc(s.ctx, func() { _ = s.client.SetReadDeadline(time.Unix(1, 0)) })
	defer s.stop()
	return server.ServeConn(s.client)
}

// atTheOtherEnd leaves names as they are.
type atTheOtherEnd struct{}

// Resolve implements socks5.NameResolver.
func (atTheOtherEnd) Resolve(ctx context.Context, _ string) (context.Context, net.IP, error) {
	return ctx, nil, nil
}

// connect serves a CONNECT.
func (s *socks) connect(_ context.Context, w io.Writer, req *socks5.Request) error {
	ctx, cancel := context.WithTimeout(s.ctx, dialTimeout)
	stream, err := Dial(ctx, s.conn, endpoint.TCP{Addr: req.DestAddr.String()})
	cancel()
	if err != nil {
		return errors.Join(err, socks5.SendReply(w, refusal(err), nil))
	}
	// What address the other end has is its own affair.
	if err := socks5.SendReply(w, statute.RepSuccess, &net.TCPAddr{IP: net.IPv4zero}); err != nil {
		stream.Reset(0)
		return err
	}
	if !s.stop() { // from here on Join sees to the end
		stream.Reset(0)
		return s.ctx.Err()
	}
	if err := s.client.SetDeadline(time.Time{}); err != nil {
		stream.Reset(0)
		return err
	}
	return endpoint.Join(s.ctx, &ahead{s.client.(endpoint.Transport), req.Reader}, stream, sockets())
}

// refusal is what a client is told of an error.
func refusal(err error) uint8 {
	switch {
	case errors.Is(err, pconn.ErrStreamRefused):
		return statute.RepHostUnreachable
	case errors.Is(err, context.DeadlineExceeded):
		return statute.RepTTLExpired
	}
	return statute.RepServerFailure
}

// ahead is a client of which something was read ahead.
type ahead struct {
	endpoint.Transport
	in io.Reader
}

func (a *ahead) Read(p []byte) (int, error) { return a.in.Read(p) }
