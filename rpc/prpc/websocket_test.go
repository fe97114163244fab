package prpc_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/packetstream/packetstream/rpc/prpc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// wsServer serves a tree over WebSockets.
func wsServer(t *testing.T, tree prpc.Tree, o prpc.Options) (*httptest.Server, *prpc.Server) {
	t.Helper()
	methods, err := prpc.NewTree(tree)
	require.NoError(t, err)
	o.Methods = methods
	handler := prpc.NewServer(&o)
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		_ = handler.Close()
		server.Close()
	})
	return server, handler
}

var pingTree = prpc.Tree{"ping": func() string { return "pong" }}

// Each client here is of the WebSocket library alone.
func rawDial(t *testing.T, url string, o *websocket.DialOptions) *websocket.Conn {
	t.Helper()
	ws, _, err := websocket.Dial(t.Context(), url, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ws.CloseNow() })
	require.NoError(t, ws.Write(t.Context(), websocket.MessageBinary, wire(t, helloServer...)))
	_, _, err = ws.Read(t.Context())
	require.NoError(t, err)
	return ws
}

func TestWebSocketCloseCodes(t *testing.T) {
	server, _ := wsServer(t, pingTree, prpc.Options{Limits: prpc.Limits{MessageBytes: 1000}})
	for name, row := range map[string]struct {
		kind    websocket.MessageType
		message []byte
		code    websocket.StatusCode
	}{
		"text":      {websocket.MessageText, []byte("hello"), websocket.StatusProtocolError},
		"malformed": {websocket.MessageBinary, []byte{0xc1}, websocket.StatusProtocolError},
		"empty":     {websocket.MessageBinary, nil, websocket.StatusProtocolError},
		"too large": {websocket.MessageBinary, make([]byte, 1001), websocket.StatusMessageTooBig},
	} {
		t.Run(name, func(t *testing.T) {
			ws := rawDial(t, wsURL(server), nil)
			require.NoError(t, ws.Write(t.Context(), row.kind, row.message))
			_, _, err := ws.Read(t.Context())
			assert.Equal(t, row.code, websocket.CloseStatus(err))
		})
	}
	t.Run("largest", func(t *testing.T) {
		ws := rawDial(t, wsURL(server), nil)
		message := wire(t, 4, 99, make([]byte, 994))
		require.Len(t, message, 1000)
		require.NoError(t, ws.Write(t.Context(), websocket.MessageBinary, message))
		require.NoError(t, ws.Write(t.Context(), websocket.MessageBinary, wire(t, 2, 1, 20, "ping", nil, nil)))
		_, _, err := ws.Read(t.Context())
		require.NoError(t, err)
	})
}

// The subprotocol is selected when it is offered, and not insisted on.
func TestSubprotocol(t *testing.T) {
	server, _ := wsServer(t, pingTree, prpc.Options{})
	for offered, want := range map[string]string{prpc.Subprotocol: prpc.Subprotocol, "other": "", "": ""} {
		o := &websocket.DialOptions{}
		if offered != "" {
			o.Subprotocols = []string{offered}
		}
		assert.Equal(t, want, rawDial(t, wsURL(server), o).Subprotocol())
	}
}

func TestCompressionIsAccepted(t *testing.T) {
	server, _ := wsServer(t, prpc.Tree{"echo": func(s string) string { return s }}, prpc.Options{})
	ws := rawDial(t, wsURL(server), &websocket.DialOptions{CompressionMode: websocket.CompressionContextTakeover})
	ws.SetReadLimit(1 << 20)
	text := strings.Repeat("again and ", 10_000)
	require.NoError(t, ws.Write(t.Context(), websocket.MessageBinary, wire(t, 2, 1, 20, "echo", l{text}, nil)))
	_, answer, err := ws.Read(t.Context())
	require.NoError(t, err)
	assert.Contains(t, string(answer), text)
}

// Requests that are no upgrade get a status of 4xx, and browsers from elsewhere 403.
func TestServerRefuses(t *testing.T) {
	server, handler := wsServer(t, pingTree, prpc.Options{})
	status := func(method, origin string) int {
		request, err := http.NewRequestWithContext(t.Context(), method, server.URL, nil)
		require.NoError(t, err)
		if origin != "" {
			request.Header.Set("Origin", origin)
			for name, value := range map[string]string{
				"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
				"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
			} {
				request.Header.Set(name, value)
			}
		}
		response, err := server.Client().Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	assert.Equal(t, http.StatusUpgradeRequired, status(http.MethodGet, ""))
	assert.GreaterOrEqual(t, status(http.MethodPost, ""), 400)
	assert.Equal(t, http.StatusForbidden, status(http.MethodGet, "http://elsewhere.example"))
	require.NoError(t, handler.Close())
	assert.Equal(t, http.StatusServiceUnavailable, status(http.MethodGet, ""))

	bad := httptest.NewServer(prpc.NewServer(&prpc.Options{Limits: prpc.Limits{Depth: -1}}))
	defer bad.Close()
	_, err := prpc.Dial(t.Context(), wsURL(bad), nil)
	require.ErrorContains(t, err, "500")
}

// The upgrade has what the original's has; the rest is the HTTP library's.
func TestUpgradeRequest(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	requests := make(chan *http.Request, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err == nil {
			requests <- request
		}
	}()
	header := http.Header{"Authorization": {"Bearer token"}}
	_, err = prpc.Dial(t.Context(), fmt.Sprintf("ws://%s/", listener.Addr()), &prpc.Options{
		WebSocket: prpc.WebSocketOptions{Header: header},
	})
	require.Error(t, err)
	got := <-requests
	for _, line := range loadVectors(t).Upgrade.Request[1:] {
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "Upgrade", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol":
			assert.Equal(t, value, got.Header.Get(name))
		}
	}
	assert.Empty(t, got.Header.Get("Sec-WebSocket-Extensions"))
	assert.Equal(t, "Bearer token", got.Header.Get("Authorization"))
	assert.Empty(t, header.Get("Upgrade"), "the caller's header was changed")
}

func TestDialErrors(t *testing.T) {
	_, err := prpc.Dial(t.Context(), "ftp://localhost/", nil)
	require.Error(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = prpc.Dial(ctx, "ws://127.0.0.1:1/", nil)
	assert.Equal(t, context.Canceled, err)
}

type countingTransport struct{ n atomic.Int32 }

func (c *countingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return http.DefaultTransport.RoundTrip(r)
}

// With an HTTP client whose connections are out of reach, everything works all the same.
func TestOtherTransport(t *testing.T) {
	server, _ := wsServer(t, pingTree, prpc.Options{})
	transport := &countingTransport{}
	c, err := prpc.Dial(t.Context(), wsURL(server), &prpc.Options{
		WebSocket: prpc.WebSocketOptions{HTTPClient: &http.Client{Transport: transport}},
	})
	require.NoError(t, err)
	require.NoError(t, all(20, func(int) error {
		_, err := c.Call(t.Context(), "ping")
		return err
	}))
	require.NoError(t, c.Close())
	assert.EqualValues(t, 1, transport.n.Load())
}

func TestTLS(t *testing.T) {
	methods, err := prpc.NewTree(prpc.Tree{"len": func(b []byte) int { return len(b) }})
	require.NoError(t, err)
	handler := prpc.NewServer(&prpc.Options{Methods: methods})
	server := httptest.NewTLSServer(handler)
	defer server.Close()
	defer func() { _ = handler.Close() }()
	c, err := prpc.Dial(t.Context(), "wss"+strings.TrimPrefix(server.URL, "https")+"/", &prpc.Options{
		WebSocket: prpc.WebSocketOptions{HTTPClient: server.Client()},
	})
	require.NoError(t, err)
	n, err := prpc.Invoke[int](t.Context(), c, "len", make([]byte, 1<<20))
	require.NoError(t, err)
	assert.Equal(t, 1<<20, n)
	require.NoError(t, c.Close())
}

// A client pings a silent server, and drops the connection when no pong comes.
func TestPing(t *testing.T) {
	pings := make(chan struct{}, 100)
	answer := atomic.Bool{}
	answer.Store(true)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
			OnPingReceived: func(context.Context, []byte) bool {
				select {
				case pings <- struct{}{}:
				default:
				}
				return answer.Load()
			},
		})
		if err != nil {
			return
		}
		defer func() { _ = ws.CloseNow() }()
		if _, _, err = ws.Read(context.Background()); err == nil {
			_ = ws.Write(context.Background(), websocket.MessageBinary, wire(t, 6, 1, l{1, "id", nil}, 0, nil))
			_, _, _ = ws.Read(context.Background())
		}
	}))
	defer server.Close()
	c, err := prpc.Dial(t.Context(), wsURL(server), &prpc.Options{WebSocket: prpc.WebSocketOptions{
		PingAfter: 10 * time.Millisecond, PingTimeout: 200 * time.Millisecond,
	}})
	require.NoError(t, err)
	for range 3 {
		<-pings
	}
	assert.Equal(t, prpc.Connected, c.State())
	answer.Store(false)
	<-c.Done()
	var closed *prpc.CloseError
	require.ErrorIs(t, c.Err(), prpc.ErrClosed)
	assert.NotErrorAs(t, c.Err(), &closed, "there was no close frame")
}

// A peer that does not read holds up neither the receiver nor a cancelled call, and Close is
// bounded.
func TestPeerThatDoesNotRead(t *testing.T) {
	server, handler := wsServer(t, prpc.Tree{
		"large": func() []byte { return make([]byte, 1<<20) },
		"ping":  func() string { return "pong" },
	}, prpc.Options{})
	ws := rawDial(t, wsURL(server), nil)
	for n := range 64 {
		require.NoError(t, ws.Write(t.Context(), websocket.MessageBinary, wire(t, 2, n, 20, "large", nil, nil)))
	}
	start := time.Now()
	require.NoError(t, handler.Close())
	assert.Less(t, time.Since(start), 10*time.Second)
}

// Many large and small messages, both ways at once, arrive whole.
func TestManyMessagesBothWays(t *testing.T) {
	server, _ := wsServer(t, prpc.Tree{"echo": func(b []byte) []byte { return b }}, prpc.Options{})
	c, err := prpc.Dial(t.Context(), wsURL(server), nil)
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	require.NoError(t, all(32, func(n int) error {
		for _, size := range []int{0, 1, 100, 4000, 4096, 5000, 65536, 300_000} {
			got, err := prpc.Invoke[[]byte](t.Context(), c, "echo", make([]byte, size+n))
			if err != nil || len(got) != size+n {
				return fmt.Errorf("%d bytes of %d: %w", len(got), size+n, err)
			}
		}
		return nil
	}))
}

// The server's connections see what a middleware put into the request's context.
func TestRequestContext(t *testing.T) {
	methods, err := prpc.NewTree(prpc.Tree{"user": func(ctx context.Context) any { return ctx.Value(key{}) }})
	require.NoError(t, err)
	handler := prpc.NewServer(&prpc.Options{Methods: methods})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, "Ada")))
	}))
	defer server.Close()
	defer func() { _ = handler.Close() }()
	c, err := prpc.Dial(t.Context(), wsURL(server), nil)
	require.NoError(t, err)
	user, err := c.Call(t.Context(), "user")
	require.NoError(t, err)
	assert.Equal(t, "Ada", user)
	require.NoError(t, c.Close())
}

// A handshake that does not come ends with its time limit, or with the server.
func TestServerHandshakeEnds(t *testing.T) {
	server, handler := wsServer(t, pingTree, prpc.Options{HandshakeTimeout: 20 * time.Millisecond})
	ws, _, err := websocket.Dial(t.Context(), wsURL(server), nil)
	require.NoError(t, err)
	defer func() { _ = ws.CloseNow() }()
	_, _, err = ws.Read(t.Context())
	assert.Equal(t, websocket.StatusProtocolError, websocket.CloseStatus(err))

	slow, slowHandler := wsServer(t, pingTree, prpc.Options{})
	ws, _, err = websocket.Dial(t.Context(), wsURL(slow), nil)
	require.NoError(t, err)
	defer func() { _ = ws.CloseNow() }()
	ended := make(chan error, 1)
	go func() {
		_, _, err := ws.Read(context.Background())
		ended <- err
	}()
	require.NoError(t, slowHandler.Close())
	require.Error(t, <-ended)
	require.NoError(t, handler.Close())
}

// A WebSocket that is cut off is no clean end.
func TestCutOff(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cut := make(chan net.Conn, 1)
	handler := prpc.NewServer(nil)
	server := &http.Server{Handler: handler, ConnContext: func(ctx context.Context, c net.Conn) context.Context {
		cut <- c
		return ctx
	}}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	c, err := prpc.Dial(t.Context(), fmt.Sprintf("ws://%s/", listener.Addr()), nil)
	require.NoError(t, err)
	call, err := c.Start(t.Context(), prpc.Unary, "x")
	require.NoError(t, err)
	_, _ = call.Result(t.Context())
	require.NoError(t, (<-cut).Close())
	<-c.Done()
	require.ErrorIs(t, c.Err(), io.ErrUnexpectedEOF)
	require.NoError(t, handler.Close())
	require.NoError(t, server.Close())
	<-served
}

// Serve ends with its context, or says why it cannot serve.
func TestServe(t *testing.T) {
	listen := func() net.Listener {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		return listener
	}
	ctx, cancel := context.WithCancel(t.Context())
	listener := listen()
	served := make(chan error, 1)
	go func() { served <- prpc.Serve(ctx, listener, pingTree, nil) }()
	c, err := prpc.Dial(t.Context(), fmt.Sprintf("ws://%s/", listener.Addr()), nil)
	require.NoError(t, err)
	pong, err := c.Call(t.Context(), "ping")
	require.NoError(t, err)
	assert.Equal(t, "pong", pong)
	cancel()
	require.NoError(t, <-served)
	<-c.Done()

	require.ErrorContains(t, prpc.Serve(t.Context(), listen(), prpc.Tree{"a": 1}, nil), "not a function")
	require.ErrorContains(t, prpc.Serve(t.Context(), listen(), nil, &prpc.Options{Limits: prpc.Limits{Calls: -1}}), "Calls")
	closed := listen()
	require.NoError(t, closed.Close())
	require.Error(t, prpc.Serve(t.Context(), closed, nil, nil))
}

// TestAnswersLeaveBesideAMethodThatWaits: those that are held back to leave together, too.
func TestAnswersLeaveBesideAMethodThatWaits(t *testing.T) {
	release := make(chan struct{})
	methods, err := prpc.NewTree(prpc.Tree{"echo": func(v any) any { return v }, "wait": func() { <-release }})
	require.NoError(t, err)
	handler := prpc.NewServer(&prpc.Options{Methods: methods})
	server := httptest.NewServer(handler)
	defer server.Close()
	defer func() { _ = handler.Close() }()
	c, err := prpc.Dial(t.Context(), wsURL(server), nil)
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	for range 20 {
		waiting := make(chan error, 1)
		err := all(100, func(n int) error {
			if n == 30 {
				go func() {
					_, err := c.Call(context.Background(), "wait")
					waiting <- err
				}()
				return nil
			}
			got, err := c.Call(t.Context(), "echo", n)
			if err == nil && got != int64(n) {
				err = fmt.Errorf("%v came back for %d", got, n)
			}
			return err
		})
		require.NoError(t, err)
		release <- struct{}{}
		require.NoError(t, <-waiting)
	}
}
