package grpclinks_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func TestHandlerErrorsBecomeStatuses(t *testing.T) {
	cases := map[string]struct {
		code    codes.Code
		message string
	}{
		"plain":    {codes.Unknown, "plain text"},
		"deadline": {codes.DeadlineExceeded, context.DeadlineExceeded.Error()},
		"canceled": {codes.Canceled, context.Canceled.Error()},
		"wrapped":  {codes.NotFound, "outer: rpc error: code = NotFound desc = inner"},
		"EOF":      {codes.Unknown, "EOF"},
		"42":       {42, "forty-two"},
		"empty":    {codes.Aborted, ""},
		"odd":      {codes.Internal, oddText},
		"details":  {codes.FailedPrecondition, "detailed"},
	}
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		for kind, want := range cases {
			t.Run(kind, func(t *testing.T) {
				_, err := e.invoke("Fail", kind)
				requireStatus(t, want.code, want.message, err)

				s := e.stream(t, "FailStream")
				require.NoError(t, s.SendMsg(say(kind)))
				for range 3 {
					_, err = recv(s)
					requireStatus(t, want.code, want.message, err)
				}
				if kind == "details" {
					require.Len(t, status.Convert(err).Details(), 2)
				}
			})
		}
	})
}

func requireStatus(t *testing.T, code codes.Code, message string, err error) {
	t.Helper()
	require.Error(t, err)
	got, ok := status.FromError(err)
	require.True(t, ok, "%v", err)
	require.Equal(t, code, got.Code(), "%v", err)
	require.Equal(t, message, got.Message())
}

func TestHeaderAndTrailerReachTheClientOfACallThatFails(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		var header, trailer metadata.MD
		_, err := e.invoke("Fail", "plain", grpc.Header(&header), grpc.Trailer(&trailer))
		require.Error(t, err)
		require.Equal(t, []string{"1"}, header["h"])
		require.Equal(t, []string{"2"}, trailer["t"])

		s := e.stream(t, "FailStream")
		require.NoError(t, s.SendMsg(say("plain")))
		header, err = s.Header()
		require.NoError(t, err)
		require.Equal(t, []string{"1"}, header["h"])
		_, err = recv(s)
		requireCode(t, codes.Unknown, err)
		require.Equal(t, []string{"2"}, s.Trailer()["t"])
	})
}

func TestHeaderOfACallWithTrailersOnly(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		s := e.stream(t, "FailAtOnce")
		header, err := s.Header()
		require.NoError(t, err)
		require.Empty(t, header)
		_, err = recv(s)
		requireStatus(t, codes.Aborted, "at once", err)
	})
}
