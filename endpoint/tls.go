package endpoint

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/packetstream/packetstream/pconn"
)

// TLS is TLS over TCP, with the defaults of package crypto/tls. The certificate that the peer has shown, and that was
// verified, is in pconn.Peer.
type TLS struct {
	// Addr is HOST:PORT, as that of TCP.
	Addr string
	// Files are the files with certificates and keys.
	Files TLSFiles
	// Config is what Files are added to, or nil. It is not changed.
	Config *tls.Config
}

// TLSFiles are PEM files for TLS. They are read when a connection is made or listening begins.
type TLSFiles struct {
	// CA has the authorities whose certificates are good. A client without it trusts those of the
	// system. A server with it requires a certificate of its clients, without it asks for none.
	CA string
	// Cert and Key are the certificate to show, with those between it and the authority, and its
	// key. Without Key the key is in Cert.
	Cert, Key string
	// Name is the name that a server's certificate has to be for, by default the host connected to.
	Name string
}

// tlsKeys are the names of the parameters.
var tlsKeys = [...]string{"ca", "cert", "key", "name"}

func parseTLS(rest string) (Endpoint, error) {
	addr, p, err := cutParams(rest, tlsKeys[:]...)
	if err != nil {
		return nil, err
	}
	files, err := tlsFiles(p)
	if err != nil {
		return nil, err
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, fmt.Errorf("%w; write tls:HOST:PORT", err)
	}
	return TLS{Addr: addr, Files: files}, nil
}

// ParseTLSFiles reads TLSFiles as they stand in an endpoint's string, such as "ca=ca.pem&cert=me.pem&key=me.key".
func ParseTLSFiles(text string) (TLSFiles, error) {
	p, err := parseParams(text, tlsKeys[:]...)
	if err != nil {
		return TLSFiles{}, err
	}
	return tlsFiles(p)
}

func tlsFiles(p params) (TLSFiles, error) {
	f := TLSFiles{CA: p["ca"], Cert: p["cert"], Key: p["key"], Name: p["name"]}
	if f.Key != "" && f.Cert == "" {
		return f, errors.New("key has no cert beside it")
	}
	return f, nil
}

func (f TLSFiles) params() params {
	return params{"ca": f.CA, "cert": f.Cert, "key": f.Key, "name": f.Name}
}

// String returns the files as ParseTLSFiles reads them.
func (f TLSFiles) String() string { return f.params().encode() }

// Client returns base, which may be nil, with the files added, for a client.
func (f TLSFiles) Client(base *tls.Config) (*tls.Config, error) {
	c, pool, err := f.addTo(base)
	if err != nil {
		return nil, err
	}
	if pool != nil {
		c.RootCAs = pool
	}
	if f.Name != "" {
		c.ServerName = f.Name
	}
	return c, nil
}

// Server returns base, which may be nil, with the files added, for a server. A server without a certificate is
// an error.
func (f TLSFiles) Server(base *tls.Config) (*tls.Config, error) {
	c, pool, err := f.addTo(base)
	if err != nil {
		return nil, err
	}
	if pool != nil {
		c.ClientCAs, c.ClientAuth = pool, tls.RequireAndVerifyClientCert
	}
	if len(c.Certificates) == 0 && c.GetCertificate == nil && c.GetConfigForClient == nil {
		return nil, errors.New("a server needs a certificate: #cert=FILE&key=FILE")
	}
	return c, nil
}

// addTo adds what is the same for both sides, and returns the authorities.
func (f TLSFiles) addTo(base *tls.Config) (*tls.Config, *x509.CertPool, error) {
	c := new(tls.Config)
	if base != nil {
		c = base.Clone()
	}
	if f.Cert != "" {
		key := f.Key
		if key == "" {
			key = f.Cert
		}
		pair, err := tls.LoadX509KeyPair(f.Cert, key)
		if err != nil {
			return nil, nil, fmt.Errorf("certificate %s: %w", f.Cert, err)
		}
		c.Certificates = append(c.Certificates[:len(c.Certificates):len(c.Certificates)], pair)
	}
	if f.CA == "" {
		return c, nil, nil
	}
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, nil, fmt.Errorf("authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, nil, fmt.Errorf("authorities: %s has no certificate", f.CA)
	}
	return c, pool, nil
}

// String returns the address and the files as Parse reads them. Config is not in it.
func (e TLS) String() string { return "tls:" + e.Files.params().join(e.Addr) }

// Dial connects to the address and makes the handshake, both within ctx. With TLS 1.3 a server verifies the client's
// certificate after that: its refusal is the end of the connection, and the error of the first call.
func (e TLS) Dial(ctx context.Context, opts *pconn.Options) (*Conn, error) {
	nc, err := e.open(ctx)
	if err != nil {
		return nil, err
	}
	return NewConn(nc, e.String(), opts)
}

// Open connects: see Opener.
func (e TLS) Open(ctx context.Context) (Transport, error) { return transportOf(e.open(ctx)) }

func (e TLS) open(ctx context.Context) (net.Conn, error) {
	config, err := e.Files.Client(e.Config)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %s: %w", e, err)
	}
	d := tls.Dialer{Config: config}
	return dialSocket(ctx, e, &d, "tcp", e.Addr)
}

// Listen listens at the address. The handshakes are made by Accept and Serve.
func (e TLS) Listen(ctx context.Context) (*Listener, error) {
	config, err := e.Files.Server(e.Config)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %s: %w", e, err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", e.Addr)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %s: %w", e, err)
	}
	return NewListener(tlsListener{l.(*net.TCPListener), config}, e), nil
}

// tlsListener is tls.NewListener with the deadlines of the listener beneath.
type tlsListener struct {
	*net.TCPListener
	config *tls.Config
}

func (l tlsListener) Accept() (net.Conn, error) {
	nc, err := l.TCPListener.Accept()
	if err != nil {
		return nil, err
	}
	return tls.Server(nc, l.config), nil
}

// Serve listens and serves every connection: see Listener.Serve.
func (e TLS) Serve(ctx context.Context, opts *pconn.Options) error {
	return listenAndServe(ctx, e, opts)
}
