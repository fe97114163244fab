package forward

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

// The names of streams, and the keys of their metadata.
const (
	streamForward = "forward"
	streamListen  = "forward-listen"

	keyTo = "to"
	keyOn = "on"
	keyAs = "as"
)

// Server does what the other end of a connection asks for, within its rules. It is a pconn.StreamHandler; streams of
// other names it refuses, so that in a program with streams of its own it stands in a pconn.StreamMux, by the
// names Names. It must not be changed while it serves.
type Server struct {
	// Dial are the addresses that it connects to.
	Dial Rules
	// Listen are the addresses that it listens on for the other end.
	Listen Rules
	// Logger is told of connections that fail. nil is silent.
	Logger *slog.Logger
}

// Names returns the names of the streams that a Server takes.
func Names() []string { return []string{streamForward, streamListen} }

// ServeStream implements pconn.StreamHandler. It returns when the connection that was asked for has ended, or when the
// other end wants it no longer.
func (s *Server) ServeStream(ctx context.Context, stream *pconn.Stream) error {
	switch stream.Name() {
	case streamForward:
		to, err := s.allowed(stream, keyTo, s.Dial)
		if err != nil {
			return err
		}
		return connect(ctx, stream, to)
	case streamListen:
		on, err := s.allowed(stream, keyOn, s.Listen)
		if err != nil {
			return err
		}
		return s.listen(ctx, stream, on)
	}
	return pconn.Refuse("no handler for streams named %q", stream.Name())
}

// allowed returns the address that a stream asks for.
func (s *Server) allowed(stream *pconn.Stream, key string, rules Rules) (Address, error) {
	text := value(stream.Metadata(), key)
	a, err := ParseAddress(text)
	if err != nil {
		return nil, pconn.Refuse("%v", err)
	}
	if !rules.allow(a) {
		s.log("not allowed", "address", text)
		return nil, pconn.Refuse("%s is not allowed", text)
	}
	return a, nil
}

// connect gives a stream the connection that it asks for.
func connect(ctx context.Context, stream *pconn.Stream, to endpoint.Opener) error {
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	t, err := to.Open(dialing)
	cancel()
	if err != nil {
		return pconn.Refuse("%v", err)
	}
	if _, err := stream.Write([]byte{connected}); err != nil {
		return errors.Join(err, t.Close())
	}
	return endpoint.Join(ctx, stream, t, sockets())
}

// listen listens for the other end, for as long as its stream lives.
func (s *Server) listen(ctx context.Context, stream *pconn.Stream, on Address) error {
	as := value(stream.Metadata(), keyAs)
	if as == "" {
		return pconn.Refuse("the name of the streams to open is missing")
	}
	l, err := on.Listen(ctx)
	if err != nil {
		return pconn.Refuse("%v", err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if err := stream.Messages(maxAddress).Send(ctx, []byte(address(l.Addr()))); err != nil {
		return errors.Join(err, l.Close())
	}
	ended := make(chan struct{})
	// It ends with the stream, which this function ends.
	go func() {
		defer close(ended)
		_, _ = stream.Read(make([]byte, 1)) // nothing comes but the end
		stop()
	}()
	err = l.ServeBytes(ctx, s.Logger, func(ctx context.Context, t endpoint.Transport) error {
		return join(ctx, stream.Conn(), t, as, nil)
	})
	stream.Reset(0)
	<-ended
	return err
}

func (s *Server) log(msg string, args ...any) {
	if s.Logger != nil {
		s.Logger.Warn("forward: "+msg, args...)
	}
}

// value returns the value of a key of the metadata, or "".
func value(m pconn.Metadata, key string) string {
	i := slices.IndexFunc(m, func(f pconn.Field) bool { return f.Key == key })
	if i < 0 {
		return ""
	}
	return string(m[i].Value)
}

func field(key, value string) pconn.Field { return pconn.Field{Key: key, Value: []byte(value)} }
