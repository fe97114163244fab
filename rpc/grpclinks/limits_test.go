package grpclinks_test

import (
	"io"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"google.golang.org/grpc/encoding/gzip"

	"github.com/packetstream/packetstream/rpc/grpclinks"
	"github.com/packetstream/packetstream/rpc/links"
)

// sized is a text whose message has exactly n bytes.
func sized(n int) string {
	for size := n; size > 0; size-- {
		if proto.Size(say(strings.Repeat("x", size))) == n {
			return strings.Repeat("x", size)
		}
	}
	return ""
}

func TestMessageLimits(t *testing.T) {
	receive, send := grpc.MaxCallRecvMsgSize(1000), grpc.MaxCallSendMsgSize(1000)
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		e.must(t, "Echo", sized(1000), receive, send)
		_, err := e.invoke("Echo", sized(1001), receive)
		requireCode(t, codes.ResourceExhausted, err)
		_, err = e.invoke("Echo", sized(1001), send)
		requireCode(t, codes.ResourceExhausted, err)

		s := e.stream(t, "EchoStream", receive)
		require.NoError(t, s.SendMsg(say("small")))
		require.Equal(t, "small", mustRecv(t, s))
		require.NoError(t, s.SendMsg(say(sized(1001))))
		for range 2 {
			_, err = recv(s)
			requireCode(t, codes.ResourceExhausted, err)
		}
		s = e.stream(t, "EchoStream", send)
		requireCode(t, codes.ResourceExhausted, s.SendMsg(say(sized(1001))))
	})
	sideBySide(t, "limits", func(t *testing.T, e *env) {
		e.must(t, "Echo", sized(1000))
		_, err := e.invoke("Echo", sized(1001))
		requireCode(t, codes.ResourceExhausted, err)
		_, err = e.invoke("Big", "1001")
		requireCode(t, codes.ResourceExhausted, err)

		s := e.stream(t, "EchoStream")
		require.NoError(t, s.SendMsg(say("small")))
		require.NoError(t, s.SendMsg(say(sized(1001))))
		require.Equal(t, "small", mustRecv(t, s))
		_, err = recv(s)
		requireCode(t, codes.ResourceExhausted, err)
		s = e.stream(t, "Count")
		require.NoError(t, s.SendMsg(say("2 1001")))
		_, err = recv(s)
		requireCode(t, codes.ResourceExhausted, err)
		// The connection is none the worse.
		e.must(t, "Echo", "after")
	})
}

func TestDefaultLimits(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		_, err := e.invoke("Echo", sized(4<<20+1))
		requireCode(t, codes.ResourceExhausted, err)
		_, err = e.invoke("Big", "5000000")
		requireCode(t, codes.ResourceExhausted, err)
		require.Len(t, e.must(t, "Big", "6000000", grpc.MaxCallRecvMsgSize(math.MaxInt)), 6000000)
		e.must(t, "Echo", sized(4<<20))
	})
}

func TestCompressedMessages(t *testing.T) {
	zip := grpc.UseCompressor(gzip.Name)
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		long := strings.Repeat("squeeze ", 5000)
		require.Equal(t, long, e.must(t, "Echo", long, zip))
		require.Empty(t, e.must(t, "Echo", "", zip))
		require.Equal(t, "x", e.must(t, "Echo", "x", grpc.UseCompressor("identity")))
		_, err := e.invoke("Echo", "x", grpc.UseCompressor("unheard-of"))
		requireCode(t, codes.Internal, err)

		s := e.stream(t, "EchoStream", zip)
		require.NoError(t, s.SendMsg(say(long)))
		require.Equal(t, long, mustRecv(t, s))
		require.NoError(t, s.CloseSend())
		_, err = drain(s)
		require.NoError(t, err)

		// What is small on the way and large in the end stops at the limit.
		bomb := strings.Repeat("0", 8<<20)
		_, err = e.invoke("Echo", bomb, zip)
		requireCode(t, codes.ResourceExhausted, err)
		_, err = e.invoke("Big", "8000000", zip)
		requireCode(t, codes.ResourceExhausted, err)
	})
	sideBySide(t, "limits", func(t *testing.T, e *env) {
		_, err := e.invoke("Echo", strings.Repeat("0", 100_000), zip)
		requireCode(t, codes.ResourceExhausted, err)
	})
}

// A caller may compress in a way that the server does not know.
func TestUnknownEncodingOfTheCaller(t *testing.T) {
	a, b := links.Pipe()
	server := grpclinks.NewServer(nil)
	newTestServer().register(server, server.GracefulStop)
	require.NoError(t, server.Attach(b))
	end := links.NewEnd(nil, nil)
	require.NoError(t, end.Start())
	links.Join(end, a)
	op, err := end.Operate(t.Context(), links.Opening{Group: "test.S", Method: "Echo", Payload: links.NewPayload([]byte{1, 2, 3}, nil),
		Completion: &links.Closing{}, Protocol: &links.Protocol{Kind: links.CallOption, Value: links.Metadata{{Key: "encoding", Value: "unknown"}}}})
	require.NoError(t, err)
	_, err = op.Recv(t.Context())
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, uint32(codes.Unimplemented), *op.Completion().Code)
	<-end.Stop(0)
	server.Stop()
}
