package ws

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"

	"github.com/coder/websocket"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

// subprotocol is what both ends call the use of a WebSocket.
const subprotocol = "packetstream"

// WS is a WebSocket, over TCP or TLS.
type WS struct {
	// URL begins with ws: or wss:. To listen, an empty host is every address, port 0 one that the system
	// chooses, and the path the only one that is served. What a URL has after a # is not part of it.
	URL string
	// Files and Config are for wss:, as those of endpoint.TLS.
	Files  endpoint.TLSFiles
	Config *tls.Config
	// Header is added to a client's request.
	Header http.Header
	// Origins are the hosts whose pages in browsers may connect to a server, besides its own, as patterns
	// of path.Match. Clients that are no browsers always may.
	Origins []string
}

// Schemes are ws: and wss:, for endpoint.Schemes.
func Schemes() endpoint.Schemes {
	return endpoint.Schemes{
		{
			Name: "ws:", Syntax: "ws://HOST[:PORT]/PATH", Parse: func(rest string) (endpoint.Endpoint, error) { return parse("ws:", rest) },
			Dialed: "a WebSocket",
			Served: "listens; pages of other hosts are refused",
		},
		{
			Name: "wss:", Syntax: "wss://HOST[:PORT]/PATH[#ca=FILE&cert=FILE&key=FILE&name=HOST]", Parse: func(rest string) (endpoint.Endpoint, error) { return parse("wss:", rest) },
			Dialed: "a WebSocket over TLS, with the files of tls:",
			Served: "listens, with the files of tls:",
		},
	}
}

func parse(scheme, rest string) (endpoint.Endpoint, error) {
	target, params, _ := strings.Cut(rest, "#")
	e := WS{URL: scheme + target}
	if params != "" {
		if scheme == "ws:" {
			return nil, errors.New("files are for wss: only")
		}
		var err error
		if e.Files, err = endpoint.ParseTLSFiles(params); err != nil {
			return nil, err
		}
	}
	if _, err := e.parse(); err != nil {
		return nil, err
	}
	return e, nil
}

// parse reads and checks the URL.
func (e WS) parse() (*url.URL, error) {
	u, err := url.Parse(e.URL)
	switch {
	case err != nil:
		return nil, err
	case u.Scheme != "ws" && u.Scheme != "wss" || u.Opaque != "" || u.Host == "":
		return nil, errors.New("write ws://HOST:PORT/PATH or wss://HOST:PORT/PATH, with a host")
	case u.Fragment != "":
		return nil, errors.New("a URL has no fragment here")
	}
	return u, nil
}

// String returns the URL and the files as Schemes parse them.
func (e WS) String() string {
	if files := e.Files.String(); files != "" {
		return e.URL + "#" + files
	}
	return e.URL
}

// Dial connects to the URL, and makes its handshakes within ctx. A server's refusal is an error with its answer. The
// environment says whether a proxy is used (HTTPS_PROXY, HTTP_PROXY, NO_PROXY).
func (e WS) Dial(ctx context.Context, opts *pconn.Options) (*endpoint.Conn, error) {
	nc, err := e.Open(ctx)
	if err != nil {
		return nil, err
	}
	return endpoint.NewConn(nc.(net.Conn), e.String(), opts)
}

// Open connects to the URL: see endpoint.Opener.
func (e WS) Open(ctx context.Context) (endpoint.Transport, error) {
	if _, err := e.parse(); err != nil {
		return nil, &endpoint.SyntaxError{Endpoint: e.String(), Reason: err.Error()}
	}
	config, err := e.Files.Client(e.Config)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %s: %w", e, err)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	c := newConn()
	trace := &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		c.local, c.remote = got.Conn.LocalAddr(), got.Conn.RemoteAddr()
	}}
	ws, resp, err := websocket.Dial(httptrace.WithClientTrace(ctx, trace), e.URL, &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: transport},
		HTTPHeader:   e.Header,
		Subprotocols: []string{subprotocol},
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("endpoint: %s: %w", e, err)
	}
	c.use(ws, resp.TLS)
	return c, nil
}

// Serve listens and serves every connection: see endpoint.Listener.
func (e WS) Serve(ctx context.Context, opts *pconn.Options) error {
	l, err := e.Listen(ctx)
	if err != nil {
		return err
	}
	return l.Serve(ctx, opts)
}
