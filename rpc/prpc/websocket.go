package prpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// WebSocketOptions are the settings of the WebSocket carrier. The zero value is what the
// original does.
type WebSocketOptions struct {
	// HTTPClient opens a client's connection; nil means http.DefaultClient.
	HTTPClient *http.Client
	// Header is added to a client's upgrade request.
	Header http.Header
	// PingAfter is how long a client waits without traffic before it sends a ping;
	// 0 means 10 s, negative means never. A server sends none.
	PingAfter time.Duration
	// PingTimeout is how long a client waits for the pong before it drops the
	// connection; 0 means 5 s.
	PingTimeout time.Duration
	// OriginPatterns are the hosts from which browsers may connect to a server, besides
	// its own, as path.Match patterns. Clients that send no Origin always may.
	OriginPatterns []string
}

// wsCarrier carries messages over a WebSocket, one binary message each.
type wsCarrier struct {
	ws         *websocket.Conn
	frames     *frameConn
	limit      int
	compressed bool         // messages may be, both ways, so that the library writes them
	heard      atomic.Int64 // when the last message came, in Unix nanoseconds

	scratch bytes.Buffer // the receiver's
	closing sync.Once
	// pinging ends with Close, which waits for it; nil on a server.
	stopPings context.CancelFunc
	pings     sync.WaitGroup
}

// dialWebSocket opens a client's WebSocket.
func dialWebSocket(ctx context.Context, url string, o *WebSocketOptions, limit int) (Carrier, error) {
	var client http.Client
	if o.HTTPClient != nil {
		client = *o.HTTPClient
	}
	tap := &upgradeTap{transport: client.Transport}
	if tap.transport == nil {
		tap.transport = http.DefaultTransport
	}
	client.Transport = tap
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient:   &client,
		HTTPHeader:   o.Header,
		Subprotocols: []string{Subprotocol},
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("prpc: dial %s: %w", url, err)
	}
	c := newWSCarrier(ws, tap.upgraded, limit)
	c.keepAlive(o.PingAfter, o.PingTimeout)
	return c.carrier(), nil
}

// acceptWebSocket opens a server's WebSocket. If there is an error, the request was answered.
func acceptWebSocket(w http.ResponseWriter, r *http.Request, o *WebSocketOptions, limit int) (Carrier, error) {
	hijack := &hijackWriter{ResponseWriter: w}
	ws, err := websocket.Accept(hijack, r, &websocket.AcceptOptions{
		Subprotocols:    []string{Subprotocol},
		OriginPatterns:  o.OriginPatterns,
		CompressionMode: websocket.CompressionNoContextTakeover,
	})
	if err != nil {
		return nil, err
	}
	c := newWSCarrier(ws, hijack.upgraded, limit)
	c.compressed = w.Header().Get("Sec-WebSocket-Extensions") != ""
	return c.carrier(), nil
}

func newWSCarrier(ws *websocket.Conn, frames *frameConn, limit int) *wsCarrier {
	ws.SetReadLimit(int64(limit))
	return &wsCarrier{ws: ws, frames: frames, limit: limit}
}

// carrier returns the carrier as a connection uses it: without trySend if it cannot do that.
func (c *wsCarrier) carrier() Carrier {
	if !c.frames.out.NonBlocking() || c.compressed {
		return struct{ Carrier }{c}
	}
	return c
}

// Receive implements Carrier.
func (c *wsCarrier) Receive() ([]byte, error) {
	message, lent, err := c.borrow()
	if lent {
		message = bytes.Clone(message)
		c.giveBack()
	}
	return message, err
}

// borrow implements lender.
func (c *wsCarrier) borrow() (message []byte, lent bool, err error) {
	message, lent, err = c.frames.receive(c.limit)
	if message == nil && err == nil {
		message, err = c.receiveSpecial()
	}
	if err != nil {
		return nil, false, wsError(err)
	}
	if c.stopPings != nil && !c.frames.more { // else the next one tells
		c.heard.Store(time.Now().UnixNano())
	}
	return message, lent, nil
}

// receiveSpecial has the library read the next message, and what control frames come before it.
func (c *wsCarrier) receiveSpecial() ([]byte, error) {
	kind, r, err := c.ws.Reader(context.Background())
	if err != nil {
		return nil, err
	}
	if kind != websocket.MessageBinary {
		return nil, ErrTextMessage
	}
	c.scratch.Reset()
	if _, err = c.scratch.ReadFrom(r); err != nil {
		return nil, err
	}
	message := bytes.Clone(c.scratch.Bytes())
	if c.scratch.Cap() > keptBuffer {
		c.scratch = bytes.Buffer{}
	}
	return message, nil
}

// wsError translates what the WebSocket library says.
func wsError(err error) error {
	var ce websocket.CloseError
	switch {
	case errors.As(err, &ce):
		return &CloseError{Code: CloseCode(ce.Code), Reason: ce.Reason}
	case errors.Is(err, websocket.ErrMessageTooBig):
		return fmt.Errorf("%w: %v", ErrTooLarge, err)
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	default:
		return err
	}
}

// Send implements Carrier.
func (c *wsCarrier) Send(messages [][]byte) error {
	if !c.compressed {
		return c.frames.send(messages)
	}
	for _, message := range messages {
		if err := c.ws.Write(context.Background(), websocket.MessageBinary, message); err != nil {
			return err
		}
	}
	return nil
}

// trySend implements trier.
func (c *wsCarrier) trySend(messages ...[]byte) bool { return c.frames.trySend(messages...) }

// more implements buffering.
func (c *wsCarrier) more() bool { return c.frames.more }

// polled implements buffering.
func (c *wsCarrier) polled() bool { return c.frames.in.Mode() == "poller" }

// recent implements lender.
func (c *wsCarrier) recent() int { return c.frames.recent }

// giveBack implements lender.
func (c *wsCarrier) giveBack() { c.frames.giveBack() }

// beforeWait implements lender.
func (c *wsCarrier) beforeWait(f func()) { c.frames.beforeWait(f) }

// Close implements Carrier. It waits for the peer's close frame, for a bounded time.
func (c *wsCarrier) Close(code CloseCode) error {
	var err error
	c.closing.Do(func() {
		timer := time.AfterFunc(closeTimeout, func() { _ = c.frames.Close() })
		defer timer.Stop()
		err = c.ws.Close(websocket.StatusCode(code), "")
		if c.stopPings != nil {
			c.stopPings()
			c.pings.Wait()
		}
	})
	return err
}

// keepAlive starts the goroutine that pings a silent peer; Close waits for it.
func (c *wsCarrier) keepAlive(after, timeout time.Duration) {
	if after < 0 {
		return
	}
	if after == 0 {
		after = defaultPingAfter
	}
	if timeout <= 0 {
		timeout = defaultPingTimeout
	}
	c.heard.Store(time.Now().UnixNano())
	ctx, cancel := context.WithCancel(context.Background())
	c.stopPings = cancel
	c.pings.Go(func() {
		timer := time.NewTimer(after)
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			silence := time.Since(time.Unix(0, c.heard.Load()))
			if silence >= after {
				if !c.ping(ctx, timeout) {
					return
				}
				silence = 0
			}
			timer.Reset(after - silence)
		}
	})
}

// ping reports whether the peer answered in time. If it did not, the connection is dropped
// without a close frame: nobody would read it.
func (c *wsCarrier) ping(ctx context.Context, timeout time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if c.ws.Ping(ctx) == nil {
		return true
	}
	_ = c.ws.CloseNow()
	return false
}
