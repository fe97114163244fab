// Package eventstreamtest is the service that interop checks of the event-stream RPC protocol talk to: an
// echo, a chat, a counter and so on, and the ways in which a server can refuse or fail.
package eventstreamtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/packetstream/packetstream/rpc/eventstream"
)

// New returns a server that offers the service. The caller sets what else it wants and closes it.
func New() *eventstream.Server {
	return &eventstream.Server{
		Handler:         newMux(),
		Connect:         connect,
		ProtocolMessage: protocolMessage,
	}
}

// connect echoes what the client's CONNECT brought. It leaves the errors of an ack that cannot be sent
// to the connection, which has ended then.
func connect(_ context.Context, r *eventstream.ConnectRequest) {
	m := r.Message()
	switch headers := m.Headers.User(); headers.Text("interop-connect") {
	case "silent":
	case "reject":
		_ = r.Reject(headers, m.Payload)
	default:
		_ = r.Accept(headers, m.Payload)
	}
}

func protocolMessage(ctx context.Context, c *eventstream.ServerConn, m *eventstream.Message) bool {
	if m.Type != eventstream.MessageTypePing {
		return false
	}
	told := &eventstream.Message{Type: eventstream.MessageTypeProtocolError, Payload: []byte("told to")}
	switch m.Headers.Text("interop-action") {
	case "close":
		_ = c.Close()
	case "internal-error":
		told.Type = eventstream.MessageTypeInternalError
		_ = c.Fail(told)
	case "protocol-error":
		_ = c.Fail(told)
	case "protocol-error-open":
		_ = c.SendProtocolMessage(ctx, told)
	default:
		return false
	}
	return true
}

func newMux() *eventstream.Mux {
	mux := eventstream.NewMux()
	mux.HandleFunc("interop#Echo", echo)
	mux.HandleFunc("interop#Chat", chat)
	mux.HandleFunc("interop#Count", count)
	mux.HandleFunc("interop#Fail", fail)
	mux.HandleFunc("interop#Sink", sink)
	mux.HandleFunc("interop#Hold", hold)
	mux.HandleFunc("interop#Drop", func(_ context.Context, s *eventstream.ServerStream) error {
		return s.Conn().Close()
	})
	mux.HandleFunc("interop#Stats", stats)
	mux.HandleFunc("interop#Refuse", func(context.Context, *eventstream.ServerStream) error {
		return eventstream.ErrRefuseStream
	})
	return mux
}

// reply is a message with the type, headers and payload of m.
func reply(m *eventstream.Message, flags eventstream.MessageFlag) *eventstream.Message {
	return &eventstream.Message{Type: m.Type, Flags: flags, Headers: m.Headers.User(), Payload: m.Payload}
}

func last(payload []byte) *eventstream.Message {
	return &eventstream.Message{Flags: eventstream.FlagTerminateStream, Payload: payload}
}

func echo(ctx context.Context, s *eventstream.ServerStream) error {
	m, err := s.Recv(ctx)
	if err != nil {
		return err
	}
	return s.Send(ctx, reply(m, eventstream.FlagTerminateStream))
}

func chat(ctx context.Context, s *eventstream.ServerStream) error {
	for {
		m, err := s.Recv(ctx)
		if err != nil {
			return ignoreEnd(err)
		}
		if m.Flags&eventstream.FlagTerminateStream != 0 {
			return nil
		}
		if err := s.Send(ctx, reply(m, 0)); err != nil {
			return err
		}
	}
}

// ignoreEnd turns the end of a stream by the client into success.
func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func count(ctx context.Context, s *eventstream.ServerStream) error {
	m, err := s.Recv(ctx)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(m.Payload)))
	if err != nil || n < 0 {
		return &eventstream.ApplicationError{
			Headers: eventstream.Headers{eventstream.String("error-code", "NotANumber")},
			Payload: fmt.Appendf(nil, "%q is not a count", m.Payload),
		}
	}
	if n == 0 {
		return s.Send(ctx, last(nil))
	}
	for i := range n - 1 {
		if err := s.Send(ctx, &eventstream.Message{Payload: strconv.AppendInt(nil, int64(i), 10)}); err != nil {
			return err
		}
	}
	return s.Send(ctx, last(strconv.AppendInt(nil, int64(n-1), 10)))
}

func fail(ctx context.Context, s *eventstream.ServerStream) error {
	m, err := s.Recv(ctx)
	if err != nil {
		return err
	}
	return &eventstream.ApplicationError{
		Headers: eventstream.Headers{eventstream.String("error-code", "InteropFailure")},
		Payload: m.Payload,
	}
}

func sink(ctx context.Context, s *eventstream.ServerStream) error {
	sum := 0
	for {
		m, err := s.Recv(ctx)
		if err != nil {
			return ignoreEnd(err)
		}
		if string(m.Payload) == "end" {
			return s.Send(ctx, last(strconv.AppendInt(nil, int64(sum), 10)))
		}
		sum += len(m.Payload)
	}
}

func hold(ctx context.Context, s *eventstream.ServerStream) error {
	for {
		if _, err := s.Recv(ctx); err != nil {
			return ignoreEnd(err)
		}
	}
}

func stats(ctx context.Context, s *eventstream.ServerStream) error {
	body, err := json.Marshal(s.Conn().Stats())
	if err != nil {
		return err
	}
	return s.Send(ctx, last(body))
}
