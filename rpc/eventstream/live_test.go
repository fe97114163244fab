package eventstream_test

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
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/internal/eventstreamtest"
	"github.com/packetstream/packetstream/internal/livepeer"
	"github.com/packetstream/packetstream/rpc/eventstream"
)

// runClient runs the reference's Python client against a server.
func runClient(t *testing.T, args ...string) {
	t.Helper()
	python := livepeer.Python(t, "eventstream-python")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, python, append([]string{"testdata/peers/client.py"}, args...)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Equal(t, 30, bytes.Count(out, []byte("ok   ")), "%s", out)
}

func TestLivePythonClientTCP(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	startServer(t, eventstreamtest.New(), l)
	runClient(t, l.Addr().String())
}

func TestLivePythonClientUnix(t *testing.T) {
	l := listen(t, "unix", t.TempDir()+"/s")
	startServer(t, eventstreamtest.New(), l)
	runClient(t, "127.0.0.1:0", "--unix", l.Addr().String())
}

func TestLivePythonClientTLS(t *testing.T) {
	config, authority := certificate(t)
	l := tls.NewListener(listen(t, "tcp", "127.0.0.1:0"), config)
	startServer(t, eventstreamtest.New(), l)
	runClient(t, l.Addr().String(), "--ca", authority, "--server-name", "localhost")
}

// certificate makes an authority and a certificate of it for localhost.
func certificate(t *testing.T) (config *tls.Config, authority string) {
	t.Helper()
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	require.NoError(t, err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	require.NoError(t, err)
	authority = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), 0o600))
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, authority
}

func TestServiceTLS(t *testing.T) {
	config, authority := certificate(t)
	l := tls.NewListener(listen(t, "tcp", "127.0.0.1:0"), config)
	startServer(t, eventstreamtest.New(), l)
	pemBytes, err := os.ReadFile(authority)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(pemBytes))
	client := &tls.Config{RootCAs: roots}
	address := l.Addr().String()
	checkService(t, service{
		dial: func(ctx context.Context, opts *eventstream.Options) (*eventstream.ClientConn, error) {
			if opts == nil {
				opts = &eventstream.Options{}
			}
			opts.TLS = client
			return eventstream.Dial(ctx, "tcp", address, opts)
		},
		raw: func(ctx context.Context) (net.Conn, error) {
			return (&tls.Dialer{Config: client}).DialContext(ctx, "tcp", address)
		},
	})
}

// startJava starts the reference's Java server and returns what it says it listens on.
func startJava(t *testing.T, args ...string) string {
	t.Helper()
	dir := livepeer.Dir(t, "eventstream-java")
	java, err := exec.LookPath("java")
	if err != nil {
		t.Skipf("live peer absent: eventstream-java: %v", err)
	}
	cmd := exec.Command(java, append([]string{"-cp", filepath.Join(dir, "*"), "testdata/peers/server/EchoServer.java", "--quiet"}, args...)...)
	line := childtest.StartServer(t, cmd)
	where, ok := strings.CutPrefix(line, "LISTENING ")
	require.True(t, ok, "%q", line)
	return where
}

func TestLiveJavaServerTCP(t *testing.T) {
	s := serviceAt("tcp", "127.0.0.1:"+startJava(t, "--port", "0"))
	s.java = true
	checkService(t, s)
}

func TestLiveJavaServerUnix(t *testing.T) {
	s := serviceAt("unix", startJava(t, "--unix", filepath.Join(t.TempDir(), "s")))
	s.java = true
	checkService(t, s)
}
