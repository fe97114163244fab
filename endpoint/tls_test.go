//go:build linux

package endpoint_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/internal/syncbuf"
	"github.com/packetstream/packetstream/pconn"
)

// authority signs certificates, and has its own in a file.
type authority struct {
	dir  string
	file string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.cert, a.key = a.sign(t, "ca", func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	})
	a.file = filepath.Join(a.dir, "ca.pem")
	return a
}

// sign makes NAME.pem, with the certificate and the key, and NAME.key with the key alone.
func (a *authority) sign(t *testing.T, name string, change func(*x509.Certificate)) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-2 * time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	change(template)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	require.NoError(t, os.WriteFile(filepath.Join(a.dir, name+".pem"), append(certPEM, keyPEM...), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(a.dir, name+".key"), keyPEM, 0o600))
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert, key
}

// files signs a certificate and returns its parameters.
func (a *authority) files(t *testing.T, name string, change func(*x509.Certificate)) string {
	t.Helper()
	a.sign(t, name, change)
	return "cert=" + filepath.Join(a.dir, name+".pem") + "&key=" + filepath.Join(a.dir, name+".key")
}

func valid(*x509.Certificate) {}

func expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }

// serveTLS serves at a port that the system chooses, until the test ends.
func serveTLS(t *testing.T, params string, opts *pconn.Options) (at string, log *syncbuf.Buffer) {
	t.Helper()
	l := listen(t, "tls:127.0.0.1:0#"+params)
	log = new(syncbuf.Buffer)
	opts.Logger = slog.New(slog.NewTextHandler(log, nil))
	serve(t, l, opts)
	return "tls:" + l.Addr().String(), log
}

// Each end shows its certificate, and sees the other's.
func TestTLSMutual(t *testing.T) {
	childtest.NoLeaks(t)
	a := newAuthority(t)
	names := make(chan string, 1)
	at, _ := serveTLS(t, a.files(t, "server", valid)+"&ca="+a.file, &pconn.Options{
		Handler: pconn.HandlerFunc(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
			names <- req.Peer().Certificate.Subject.CommonName
			return echo(ctx, req)
		}),
	})
	for range 2 { // the second may resume the session
		conn, err := endpoint.Dial(t.Context(), at+"#ca="+a.file+"&"+a.files(t, "ada", valid), nil)
		require.NoError(t, err)
		payload := make([]byte, 1<<20)
		resp, err := conn.Do(t.Context(), pconn.Request{Payload: payload})
		require.NoError(t, err)
		require.Equal(t, payload, resp.Payload)
		require.Equal(t, "ada", <-names)
		require.Equal(t, "server", conn.Peer().Certificate.Subject.CommonName)
		require.NoError(t, conn.Shutdown(t.Context()))
	}
}

// A server without authorities asks for no certificate; the key may be in the certificate's file, and the server's
// name another than the host.
func TestTLSOneSided(t *testing.T) {
	childtest.NoLeaks(t)
	a := newAuthority(t)
	a.sign(t, "server", func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{"packets.example"}, nil })
	at, _ := serveTLS(t, "cert="+a.dir+"/server.pem", &pconn.Options{Handler: pconn.HandlerFunc(echo)})
	conn, err := endpoint.Dial(t.Context(), at+"#name=packets.example&ca="+a.file, nil)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)

	_, err = endpoint.Dial(t.Context(), at+"#ca="+a.file, nil)
	require.ErrorContains(t, err, "127.0.0.1", "its name is another")
}

// Each side refuses what it cannot trust, and both are told why.
func TestTLSRefusals(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	for name, tc := range map[string]struct {
		server, client string
		dialed, served string // what the error of the client, and the server's log, say
	}{
		"server of a wrong authority": {
			a.files(t, "server", valid), "ca=" + other.file,
			"certificate signed by unknown authority", "bad certificate",
		},
		"server of an unknown authority": {
			a.files(t, "server", valid), "",
			"certificate signed by unknown authority", "bad certificate",
		},
		"server's certificate has expired": {
			a.files(t, "old", expired), "ca=" + a.file,
			"certificate has expired", "bad certificate",
		},
		"no client certificate": {
			a.files(t, "server", valid) + "&ca=" + a.file, "ca=" + a.file,
			"certificate required", "client didn't provide a certificate",
		},
		"client of a wrong authority": {
			a.files(t, "server", valid) + "&ca=" + a.file, "ca=" + a.file + "&" + other.files(t, "ada", valid),
			"unknown certificate authority", "certificate signed by unknown authority",
		},
		"client's certificate has expired": {
			a.files(t, "server", valid) + "&ca=" + a.file, "ca=" + a.file + "&" + a.files(t, "late", expired),
			"expired certificate", "certificate has expired",
		},
	} {
		t.Run(name, func(t *testing.T) {
			childtest.NoLeaks(t)
			at, log := serveTLS(t, tc.server, &pconn.Options{Handler: pconn.HandlerFunc(echo)})
			conn, err := endpoint.Dial(t.Context(), at+"#"+tc.client, nil)
			if err == nil {
				// By TLS 1.3 the server judges the client only after the client's handshake.
				_, err = conn.Do(t.Context(), pconn.Request{})
				require.NoError(t, conn.Conn.Close())
			}
			require.ErrorContains(t, err, tc.dialed)
			require.Eventually(t, func() bool { return log.String() != "" }, 5*time.Second, time.Millisecond)
			require.Contains(t, log.String(), "was not admitted")
			require.Contains(t, log.String(), tc.served)
		})
	}
}

func TestTLSFilesThatAreWrong(t *testing.T) {
	childtest.NoLeaks(t)
	a := newAuthority(t)
	a.sign(t, "one", valid)
	a.sign(t, "two", valid)
	for params, text := range map[string]string{
		"":              "a server needs a certificate",
		"ca=" + a.file:  "a server needs a certificate",
		"cert=/no/such": "certificate /no/such: open /no/such",
		"cert=" + a.dir + "/one.pem&key=" + a.dir + "/two.key": "private key does not match",
		"cert=" + a.dir + "/one.pem&ca=/no/such":               "authorities: open /no/such",
		"cert=" + a.dir + "/one.pem&ca=" + a.dir + "/one.key":  "has no certificate",
	} {
		_, err := endpoint.Listen(t.Context(), "tls:127.0.0.1:0#"+params)
		require.ErrorContains(t, err, text)
	}
	_, err := endpoint.Dial(t.Context(), "tls:127.0.0.1:1#ca=/no/such", nil)
	require.ErrorContains(t, err, "authorities: open /no/such")
}

// Config is the base for the files, and is not changed.
func TestTLSConfig(t *testing.T) {
	childtest.NoLeaks(t)
	a := newAuthority(t)
	a.sign(t, "server", valid)
	base := &tls.Config{MinVersion: tls.VersionTLS13}
	l, err := endpoint.TLS{Addr: "127.0.0.1:0", Config: base, Files: endpoint.TLSFiles{Cert: a.dir + "/server.pem"}}.Listen(t.Context())
	require.NoError(t, err)
	require.Empty(t, base.Certificates)
	serve(t, l, &pconn.Options{Handler: pconn.HandlerFunc(echo)})
	_, err = endpoint.TLS{Addr: l.Addr().String(), Config: &tls.Config{MaxVersion: tls.VersionTLS12},
		Files: endpoint.TLSFiles{CA: a.file}}.Dial(t.Context(), nil)
	require.ErrorContains(t, err, "protocol version not supported")
}

// A peer that connects and says nothing has its time, and does not hold up the others.
func TestTLSHandshakeTakesTooLong(t *testing.T) {
	childtest.NoLeaks(t)
	a := newAuthority(t)
	l := listen(t, "tls:127.0.0.1:0#"+a.files(t, "server", valid))
	l.Limits.Handshake = 50 * time.Millisecond
	var log syncbuf.Buffer
	serve(t, l, &pconn.Options{Handler: pconn.HandlerFunc(echo), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	silent, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer silent.Close()
	conn, err := endpoint.Dial(t.Context(), "tls:"+l.Addr().String()+"#ca="+a.file, nil)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
	_, err = silent.Read(make([]byte, 1))
	require.Error(t, err, "it was closed")
	require.Eventually(t, func() bool { return log.String() != "" }, 5*time.Second, time.Millisecond)
	require.Contains(t, log.String(), "the handshake took longer than 50ms")
}

// Accept tells of a peer that was not admitted, and goes on.
func TestTLSAccept(t *testing.T) {
	childtest.NoLeaks(t)
	a := newAuthority(t)
	l := listen(t, "tls:127.0.0.1:0#"+a.files(t, "server", valid))
	garbage, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer garbage.Close()
	_, err = garbage.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	require.NoError(t, err)
	_, err = l.Accept(t.Context(), nil)
	var refused *endpoint.AdmissionError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, garbage.LocalAddr().String(), refused.Addr.String())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = l.Accept(ctx, nil)
	require.Equal(t, context.DeadlineExceeded, err)
}
