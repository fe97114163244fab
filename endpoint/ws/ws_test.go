package ws_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/endpoint/ws"
	"github.com/packetstream/packetstream/pconn"
)

const timeLimit = 20 * time.Second

func echo(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
	return pconn.FlagsBytes(req.Flags, req.Payload), nil
}

// back asks what it was asked.
func back(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
	resp, err := req.Conn.Do(ctx, pconn.Request{Payload: req.Payload})
	return pconn.Bytes(resp.Payload), err
}

// serve serves an endpoint until the test ends.
func serve(t *testing.T, e ws.WS, opts *pconn.Options) (at string, stop func() error) {
	t.Helper()
	l, err := e.Listen(t.Context())
	require.NoError(t, err)
	return serveAt(t, e, l, opts)
}

// serveAt is serve with a Listener of the endpoint.
func serveAt(t *testing.T, e ws.WS, l *endpoint.Listener, opts *pconn.Options) (at string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx, opts) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-served
	})
	t.Cleanup(func() { stop() })
	scheme, rest, _ := strings.Cut(e.URL, "://")
	_, path, _ := strings.Cut(rest, "/")
	return scheme + "://" + l.Addr().String() + "/" + path, stop
}

func dial(t *testing.T, e ws.WS, opts *pconn.Options) *endpoint.Conn {
	t.Helper()
	conn, err := e.Dial(t.Context(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestBothWays(t *testing.T) {
	peers := make(chan pconn.Peer, 1)
	mux := pconn.NewMux()
	mux.HandleFunc(1, back)
	mux.HandleFunc(2, func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		peers <- req.Peer()
		return pconn.None(), nil
	})
	at, stop := serve(t, ws.WS{URL: "ws://127.0.0.1:0/packets?of=all"}, &pconn.Options{Handler: mux})
	conn := dial(t, ws.WS{URL: strings.TrimSuffix(at, "?of=all")}, &pconn.Options{Handler: pconn.HandlerFunc(echo)})
	for _, size := range []int{0, 1, 32 << 10, 1 << 20, 5 << 20} {
		payload := bytes.Repeat([]byte{'x'}, size)
		resp, err := conn.Do(t.Context(), pconn.Request{Type: 1, Payload: payload})
		require.NoError(t, err)
		require.Equal(t, len(payload), len(resp.Payload))
	}
	_, err := conn.Do(t.Context(), pconn.Request{Type: 2})
	require.NoError(t, err)
	peer := <-peers
	require.Equal(t, "tcp", peer.Addr.Network())
	require.Nil(t, peer.Certificate)
	require.Contains(t, at, conn.Peer().Addr.String())
	require.NoError(t, conn.Shutdown(t.Context()))
	require.NoError(t, conn.Wait())

	other := dial(t, ws.WS{URL: at}, nil)
	require.NoError(t, stop(), "it drains")
	require.NoError(t, other.Wait())
	_, err = ws.WS{URL: at}.Dial(t.Context(), nil)
	require.ErrorContains(t, err, "connection refused")
}

// Close ends what is outstanding, on either side.
func TestClose(t *testing.T) {
	entered := make(chan struct{})
	at, stop := serve(t, ws.WS{URL: "ws://127.0.0.1:0/"}, &pconn.Options{
		DrainTimeout: 50 * time.Millisecond,
		Handler: pconn.HandlerFunc(func(ctx context.Context, _ *pconn.Request) (pconn.Reply, error) {
			close(entered)
			<-ctx.Done()
			return pconn.None(), nil
		}),
	})
	conn := dial(t, ws.WS{URL: at}, nil)
	result, err := conn.Submit(t.Context(), pconn.Request{})
	require.NoError(t, err)
	<-entered
	require.NoError(t, conn.Close())
	_, err = result.Wait(t.Context())
	require.ErrorIs(t, err, pconn.ErrClosed)
	require.NoError(t, stop())
}

func TestParse(t *testing.T) {
	schemes := append(endpoint.Builtin(), ws.Schemes()...)
	for s, want := range map[string]ws.WS{
		"ws://host/path?a=b":         {URL: "ws://host/path?a=b"},
		"ws://[::1]:8080":            {URL: "ws://[::1]:8080"},
		"wss://host/#ca=/x.pem":      {URL: "wss://host/", Files: endpoint.TLSFiles{CA: "/x.pem"}},
		"wss://host?q#cert=c&name=n": {URL: "wss://host?q", Files: endpoint.TLSFiles{Cert: "c", Name: "n"}},
	} {
		e, err := schemes.Parse(s)
		require.NoError(t, err)
		require.Equal(t, want, e)
		require.Equal(t, s, e.String())
	}
	for s, text := range map[string]string{
		"ws:host":            "write ws://HOST:PORT/PATH",
		"ws://":              "write ws://HOST:PORT/PATH",
		"ws://host#ca=x":     "files are for wss:",
		"wss://host#mode=1":  `unknown parameter "mode"`,
		"ws://ho st":         "invalid character",
		"wss://host#key=key": "key has no cert beside it",
	} {
		_, err := schemes.Parse(s)
		var wrong *endpoint.SyntaxError
		require.ErrorAs(t, err, &wrong, s)
		require.ErrorContains(t, err, text)
	}
	_, err := schemes.Parse("nats:x")
	require.ErrorContains(t, err, "activation: ws: wss:")
	for _, url := range []string{"http://host", "ws://host#fragment", "%"} {
		_, err := ws.WS{URL: url}.Dial(t.Context(), nil)
		require.Error(t, err)
		require.Error(t, ws.WS{URL: url}.Serve(t.Context(), nil))
	}
}
