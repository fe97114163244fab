package grpclinks

import (
	"context"
	"errors"
	"io"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/packetstream/packetstream/rpc/links"
)

// errClosing is what calls get that are cut off, or come after, a Close of the client.
var errClosing = status.Error(codes.Canceled, "grpc: the client connection is closing")

// handlerStatus is the status of what a handler returned.
func handlerStatus(err error) *status.Status {
	if err == nil {
		return nil
	}
	if s, ok := status.FromError(err); ok {
		return s
	}
	return status.FromContextError(err)
}

// closingOf is how a server says its status. OK without a message needs no words.
func closingOf(s *status.Status, trailer links.Metadata) links.Closing {
	closing := links.Closing{Terminal: trailer}
	if s.Code() == codes.OK && s.Message() == "" {
		return closing
	}
	code, message := uint32(s.Code()), s.Message()
	closing.Code, closing.Message = &code, &message
	if p := s.Proto(); len(p.GetDetails()) > 0 {
		if details, err := proto.Marshal(p); err == nil {
			closing.Terminal = append(withoutKey(closing.Terminal, detailsKey), links.Pair{Key: detailsKey, Value: string(details)})
		}
	}
	return closing
}

func withoutKey(pairs links.Metadata, key string) links.Metadata {
	var kept links.Metadata
	for _, pair := range pairs {
		if pair.Key != key {
			kept = append(kept, pair)
		}
	}
	return kept
}

// closingError is the status that a server said, nil for OK.
func closingError(c *links.Closing) error {
	if c.Code == nil || *c.Code == uint32(codes.OK) {
		return nil
	}
	message := ""
	if c.Message != nil {
		message = *c.Message
	}
	s := &spb.Status{Code: int32(*c.Code), Message: message}
	if details := c.Terminal.Values(detailsKey); len(details) == 1 {
		var full spb.Status
		if proto.Unmarshal([]byte(details[0]), &full) == nil && full.GetCode() == s.Code {
			s = &full
		}
	}
	return status.FromProto(s).Err()
}

// outcomeError is the status of a call that ended without the server's word. linkErr is the end of the connection, if it has ended.
func outcomeError(outcome links.Outcome, linkErr error) error {
	message := outcome.Kind.String()
	if outcome.Message != nil {
		message = *outcome.Message
	}
	if outcome.Code != nil {
		return status.Error(codes.Code(*outcome.Code), message)
	}
	switch outcome.Kind {
	case links.Cancelled:
		return status.FromContextError(context.Canceled).Err()
	case links.Expired:
		return status.FromContextError(context.DeadlineExceeded).Err()
	case links.LocalShutdown:
		return errClosing
	case links.RemoteShutdown:
		return status.Error(codes.Unavailable, message)
	case links.TransmissionFailed:
		if errors.Is(linkErr, links.ErrClosed) {
			return errClosing
		}
		return status.Error(codes.Unavailable, message)
	case links.ReceptionFailed:
		return status.Error(codes.Internal, message)
	default:
		return status.Error(codes.Unknown, message)
	}
}

// beginError is the status of a call that could not begin.
func beginError(err error) error {
	switch {
	case errors.Is(err, links.ErrStopped):
		return errClosing
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	default:
		return status.Error(codes.Unavailable, err.Error())
	}
}

// isEnd says whether an operation's error only says that it has ended, so that the reason is to be asked for elsewhere.
func isEnd(err error) bool {
	var ended *links.OutcomeError
	return errors.Is(err, io.EOF) || errors.As(err, &ended)
}
