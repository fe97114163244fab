package prpc_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/rpc/prpc"
)

// heldConn keeps what is written while it holds.
type heldConn struct {
	net.Conn
	hold bool
	kept []byte
}

func (c *heldConn) Write(b []byte) (int, error) {
	if !c.hold {
		return c.Conn.Write(b)
	}
	c.kept = append(c.kept, b...)
	return len(b), nil
}

// TestTLSAhead: a client loses nothing of what comes over TLS with the answer to its upgrade, be it several records and a part of
// another.
func TestTLSAhead(t *testing.T) {
	certificates := httptest.NewTLSServer(nil)
	defer certificates.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	first, second := bytes.Repeat([]byte("first "), 10_000), bytes.Repeat([]byte("second"), 1000)
	dialed, served := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(served)
		tcp, err := listener.Accept()
		if !assert.NoError(t, err) {
			return
		}
		held := &heldConn{Conn: tcp}
		conn := tls.Server(held, certificates.TLS)
		defer func() { _ = tcp.Close() }()
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if !assert.NoError(t, err) {
			return
		}
		held.hold = true
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+
			acceptKey(r.Header.Get("Sec-WebSocket-Key"))+"\r\n\r\n")
		_, _ = conn.Write(concat(frame(final|opBinary, first, nil), frame(final|opBinary, second, nil)))
		cut := len(held.kept) - 100
		_, _ = tcp.Write(held.kept[:cut])
		<-dialed
		_, _ = tcp.Write(held.kept[cut:])
		_, _ = conn.Read(make([]byte, 1)) // the close frame
	}()
	c, err := prpc.DialWebSocketWith(t.Context(), "wss://"+listener.Addr().String()+"/", certificates.Client())
	close(dialed)
	require.NoError(t, err)
	for _, want := range [][]byte{first, second} {
		got, err := c.Receive()
		require.NoError(t, err)
		assert.True(t, bytes.Equal(want, got))
	}
	_ = c.Close(prpc.CloseNormal)
	_ = listener.Close()
	<-served
}

// TestProxyAhead: nor of what comes through a proxy.
func TestProxyAhead(t *testing.T) {
	address := handmadeServer(t, frame(final|opBinary, []byte("early"), nil),
		func(_ net.Conn, in *bufio.Reader) { _, _ = in.ReadByte() })
	proxy, err := url.Parse("http" + strings.TrimPrefix(address, "ws"))
	require.NoError(t, err)
	transport := &http.Transport{Proxy: http.ProxyURL(proxy)}
	c, err := prpc.DialWebSocketWith(t.Context(), "ws://nowhere.invalid/", &http.Client{Transport: transport})
	require.NoError(t, err)
	got, err := c.Receive()
	require.NoError(t, err)
	assert.Equal(t, "early", string(got))
	_ = c.Close(prpc.CloseNormal)
}
