package grpclinks_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
)

func TestMetadataArrivesAsItWasGiven(t *testing.T) {
	binary := "\x00\x01\xff,\x80 "
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		ctx := metadata.NewOutgoingContext(e.ctx, metadata.MD{"many": {"1", "", " spaces ", "a,b", "1"}})
		ctx = metadata.AppendToOutgoingContext(ctx, "UPPER-Key", "v", "many", "last", "plain_.-9", "~!")
		md := e.asked(t, ctx)
		require.Equal(t, []string{"v"}, md["upper-key"])
		require.Equal(t, []string{"1", "", " spaces ", "a,b", "1", "last"}, md["many"])
		require.Equal(t, []string{"~!"}, md["plain_.-9"])

		echoed, err := json.Marshal(metadata.MD{"k": {"1", "", " s ", "a,b"}})
		require.NoError(t, err)
		var header, trailer metadata.MD
		e.must(t, "Trailers", string(echoed), grpc.Header(&header), grpc.Trailer(&trailer))
		require.Equal(t, []string{"1", "", " s ", "a,b"}, header["k"])
		require.Equal(t, []string{"1", "", " s ", "a,b"}, trailer["k"])

		// Binary both ways: the handler's comes in a header, ours goes out and is checked by length, because JSON is text.
		e.must(t, "Headers", "", grpc.Header(&header), grpc.Trailer(&trailer))
		require.Equal(t, []string{"\x00\xff"}, header["b-bin"])
		md = e.asked(t, metadata.AppendToOutgoingContext(e.ctx, "x-bin", binary))
		want, err := json.Marshal(binary)
		require.NoError(t, err)
		got, err := json.Marshal(md["x-bin"][0])
		require.NoError(t, err)
		require.Len(t, md["x-bin"], 1)
		require.JSONEq(t, string(want), string(got))
	})
}

func TestBadMetadataIsRefusedBeforeAnythingIsSent(t *testing.T) {
	bad := []metadata.MD{{"": {"v"}}, {"a b": {"v"}}, {"ü": {"v"}}, {"k": {"\x1f"}}, {"k": {"\x7f"}}, {"k": {"ü"}}}
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		for _, md := range bad {
			ctx := metadata.NewOutgoingContext(e.ctx, md)
			_, err := e.invokeWith(ctx, "Echo", "x")
			requireCode(t, codes.Internal, err)
			s, err := e.cc.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test.S/EchoStream")
			requireCode(t, codes.Internal, err)
			require.Nil(t, s)
		}
		s := e.stream(t, "BadHeaders")
		require.NoError(t, s.CloseSend())
		require.Equal(t, "Internal Internal Internal Internal Internal Internal Internal Internal Internal Internal", mustRecv(t, s))
	})
}

func TestReservedMetadataCannotBeForged(t *testing.T) {
	keys := []string{"grpc-timeout", "grpc-status", "grpc-message", "grpc-encoding", "grpc-message-type", "te", "content-type", "user-agent"}
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		forged := metadata.MD{"grpc-free": {"kept"}, "k": {"v"}}
		for _, key := range keys {
			forged[key] = []string{"forged"}
		}
		md := e.asked(t, metadata.NewOutgoingContext(e.ctx, forged))
		for _, key := range keys {
			require.NotContains(t, md[key], "forged", key)
		}
		require.Equal(t, []string{"kept"}, md["grpc-free"])

		in, err := json.Marshal(forged)
		require.NoError(t, err)
		var header, trailer metadata.MD
		e.must(t, "Trailers", string(in), grpc.Header(&header), grpc.Trailer(&trailer))
		for _, key := range keys {
			require.NotContains(t, header[key], "forged", key)
			require.NotContains(t, trailer[key], "forged", key)
		}
		require.Equal(t, []string{"kept"}, header["grpc-free"])
		require.Equal(t, []string{"kept"}, trailer["grpc-free"])
	})
}

func TestWhatTheTransportSaysItself(t *testing.T) {
	sideBySideWith(t, "plain", client{authority: "thing.example", userAgent: "tester/1"}, func(t *testing.T, e *env) {
		md := e.asked(t, e.ctx)
		require.Equal(t, []string{"thing.example"}, md[":authority"])
		require.Equal(t, []string{"application/grpc"}, md["content-type"])
		require.Len(t, md["user-agent"], 1)
		require.Contains(t, md["user-agent"][0], "tester/1")
		require.Equal(t, []string{"gzip"}, md["grpc-accept-encoding"])
		var header metadata.MD
		e.must(t, "Echo", "x", grpc.Header(&header))
		require.Equal(t, []string{"application/grpc"}, header["content-type"])
	})
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		md := e.asked(t, e.ctx)
		require.Len(t, md[":authority"], 1)
		require.Len(t, md["user-agent"], 1)
		require.NotEmpty(t, md["user-agent"][0])
	})
}

func TestNothingElseCrosses(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		ctx := context.WithValue(e.ctx, contextKey{}, "secret")
		ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("incoming", "1"))
		ctx = metadata.AppendToOutgoingContext(ctx, "outgoing", "1")
		out, err := e.invokeWith(ctx, "Context", "")
		require.NoError(t, err)
		var seen map[string]any
		require.NoError(t, json.Unmarshal([]byte(out), &seen))
		require.Nil(t, seen["value"])
		require.Equal(t, false, seen["outgoing"])
		require.Equal(t, true, seen["peer"])
		require.Equal(t, "/test.S/Context", seen["method"])
		md := e.asked(t, ctx)
		require.Empty(t, md["incoming"])
		require.Equal(t, []string{"1"}, md["outgoing"])
	})
}

func TestHeadersAndTrailersMergeUntilTheyAreSent(t *testing.T) {
	const said = "ok ok ok Internal Internal"
	check := func(t *testing.T, header, trailer metadata.MD) {
		t.Helper()
		require.Equal(t, []string{"1", "2"}, header["a"])
		require.Equal(t, []string{"\x00\xff"}, header["b-bin"])
		require.Equal(t, []string{"3"}, header["c"])
		require.Empty(t, header["d"])
		require.Empty(t, header["e"])
		require.Equal(t, []string{"1", "2"}, trailer["t"])
	}
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		var header, trailer metadata.MD
		got := e.must(t, "Headers", "", grpc.Header(&header), grpc.Trailer(&trailer))
		require.Equal(t, codesOf(said), codesOf(got))
		check(t, header, trailer)

		for _, method := range []string{"HeadersStream", "ContextHeaders"} {
			s := e.stream(t, method)
			header, err := s.Header() // HeadersStream's handler still runs
			require.NoError(t, err)
			got := mustRecv(t, s)
			require.Equal(t, codesOf(said), codesOf(got)[:5])
			require.NoError(t, s.CloseSend())
			_, _ = drain(s)
			check(t, header, s.Trailer())
		}
		s := e.stream(t, "LateHeaders")
		n, err := drain(s)
		require.NoError(t, err)
		require.Equal(t, 1, n)
	})
}

// codesOf makes all errors alike: which code they have differs between the ways to set a header.
func codesOf(said string) []string {
	var all []string
	for _, word := range splitWords(said) {
		if word != "ok" {
			word = "error"
		}
		all = append(all, word)
	}
	return all
}
