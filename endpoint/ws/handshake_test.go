package ws_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/endpoint/ws"
	"github.com/packetstream/packetstream/pconn"
)

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
