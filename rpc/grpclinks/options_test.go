package grpclinks_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/packetstream/packetstream/rpc/grpclinks"
	"github.com/packetstream/packetstream/rpc/links"
)

// shoutCodec writes texts in upper case, so that it is seen which codec was used.
type shoutCodec struct{ name string }

func (shoutCodec) Marshal(v any) ([]byte, error) {
	m, ok := v.(*text)
	if !ok {
		return nil, errors.New("not a text")
	}
	return []byte(strings.ToUpper(m.GetValue())), nil
}

func (shoutCodec) Unmarshal(data []byte, v any) error {
	v.(*text).Value = string(data)
	return nil
}

func (c shoutCodec) Name() string   { return c.name }
func (c shoutCodec) String() string { return c.name }

// protoV2 is the default codec under another name.
type protoV2 struct{ encoding.CodecV2 }

func (protoV2) Name() string { return "Proto" }

func TestCodecs(t *testing.T) {
	encoding.RegisterCodec(shoutCodec{"shout"})
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		shout := grpc.CallContentSubtype("SHOUT")
		if e.real || !isChild(e) {
			require.Equal(t, "LOUD", e.must(t, "Echo", "loud", shout))
			s := e.stream(t, "EchoStream", shout)
			require.NoError(t, s.SendMsg(say("loud")))
			require.Equal(t, "LOUD", mustRecv(t, s))
			var header metadata.MD
			e.must(t, "Echo", "x", shout, grpc.Header(&header))
			require.Equal(t, []string{"application/grpc+shout"}, header["content-type"])
			require.Equal(t, "LOUD", e.must(t, "Echo", "loud", grpc.ForceCodec(shoutCodec{"shout"})))
			//lint:ignore SA1019 it is one of the options
			require.Equal(t, "LOUD", e.must(t, "Echo", "loud", shout, grpc.CallCustomCodec(shoutCodec{"other"})))
		}
		require.Equal(t, "quiet", e.must(t, "Echo", "quiet", grpc.ForceCodecV2(protoV2{encoding.GetCodecV2("proto")})))
		require.Equal(t, []string{"application/grpc+proto"}, e.asked(t, e.ctx, grpc.CallContentSubtype("proto"))["content-type"])

		_, err := e.invoke("Echo", "x", grpc.CallContentSubtype("unheard-of"))
		requireCode(t, codes.Internal, err)
		err = e.cc.Invoke(e.ctx, "/test.S/Echo", "not a message", new(text))
		requireCode(t, codes.Internal, err)
		err = e.cc.Invoke(e.ctx, "/test.S/Echo", say("x"), "not a message")
		requireCode(t, codes.Internal, err)
	})
}

// isChild says whether the server is another process, which has not registered what a test has.
func isChild(e *env) bool { return e.name == "child" }

func TestOnFinish(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		var calls atomic.Int32
		finished := make(chan error, 10)
		onFinish := grpc.OnFinish(func(err error) {
			calls.Add(1)
			finished <- err
		})
		await := func() error {
			t.Helper()
			select {
			case err := <-finished:
				return err
			case <-time.After(10 * time.Second):
				t.Fatal("OnFinish was not called")
				return nil
			}
		}
		e.must(t, "Echo", "x", onFinish, onFinish)
		require.NoError(t, await())
		require.NoError(t, await()) // both count
		_, err := e.invoke("Fail", "42", onFinish)
		require.Error(t, err)
		requireCode(t, 42, await())

		s := e.stream(t, "EchoStream", onFinish)
		require.NoError(t, s.CloseSend())
		_, err = recv(s)
		require.Equal(t, io.EOF, err)
		_, err = recv(s)
		require.Equal(t, io.EOF, err)
		require.NoError(t, await())

		ctx, cancel := context.WithCancel(e.ctx)
		e.streamWith(t, ctx, "Mute", onFinish)
		cancel()
		requireCode(t, codes.Canceled, await())

		_, err = e.invokeWith(ctx, "Echo", "x", onFinish)
		require.Error(t, err)
		requireCode(t, codes.Canceled, await())
		_, err = e.invoke("Echo", "x", onFinish, grpc.UseCompressor("unheard-of"))
		require.Error(t, err)
		requireCode(t, codes.Internal, await())
		require.EqualValues(t, 7, calls.Load())
	})
}

func TestOptionsThatTellOrAreAccepted(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		var p, p2 peer.Peer
		var h, h2, tr metadata.MD
		e.must(t, "Headers", "", grpc.Peer(&p), grpc.Peer(&p2), grpc.WaitForReady(true), grpc.StaticMethod(), grpc.Header(&h), grpc.Header(&h2),
			grpc.Trailer(&tr), grpc.MaxRetryRPCBufferSize(1), grpc.EmptyCallOption{}, ownOption{})
		require.NotNil(t, p.Addr)
		require.NotEmpty(t, p.Addr.String())
		require.NotEmpty(t, p.Addr.Network())
		require.NotNil(t, p2.Addr)
		require.NotEmpty(t, h["a"])
		h["a"][0] = "changed"
		require.Equal(t, "1", h2["a"][0]) // a copy each
		require.NotEmpty(t, tr["t"])
		if !e.real { // its credentials refuse another authority
			require.Equal(t, []string{"other.example"}, e.asked(t, e.ctx, grpc.CallAuthority("other.example"))[":authority"])
		}
	})
}

type ownOption struct{ grpc.EmptyCallOption }

// tokenCreds are credentials as a test needs them.
type tokenCreds struct {
	secure bool
	err    error
	pairs  map[string]string
}

func (c tokenCreds) RequireTransportSecurity() bool { return c.secure }

func (c tokenCreds) GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error) {
	if c.err != nil {
		return nil, c.err
	}
	pairs := map[string]string{"Uri": uri[0]}
	if info, ok := credentials.RequestInfoFromContext(ctx); ok {
		pairs["method"] = info.Method
	}
	for key, value := range c.pairs {
		pairs[key] = value
	}
	return pairs, nil
}

func TestPerCallCredentials(t *testing.T) {
	sideBySideWith(t, "plain", client{authority: "thing.example"}, func(t *testing.T, e *env) {
		ctx := metadata.AppendToOutgoingContext(e.ctx, "k", "v", "Token", "mine")
		md := e.asked(t, ctx, grpc.PerRPCCredentials(tokenCreds{pairs: map[string]string{"token": "theirs"}}))
		require.ElementsMatch(t, []string{"mine", "theirs"}, md["token"])
		require.Equal(t, []string{"v"}, md["k"])
		require.Equal(t, []string{"https://thing.example/test.S"}, md["uri"])
		require.Equal(t, []string{"/test.S/Metadata"}, md["method"])

		_, err := e.invoke("Echo", "x", grpc.PerRPCCredentials(tokenCreds{err: errors.New("plain")}))
		requireCode(t, codes.Internal, err)
		_, err = e.invoke("Echo", "x", grpc.PerRPCCredentials(tokenCreds{err: status.Error(codes.PermissionDenied, "no")}))
		requireCode(t, codes.PermissionDenied, err)
		_, err = e.invoke("Echo", "x", grpc.PerRPCCredentials(tokenCreds{secure: true}))
		requireCode(t, codes.Unauthenticated, err)
	})
	sideBySideWith(t, "plain", client{creds: tokenCreds{pairs: map[string]string{"from": "connection"}}}, func(t *testing.T, e *env) {
		md := e.asked(t, e.ctx, grpc.PerRPCCredentials(tokenCreds{pairs: map[string]string{"from2": "call"}}))
		require.Equal(t, []string{"connection"}, md["from"])
		require.Equal(t, []string{"call"}, md["from2"])
	})
}

func TestTrustedLinkCarriesSecureCredentials(t *testing.T) {
	a, b := links.Pipe()
	backend := newTestServer()
	server := grpclinks.NewServer(&grpclinks.ServerOptions{Trusted: true})
	backend.register(server, server.GracefulStop)
	require.NoError(t, server.Attach(b))
	defer server.Stop()
	cc := grpclinks.NewClientConn(a, &grpclinks.ClientOptions{Trusted: true, Credentials: tokenCreds{secure: true}})
	defer cc.Close()
	var p peer.Peer
	out := new(text)
	require.NoError(t, cc.Invoke(t.Context(), "/test.S/Metadata", say(""), out, grpc.Peer(&p)))
	var md metadata.MD
	require.NoError(t, json.Unmarshal([]byte(out.GetValue()), &md))
	require.NotEmpty(t, md["uri"])
	require.Equal(t, "links", p.AuthInfo.AuthType())
	require.NoError(t, credentials.CheckSecurityLevel(p.AuthInfo, credentials.PrivacyAndIntegrity))
}

// countedCodec is a codec whose memory is counted, to see that all of it is given back.
type countedCodec struct{ open *atomic.Int64 }

func (c countedCodec) Marshal(v any) (mem.BufferSlice, error) {
	data, err := proto.Marshal(v.(proto.Message))
	if err != nil {
		return nil, err
	}
	padded := make([]byte, len(data), max(len(data), 4096)) // smaller buffers are not pooled
	copy(padded, data)
	c.open.Add(1)
	return mem.BufferSlice{mem.NewBuffer(&padded, countedPool(c))}, nil
}

func (c countedCodec) Unmarshal(data mem.BufferSlice, v any) error {
	return proto.Unmarshal(data.Materialize(), v.(proto.Message))
}

func (countedCodec) Name() string { return "proto" }

type countedPool struct{ open *atomic.Int64 }

func (p countedPool) Get(n int) *[]byte { b := make([]byte, n); return &b }
func (p countedPool) Put(*[]byte)       { p.open.Add(-1) }

func TestTheCodecsMemoryIsGivenBack(t *testing.T) {
	sideBySide(t, "plain", func(t *testing.T, e *env) {
		var open atomic.Int64
		codec := grpc.ForceCodecV2(countedCodec{&open})
		for range 20 {
			e.must(t, "Echo", strings.Repeat("x", 5000), codec)
		}
		_, err := e.invoke("Echo", strings.Repeat("x", 5000), codec, grpc.MaxCallSendMsgSize(10))
		requireCode(t, codes.ResourceExhausted, err)
		ctx, cancel := context.WithCancel(e.ctx)
		s := e.streamWith(t, ctx, "Mute", codec)
		for range 3 {
			require.NoError(t, s.SendMsg(say(strings.Repeat("x", 5000))))
		}
		cancel()
		_, err = drain(s)
		requireCode(t, codes.Canceled, err)
		require.Eventually(t, func() bool { return open.Load() == 0 }, 10*time.Second, time.Millisecond)
	})
}
