package prpc

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
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
		t.upgraded = newFrameConn(body, body, below, false)
		response.Body = t.upgraded
	}
	return response, nil
}

// hijackWriter is the upgradeTap of a server.
type hijackWriter struct {
	http.ResponseWriter
	upgraded *frameConn
}

// Hijack implements http.Hijacker.
func (w *hijackWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	var in io.Reader = conn
	if ahead, _ := rw.Reader.Peek(rw.Reader.Buffered()); len(ahead) > 0 {
		in = io.MultiReader(bytes.NewReader(bytes.Clone(ahead)), conn)
	}
	w.upgraded = newFrameConn(conn, in, conn, true)
	taken := hijackedConn{conn, w.upgraded}
	return taken, bufio.NewReadWriter(bufio.NewReader(taken), bufio.NewWriter(taken)), nil
}

// hijackedConn is a server's frameConn as the net.Conn that the library takes it for.
type hijackedConn struct {
	net.Conn
	frames *frameConn
}

func (c hijackedConn) Read(p []byte) (int, error)  { return c.frames.Read(p) }
func (c hijackedConn) Write(p []byte) (int, error) { return c.frames.Write(p) }
