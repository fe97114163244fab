package ws_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
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

// certificate makes a certificate for both sides, which is its own authority.
func certificate(t *testing.T) endpoint.TLSFiles {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{Organization: []string{"Acme Co"}},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
	file := filepath.Join(t.TempDir(), "both.pem")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	return endpoint.TLSFiles{Cert: file, CA: file}
}

// With TLS both ends show certificates, as tls: does.
func TestTLS(t *testing.T) {
	files := certificate(t)
	names := make(chan string, 1)
	at, _ := serve(t, ws.WS{URL: "wss://127.0.0.1:0/", Files: files}, &pconn.Options{
		Handler: pconn.HandlerFunc(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
			names <- req.Peer().Certificate.Subject.Organization[0]
			return echo(ctx, req)
		}),
	})
	e, err := append(endpoint.Builtin(), ws.Schemes()...).Parse(at + "#ca=" + files.CA + "&cert=" + files.Cert)
	require.NoError(t, err)
	conn, err := e.Dial(t.Context(), nil)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
	require.Equal(t, "Acme Co", <-names)
	require.Equal(t, "Acme Co", conn.Peer().Certificate.Subject.Organization[0])

	_, err = ws.WS{URL: at}.Dial(t.Context(), nil)
	require.ErrorContains(t, err, "certificate signed by unknown authority")
	_, err = ws.WS{URL: at, Files: endpoint.TLSFiles{CA: files.CA}}.Dial(t.Context(), nil)
	require.ErrorContains(t, err, "certificate required", "the server wants the client's")
	_, err = ws.WS{URL: "wss://127.0.0.1:0"}.Listen(t.Context())
	require.ErrorContains(t, err, "a server needs a certificate")
	_, err = ws.WS{URL: at, Config: &tls.Config{InsecureSkipVerify: true}, Files: endpoint.TLSFiles{CA: "/no/such"}}.Dial(t.Context(), nil)
	require.ErrorContains(t, err, "/no/such")
}

// A server that is no packet server says so, and one that does not answer is not waited for longer than the context
// allows.
func TestDialOther(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	_, err := ws.WS{URL: "ws" + strings.TrimPrefix(other.URL, "http")}.Dial(t.Context(), nil)
	require.ErrorContains(t, err, "404")

	at, _ := serve(t, ws.WS{URL: "ws://127.0.0.1:0/here"}, nil)
	_, err = ws.WS{URL: strings.TrimSuffix(at, "here") + "there"}.Dial(t.Context(), nil)
	require.ErrorContains(t, err, "404")

	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = ws.WS{URL: "ws://" + silent.Addr().String()}.Dial(ctx, nil)
	require.Equal(t, context.DeadlineExceeded, err)
}

// A peer that does not go on with its handshake is let go of in the time that the limits allow, and a WebSocket that was made
// may be silent for longer.
func TestHandshakeLimit(t *testing.T) {
	const limit = 100 * time.Millisecond
	for _, tc := range []struct {
		name, said string
		secure     bool
	}{
		{"silence", "", false},
		{"half a request", "GET / HTTP/1.1\r\nHost: x\r\n", false},
		{"another request", "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", false},
		{"silence before TLS", "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := ws.WS{URL: "ws://127.0.0.1:0/"}
			if tc.secure {
				e = ws.WS{URL: "wss://127.0.0.1:0/", Files: certificate(t)}
			}
			l, err := e.Listen(t.Context())
			require.NoError(t, err)
			l.Limits.Handshake = limit
			at, _ := serveAt(t, e, l, &pconn.Options{Handler: pconn.HandlerFunc(echo)})
			conn := dial(t, ws.WS{URL: at, Files: e.Files}, nil)

			begin := time.Now()
			peer, err := net.Dial("tcp", l.Addr().String())
			require.NoError(t, err)
			defer peer.Close()
			_, err = io.WriteString(peer, tc.said)
			require.NoError(t, err)
			require.NoError(t, peer.SetReadDeadline(begin.Add(timeLimit)))
			_, err = io.Copy(io.Discard, peer)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
			require.GreaterOrEqual(t, time.Since(begin), limit)
			require.Less(t, time.Since(begin), endpoint.DefaultHandshake/2)

			_, err = conn.Do(t.Context(), pconn.Request{})
			require.NoError(t, err)
		})
	}
}

// Listening can be ended before anybody was waited for.
func TestCloseBeforeAccept(t *testing.T) {
	l, err := ws.WS{URL: "ws://127.0.0.1:0/"}.Listen(t.Context())
	require.NoError(t, err)
	require.NoError(t, l.Close())
	_, err = net.Dial("tcp", l.Addr().String())
	require.ErrorContains(t, err, "connection refused")
	_, err = l.Accept(t.Context(), nil)
	require.ErrorIs(t, err, endpoint.ErrListenerClosed)
}

// Browsers' pages of other hosts are refused, but for those that are named.
func TestOrigins(t *testing.T) {
	at, _ := serve(t, ws.WS{URL: "ws://127.0.0.1:0/", Origins: []string{"*.example.com"}}, &pconn.Options{Handler: pconn.HandlerFunc(echo)})
	from := func(origin string) ws.WS { return ws.WS{URL: at, Header: http.Header{"Origin": {origin}}} }
	_, err := from("https://evil.example").Dial(t.Context(), nil)
	require.ErrorContains(t, err, "403")
	conn := dial(t, from("https://good.example.com"), nil)
	_, err = conn.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
}

// foreign connects with the bare library.
func foreign(t *testing.T, at string) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), at, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

// A peer may cut messages as it likes, and end its direction by an empty one or by a close frame.
func TestForeignPeer(t *testing.T) {
	for name, end := range map[string]func(*websocket.Conn) error{
		"empty message": func(c *websocket.Conn) error { return c.Write(context.Background(), websocket.MessageBinary, nil) },
		"EOF packet": func(c *websocket.Conn) error {
			return c.Write(context.Background(), websocket.MessageBinary, []byte("\x03\x00\x02\x00"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), timeLimit)
			defer cancel()
			var log lockedBuffer
			at, stop := serve(t, ws.WS{URL: "ws://127.0.0.1:0/"}, &pconn.Options{Handler: pconn.HandlerFunc(echo),
				Logger: slog.New(slog.NewTextHandler(&log, nil))})
			c := foreign(t, at)
			for _, b := range []byte("\x04\x02\x02\x01x") {
				require.NoError(t, c.Write(ctx, websocket.MessageBinary, []byte{b}))
			}
			require.NoError(t, end(c))
			var all []byte
			for {
				kind, b, err := c.Read(ctx)
				if err != nil {
					require.Equal(t, websocket.StatusNormalClosure, websocket.CloseStatus(err), err)
					break
				}
				require.Equal(t, websocket.MessageBinary, kind)
				all = append(all, b...)
			}
			require.Equal(t, "\x03\x02\x04x\x03\x00\x02\x00"[1:], string(all)[1:], "%q", all)
			require.NoError(t, stop())
			require.NotContains(t, log.String(), "connection ended")
		})
	}
	t.Run("close frame", func(t *testing.T) {
		over := make(chan error, 1)
		at, _ := serve(t, ws.WS{URL: "ws://127.0.0.1:0/"}, &pconn.Options{EndError: func(err error) error {
			over <- err
			return err
		}})
		require.NoError(t, foreign(t, at).Close(websocket.StatusNormalClosure, ""))
		require.ErrorIs(t, <-over, pconn.ErrPeerClosed)
	})
	t.Run("text", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), timeLimit)
		defer cancel()
		over := make(chan error, 1)
		at, _ := serve(t, ws.WS{URL: "ws://127.0.0.1:0/"}, &pconn.Options{EndError: func(err error) error {
			over <- err
			return err
		}})
		c := foreign(t, at)
		require.NoError(t, c.Write(ctx, websocket.MessageText, []byte("hello")))
		_, _, err := c.Read(ctx)
		require.Equal(t, websocket.StatusUnsupportedData, websocket.CloseStatus(err))
		require.ErrorContains(t, <-over, "the peer sent a text message")
	})
	t.Run("gone", func(t *testing.T) {
		over := make(chan error, 1)
		at, _ := serve(t, ws.WS{URL: "ws://127.0.0.1:0/"}, &pconn.Options{EndError: func(err error) error {
			over <- err
			return err
		}})
		require.NoError(t, foreign(t, at).CloseNow())
		err := <-over
		require.Error(t, err)
		require.NotErrorIs(t, err, pconn.ErrPeerClosed, "it has not said that it goes")
	})
}

// The end of one direction leaves the other open, so that bytes can be joined to something else.
func TestHalfClose(t *testing.T) {
	l, err := ws.WS{URL: "ws://127.0.0.1:0/"}.Listen(t.Context())
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() {
		served <- l.ServeBytes(context.Background(), nil, func(_ context.Context, b endpoint.Transport) error {
			all, err := io.ReadAll(b)
			if err != nil {
				return err
			}
			if _, err := b.Write(bytes.ToUpper(all)); err != nil {
				return err
			}
			return b.CloseWrite()
		})
	}()
	c, err := ws.WS{URL: "ws://" + l.Addr().String()}.Open(t.Context())
	require.NoError(t, err)
	_, err = c.Write(bytes.Repeat([]byte("abc"), 50_000))
	require.NoError(t, err)
	require.NoError(t, c.CloseWrite())
	all, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, bytes.Repeat([]byte("ABC"), 50_000), all)
	require.NoError(t, c.Close())
	require.NoError(t, l.Close())
	require.NoError(t, <-served)
}

// A peer that does not read holds up nobody's end for long.
func TestPeerThatDoesNotRead(t *testing.T) {
	accepted := make(chan *pconn.Conn, 1)
	at, _ := serve(t, ws.WS{URL: "ws://127.0.0.1:0/"}, &pconn.Options{
		CloseTimeout: 100 * time.Millisecond,
		Handler: pconn.HandlerFunc(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
			accepted <- req.Conn
			return pconn.Bytes(make([]byte, 16<<20)), nil // more than the sockets hold
		})})
	ctx, cancel := context.WithTimeout(t.Context(), timeLimit)
	defer cancel()
	c := foreign(t, at)
	require.NoError(t, c.Write(ctx, websocket.MessageBinary, []byte("\x03\x02\x02\x01")))
	conn := <-accepted
	began := time.Now()
	_ = conn.Close()
	<-conn.Done()
	require.Less(t, time.Since(began), timeLimit/2)
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

// lockedBuffer is a buffer that may be written and read at the same time.
type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
