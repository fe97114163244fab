package prpc

import (
	std "bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"time"

	"github.com/packetstream/packetstream/bufio"
)

// upgradeTap is the transport of one client: it puts a frameConn between the WebSocket and the
// connection it takes over.
type upgradeTap struct {
	transport http.RoundTripper
	upgraded  *frameConn
}

// RoundTrip implements http.RoundTripper.
func (t *upgradeTap) RoundTrip(r *http.Request) (*http.Response, error) {
	// Only of the standard transport it is known that its connection carries the body as it is.
	var below net.Conn
	if _, standard := t.transport.(*http.Transport); standard {
		trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { below = info.Conn }}
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), trace))
	}
	response, err := t.transport.RoundTrip(r)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		return response, err
	}
	if body, ok := response.Body.(io.ReadWriteCloser); ok { // the library refuses any other
		if t.upgraded, err = takeUpgraded(body, below); err != nil {
			_ = body.Close()
			return nil, err
		}
		response.Body = t.upgraded
	}
	return response, nil
}

// takeUpgraded makes a frameConn of the body of an upgraded client's response and, if it is a socket, of the connection below it,
// which is then used by itself. The body holds what was read ahead of that: it is asked for it under a deadline that has
// passed, so that it does not read.
func takeUpgraded(body io.ReadWriteCloser, below net.Conn) (*frameConn, error) {
	if !socket(below) || below.SetReadDeadline(time.Unix(1, 0)) != nil {
		return newFrameConn(body, bufio.NewInput(body), bufio.NewOutput(body), false), nil
	}
	ahead, err := io.ReadAll(body)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, err
	}
	return newFrameConn(body, bufio.NewInputBehind(ahead, below), bufio.NewOutput(below), false), nil
}

// socket reports whether a connection is one of the system's, itself or below TLS. Other types may do more with a deadline, or less.
func socket(conn net.Conn) bool {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	default:
		return false
	}
}

// hijackWriter is the upgradeTap of a server.
type hijackWriter struct {
	http.ResponseWriter
	upgraded *frameConn
}

// Hijack implements http.Hijacker.
func (w *hijackWriter) Hijack() (net.Conn, *std.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	ahead, _ := rw.Reader.Peek(rw.Reader.Buffered())
	w.upgraded = newFrameConn(conn, bufio.NewInputBehind(bytes.Clone(ahead), conn), bufio.NewOutput(conn), true)
	taken := hijackedConn{conn, w.upgraded}
	return taken, std.NewReadWriter(std.NewReader(taken), std.NewWriter(taken)), nil
}

// hijackedConn is a server's frameConn as the net.Conn that the library takes it for.
type hijackedConn struct {
	net.Conn
	frames *frameConn
}

func (c hijackedConn) Read(p []byte) (int, error)  { return c.frames.Read(p) }
func (c hijackedConn) Write(p []byte) (int, error) { return c.frames.Write(p) }
