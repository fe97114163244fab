package prpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// WebSocketOptions are the settings of the WebSocket carrier. The zero value is what the
// original does.
type WebSocketOptions struct {
	// HTTPClient opens a client's connection; nil means http.DefaultClient. If its Transport is
	// not an *http.Transport, messages are written one by one instead of in batches.
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
	ws    *websocket.Conn
	batch *batchConn   // nil if the connection below is out of reach
	heard atomic.Int64 // when the last message came, in Unix nanoseconds

	scratch bytes.Buffer // the receiver's
	closing sync.Once
	// pinging ends with Close, which waits for it; nil on a server.
	stopPings context.CancelFunc
	pings     sync.WaitGroup
}

// dialWebSocket opens a client's WebSocket.
func dialWebSocket(ctx context.Context, url string, o *WebSocketOptions, limit int) (Carrier, error) {
	client, got := batchingClient(o.HTTPClient)
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient:   client,
		HTTPHeader:   o.Header,
		Subprotocols: []string{Subprotocol},
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("prpc: dial %s: %w", url, err)
	}
	c := newWSCarrier(ws, got(), limit)
	c.keepAlive(o.PingAfter, o.PingTimeout)
	return c.carrier(), nil
}

// batchingClient returns a client that dials like the one given and a function that
// returns the connection it dialled last.
func batchingClient(client *http.Client) (*http.Client, func() *batchConn) {
	if client == nil {
		client = http.DefaultClient
	}
	rt := client.Transport
	if rt == nil {
		rt = http.DefaultTransport
	}
	transport, ok := rt.(*http.Transport)
	if !ok || transport.DialTLSContext != nil {
		return client, func() *batchConn { return nil }
	}
	// The copy is used for one connection, which the WebSocket takes over. Idle ones
	// cannot be left behind by it.
	transport = transport.Clone()
	transport.DisableKeepAlives = true
	dial := transport.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	var last atomic.Pointer[batchConn]
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		batch := newBatchConn(conn)
		last.Store(batch)
		return batch, nil
	}
	copied := *client
	copied.Transport = transport
	return &copied, last.Load
}

func newWSCarrier(ws *websocket.Conn, batch *batchConn, limit int) *wsCarrier {
	ws.SetReadLimit(int64(limit))
	return &wsCarrier{ws: ws, batch: batch}
}

// carrier returns the carrier as a connection uses it: without trySend if it cannot do that.
func (c *wsCarrier) carrier() Carrier {
	if c.batch == nil {
		return struct{ Carrier }{c}
	}
	return c
}

// Receive implements Carrier.
func (c *wsCarrier) Receive() ([]byte, error) {
	kind, r, err := c.ws.Reader(context.Background())
	if err != nil {
		return nil, wsError(err)
	}
	if c.stopPings != nil {
		c.heard.Store(time.Now().UnixNano())
	}
	if kind != websocket.MessageBinary {
		return nil, ErrTextMessage
	}
	c.scratch.Reset()
	if _, err = c.scratch.ReadFrom(r); err != nil {
		return nil, wsError(err)
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
	if c.batch == nil {
		return c.write(messages)
	}
	c.batch.hold()
	err := c.write(messages)
	return errors.Join(err, c.batch.release())
}

// trySend implements trier. The frame is made in memory, and written as far as the socket takes it.
func (c *wsCarrier) trySend(message []byte) bool {
	c.batch.hold()
	if err := c.ws.Write(context.Background(), websocket.MessageBinary, message); err != nil {
		return false
	}
	return c.batch.tryRelease()
}

func (c *wsCarrier) write(messages [][]byte) error {
	for _, message := range messages {
		if err := c.ws.Write(context.Background(), websocket.MessageBinary, message); err != nil {
			return err
		}
		if c.batch != nil && c.batch.size() > keptBuffer {
			if err := c.batch.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close implements Carrier. It waits for the peer's close frame, for a bounded time.
func (c *wsCarrier) Close(code CloseCode) error {
	var err error
	c.closing.Do(func() {
		if c.batch != nil {
			timer := time.AfterFunc(closeTimeout, func() { _ = c.batch.Close() })
			defer timer.Stop()
		}
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
