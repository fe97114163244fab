package ws

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/coder/websocket"
)

const (
	// messageSize is how many bytes a message has at most: what libraries take by default.
	messageSize = 32 << 10

	// closeTime bounds how long the peer is given to answer a close frame, and to take an end of direction.
	closeTime = time.Second
)

// errText says that a peer has sent text.
var errText = errors.New("ws: the peer sent a text message")

// conn is a WebSocket as a byte stream with two directions. It has no deadlines: with this library one would end the
// connection.
type conn struct {
	ws            *websocket.Conn
	local, remote net.Addr
	state         tls.ConnectionState

	message io.Reader // the one that is being read, or nil; the reader's
	empty   bool      // nothing has come of it
	readErr error     // what ended reading

	writing sync.Mutex // held while a message is written
}

func newConn() *conn { return &conn{} }

// use completes a conn by its WebSocket. state is nil without TLS.
func (c *conn) use(ws *websocket.Conn, state *tls.ConnectionState) {
	ws.SetReadLimit(-1) // what is in the messages is bounded by who reads
	c.ws = ws
	if state != nil {
		c.state = *state
	}
}

// Read reads what the next message has, or the rest of the last.
func (c *conn) Read(p []byte) (int, error) {
	for c.readErr == nil {
		if len(p) == 0 {
			return 0, nil
		}
		n, err := c.readSome(p)
		if err != nil {
			c.readErr = err
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, c.readErr
}

func (c *conn) readSome(p []byte) (int, error) {
	if c.message == nil {
		kind, message, err := c.ws.Reader(context.Background())
		if err != nil {
			return 0, endOf(err)
		}
		if kind != websocket.MessageBinary {
			_ = c.ws.Close(websocket.StatusUnsupportedData, "packets are binary messages")
			return 0, errText
		}
		c.message, c.empty = message, true
	}
	n, err := c.message.Read(p)
	c.empty = c.empty && n == 0
	switch {
	case err == io.EOF && c.empty:
		return 0, io.EOF
	case err == io.EOF:
		c.message = nil
		return n, nil
	}
	return n, err
}

// endOf tells a connection that the peer has closed in good order from one that broke.
func endOf(err error) error {
	switch websocket.CloseStatus(err) {
	case websocket.StatusNormalClosure, websocket.StatusGoingAway:
		return io.EOF
	}
	if errors.Is(err, io.EOF) {
		// That the socket ends is no end of a WebSocket.
		return fmt.Errorf("ws: the peer is gone without a close frame: %w", io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("ws: %w", err)
}

// Write writes messages.
func (c *conn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	written := 0
	for len(p) > 0 {
		part := p[:min(len(p), messageSize)]
		if err := c.ws.Write(context.Background(), websocket.MessageBinary, part); err != nil {
			return written, fmt.Errorf("ws: %w", err)
		}
		written += len(part)
		p = p[len(part):]
	}
	return written, nil
}

// CloseWrite ends the direction by an empty message. A Write that is under way, and does not end since the peer does not
// read, is ended with the whole connection.
func (c *conn) CloseWrite() error {
	if !c.writing.TryLock() {
		return c.ws.CloseNow()
	}
	defer c.writing.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	return c.ws.Write(ctx, websocket.MessageBinary, nil)
}

// Close ends the connection by a close frame, if the peer answers it soon.
func (c *conn) Close() error {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = c.ws.Close(websocket.StatusNormalClosure, "")
	}()
	timer := time.NewTimer(closeTime)
	defer timer.Stop()
	select {
	case <-closed:
	case <-timer.C:
	}
	err := c.ws.CloseNow()
	<-closed
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return err
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// ConnectionState is that of TLS, the zero value without.
func (c *conn) ConnectionState() tls.ConnectionState { return c.state }

func (c *conn) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (c *conn) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (c *conn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
