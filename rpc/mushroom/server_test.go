package mushroom_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/rpc/mushroom"
)

// do makes a request with headers and returns what came back, its body read.
func do(t *testing.T, method, address, body string, header map[string]string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(testContext(t), method, address, strings.NewReader(body))
	require.NoError(t, err)
	r.Close = true
	for name, value := range header {
		r.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	return response
}

func TestBootstrapRefuses(t *testing.T) {
	_, url := newServer(t, mushroom.ServerOptions{Limits: mushroom.Limits{MaxBody: 1000, MaxDepth: 10}})
	for body, want := range map[string]int{
		`{"transports": "poll"}`:                                501,
		`{"transports": [5, null, ["poll"]]}`:                   501,
		`{"transports": [5, "poll"]}`:                           200,
		`{"transports": 5}`:                                     500,
		`{"transports": null}`:                                  500,
		`{"transports": {"poll": 1}}`:                           500,
		`["poll"]`:                                              500,
		`{"transports": ["poll"], "auth": [[[[[[[[[[]]]]]]]]]]`: 500,
		`{"transports": ["poll"], "auth": "` + strings.Repeat("x", 1000) + `"}`: 413,
	} {
		status, _ := post(t, url, body)
		assert.Equal(t, want, status, "%.60s", body)
	}
}

func TestOrigins(t *testing.T) {
	_, url := newServer(t, mushroom.ServerOptions{Origins: []string{"https://good.example"}})
	ask := `{"transports": ["ws"]}`
	good := do(t, "POST", url, ask, map[string]string{"Origin": "https://good.example"})
	assert.Equal(t, 200, good.StatusCode)
	assert.Equal(t, "https://good.example", good.Header.Get("Access-Control-Allow-Origin"))
	assert.Equal(t, "Origin", good.Header.Get("Vary"))
	none := do(t, "POST", url, ask, nil)
	assert.Equal(t, 200, none.StatusCode)
	assert.Empty(t, none.Header.Get("Access-Control-Allow-Origin"))
	bad := do(t, "POST", url, ask, map[string]string{"Origin": "https://bad.example"})
	assert.Equal(t, 403, bad.StatusCode)
	assert.Empty(t, bad.Header.Get("Access-Control-Allow-Origin"))
	socket := do(t, "GET", strings.Replace(begin(t, url, "ws"), "ws:", "http:", 1), "", map[string]string{
		"Origin": "https://bad.example", "Connection": "Upgrade", "Upgrade": "websocket",
		"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
	})
	assert.Equal(t, 403, socket.StatusCode)
}

func TestPathsAndAddresses(t *testing.T) {
	mounted, url := newServer(t, mushroom.ServerOptions{Path: "/chat/room"})
	for _, path := range []string{"chat/room", "chat/room/", "/chat//room//"} {
		address := begin(t, url+path, "ws")
		assert.Regexp(t, `^ws://127\.0\.0\.1:\d+/chat/room/[A-Za-z0-9]{22}/$`, address)
	}
	for _, path := range []string{"", "chat", "other/room", "chat/room/x/y"} {
		status, _ := post(t, url+path, `{"transports": ["ws"]}`)
		assert.Equal(t, 404, status, path)
	}
	assert.Equal(t, 3, mounted.Len())

	_, url = newServer(t, mushroom.ServerOptions{BaseURL: "https://example.com/a b/", Transports: []string{"poll"}})
	assert.Regexp(t, `^https://example\.com/a%20b/[A-Za-z0-9]{22}/$`, begin(t, url, "poll"))
	status, _ := post(t, url, `{"transports": ["ws"]}`)
	assert.Equal(t, 501, status, "not offered")

	plain := do(t, "GET", strings.Replace(begin(t, serveNew(t), "ws"), "ws:", "http:", 1), "", nil)
	assert.Equal(t, 500, plain.StatusCode, "a plain GET of a websocket session")
}

func serveNew(t *testing.T) string {
	t.Helper()
	_, url := newServer(t, mushroom.ServerOptions{})
	return url
}

func TestTLS(t *testing.T) {
	server, err := mushroom.NewServer(nil)
	require.NoError(t, err)
	listener := httptest.NewTLSServer(server)
	t.Cleanup(func() {
		assert.NoError(t, server.Shutdown(context.Background()))
		listener.Client().CloseIdleConnections()
		listener.Close()
	})
	for _, transport := range []string{"ws", "poll"} {
		s := dial(t, listener.URL, &mushroom.DialOptions{Transports: []string{transport}, HTTPClient: listener.Client()})
		_, err = s.Request(testContext(t), "m", nil)
		assert.ErrorContains(t, err, `"m"`)
		closeSession(t, s)
	}
}

func TestServerOptionsAreChecked(t *testing.T) {
	for want, opts := range map[string]mushroom.ServerOptions{
		"MaxBody":                {Limits: mushroom.Limits{MaxBody: -1}},
		"PollTimeout is neg":     {PollTimeout: -1},
		"SessionTimeout is neg":  {SessionTimeout: -1},
		`transport "websocket"`:  {Transports: []string{"websocket"}},
		`base URL "example.com"`: {BaseURL: "example.com"},
	} {
		_, err := mushroom.NewServer(&opts)
		assert.ErrorContains(t, err, want)
	}
}

func TestSessionIDsCannotBeGuessed(t *testing.T) {
	_, url := newServer(t, mushroom.ServerOptions{})
	seen := make(map[string]bool)
	letters := make(map[rune]int)
	for range 300 {
		address := begin(t, url, "poll")
		require.False(t, seen[address])
		seen[address] = true
		id := strings.Trim(strings.TrimPrefix(address, url), "/")
		require.Len(t, id, 22)
		for _, r := range id {
			letters[r]++
		}
		// One letter away is another session, which does not exist.
		other := "A"
		if id[0] == 'A' {
			other = "B"
		}
		status, _ := post(t, url+other+id[1:]+"/", "[]")
		require.Equal(t, 404, status)
	}
	assert.Len(t, letters, 62, "all characters are used")
}

func TestMaxSessions(t *testing.T) {
	server, url := newServer(t, mushroom.ServerOptions{Limits: mushroom.Limits{MaxSessions: 2}})
	begin(t, url, "ws")
	leaving := begin(t, url, "poll")
	full := do(t, "POST", url, `{"transports": ["poll"]}`, nil)
	assert.Equal(t, 503, full.StatusCode)
	assert.Equal(t, "10", full.Header.Get("Retry-After"))
	status, _ := post(t, leaving, `[[-1]]`)
	assert.Equal(t, 200, status)
	eventually(t, func() bool { return server.Len() == 1 }, "one left")
	begin(t, url, "poll")
}

// TestSessionsThatAreLeft: 10,000 sessions are opened and left, of both kinds.
func TestSessionsThatAreLeft(t *testing.T) {
	count := 10_000
	if underRace {
		count = 500
	}
	var connected, gone atomic.Int64
	server, url := newServer(t, mushroom.ServerOptions{
		SessionTimeout: 300 * time.Millisecond,
		Connect:        func(*mushroom.Session) { connected.Add(1) },
		Disconnect: func(s *mushroom.Session) {
			assert.ErrorIs(t, s.Err(), mushroom.ErrExpired)
			gone.Add(1)
		},
	})
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for n := range count {
		response, err := client.Post(url, "", strings.NewReader(`{"transports": ["`+[]string{"ws", "poll"}[n%2]+`"]}`))
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, 200, response.StatusCode)
	}
	eventually(t, func() bool { return gone.Load() == int64(count) }, "all gone")
	assert.EqualValues(t, count, connected.Load())
	assert.Zero(t, server.Len())
}

func TestShutdown(t *testing.T) {
	server, err := mushroom.NewServer(nil)
	require.NoError(t, err)
	listener := httptest.NewServer(server)
	defer listener.Close()
	polling := dial(t, listener.URL, &mushroom.DialOptions{Transports: []string{"poll"}})
	socket := dial(t, listener.URL, &mushroom.DialOptions{Transports: []string{"ws"}})
	unopened := begin(t, listener.URL, "ws")
	for _, s := range []*mushroom.Session{polling, socket} {
		_, err := s.Request(testContext(t), "m", nil)
		require.ErrorContains(t, err, "m")
	}
	require.NoError(t, server.Shutdown(testContext(t)))
	<-polling.Done()
	<-socket.Done()
	assert.ErrorIs(t, socket.Err(), mushroom.ErrDisconnected)
	assert.ErrorIs(t, polling.Err(), mushroom.ErrSessionEnded)
	assert.Zero(t, server.Len())
	status, _ := post(t, listener.URL, `{"transports": ["ws"]}`)
	assert.Equal(t, 503, status)
	opcode, _ := openWire(t, strings.Replace(unopened, "ws:", "http:", 1)).receive(t, 10*time.Second)
	assert.Equal(t, 8.0, opcode)
	require.NoError(t, server.Shutdown(testContext(t)), "again")
}

func TestShutdownIsBounded(t *testing.T) {
	stuck, leave := make(chan struct{}), make(chan struct{})
	server, url := newServer(t, mushroom.ServerOptions{Dispatcher: mushroom.HandlerFunc(
		func(context.Context, *mushroom.Request) (any, error) {
			close(stuck)
			<-leave
			return nil, nil
		})})
	s := dial(t, url, nil)
	go func() { _, _ = s.Request(context.Background(), "m", nil) }()
	<-stuck
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	assert.Equal(t, context.DeadlineExceeded, server.Shutdown(ctx))
	close(leave)
}

func TestAuthenticateAndConnect(t *testing.T) {
	gone := make(chan any, 2)
	server, url := newServer(t, mushroom.ServerOptions{
		Authenticate: func(r *http.Request, s *mushroom.Session, auth json.RawMessage) error {
			if auth == nil {
				return mushroom.ErrUnauthorized
			}
			s.SetValue(string(auth) + r.Header.Get("X-Who"))
			return nil
		},
		Connect: func(s *mushroom.Session) {
			assert.NoError(t, s.Notify("welcome", s.Value()))
			if s.Value() == `"leave"me` {
				assert.NoError(t, s.Close())
			}
		},
		Disconnect: func(s *mushroom.Session) { gone <- s.Value() },
	})
	methods, _ := clientMethods(t)
	welcomed := make(chan string, 1)
	require.NoError(t, methods.Register("welcome", mushroom.Func(func(_ context.Context, v string) (any, error) {
		welcomed <- v
		return nil, nil
	})))
	header := http.Header{"X-Who": {"me"}}
	_, err := mushroom.Dial(testContext(t), url, nil)
	assert.ErrorIs(t, err, mushroom.ErrUnauthorized)
	for _, transport := range []string{"ws", "poll"} {
		s := dial(t, url, &mushroom.DialOptions{Transports: []string{transport}, Auth: "Ada", Header: header, Dispatcher: methods})
		assert.Equal(t, `"Ada"me`, <-welcomed)
		count, err := server.Notify("broadcast", 1)
		require.NoError(t, err)
		assert.Equal(t, 1, count)
		closeSession(t, s)
		assert.Equal(t, `"Ada"me`, <-gone)
	}
	_, err = server.Notify("broadcast", make(chan int))
	assert.Error(t, err)

	// A session that Connect closes is over, but what it was told arrives.
	s := dial(t, url, &mushroom.DialOptions{Transports: []string{"poll"}, Auth: "leave", Header: header, Dispatcher: methods})
	assert.Equal(t, `"leave"me`, <-welcomed)
	<-s.Done()
	assert.ErrorIs(t, s.Err(), mushroom.ErrDisconnected)
	assert.Equal(t, `"leave"me`, <-gone)
}

func TestWebsocketPeerThatDoesNotAnswerPings(t *testing.T) {
	server, err := mushroom.NewServer(&mushroom.ServerOptions{PingInterval: 20 * time.Millisecond})
	require.NoError(t, err)
	mushroom.SetTimes(server, time.Second, 50*time.Millisecond)
	mute := openWire(t, strings.Replace(begin(t, serve(t, server), "ws"), "ws:", "http:", 1))
	opcode, _ := mute.receive(t, 10*time.Second)
	assert.Equal(t, 9.0, opcode)
	eventually(t, func() bool { return server.Len() == 0 }, "the mute one is gone")
}

func TestWebsocketPeerThatAnswersPings(t *testing.T) {
	server, url := newServer(t, mushroom.ServerOptions{PingInterval: time.Millisecond})
	w := openWire(t, strings.Replace(begin(t, url, "ws"), "ws:", "http:", 1))
	for range 20 {
		opcode, payload := w.receive(t, 10*time.Second)
		require.Equal(t, 9.0, opcode)
		data, err := hex.DecodeString(payload)
		require.NoError(t, err)
		w.send(t, 10, data)
	}
	assert.Equal(t, 1, server.Len())
}

func TestWebsocketMessageTooLarge(t *testing.T) {
	ends := make(chan error, 1)
	server, url := newServer(t, mushroom.ServerOptions{
		Limits:     mushroom.Limits{MaxMessage: 100},
		Disconnect: func(s *mushroom.Session) { ends <- s.Err() },
	})
	conn, _, err := websocket.Dial(testContext(t), begin(t, url, "ws"), nil)
	require.NoError(t, err)
	defer conn.CloseNow()
	require.NoError(t, conn.Write(testContext(t), websocket.MessageText, []byte(`[1,0,"`+strings.Repeat("x", 200)+`"]`)))
	_, _, err = conn.Read(testContext(t))
	assert.Equal(t, websocket.StatusMessageTooBig, websocket.CloseStatus(err))
	assert.ErrorIs(t, <-ends, mushroom.ErrTooLarge)
	assert.Zero(t, server.Len())
}

func TestUpgradeThatIsNone(t *testing.T) {
	server, url := newServer(t, mushroom.ServerOptions{})
	address := strings.Replace(begin(t, url, "ws"), "ws:", "http:", 1)
	response := do(t, "GET", address, "", map[string]string{"Connection": "Upgrade", "Upgrade": "websocket"})
	assert.Equal(t, 400, response.StatusCode)
	eventually(t, func() bool { return server.Len() == 0 }, "a session has one chance")
}

// TestManySessionsTalkAtOnce has every session of both transports notified and called in parallel.
func TestManySessionsTalkAtOnce(t *testing.T) {
	server, url := newTestService(t, nil, mushroom.ServerOptions{})
	var all sync.WaitGroup
	var heard atomic.Int64
	var methods mushroom.Registry
	require.NoError(t, methods.Register("broadcast", func(context.Context, *mushroom.Request) (any, error) {
		heard.Add(1)
		return nil, nil
	}))
	var sessions []*mushroom.Session
	for n := range 20 {
		sessions = append(sessions, dial(t, url, &mushroom.DialOptions{
			Transports: []string{[]string{"ws", "poll"}[n%2]}, Dispatcher: &methods,
		}))
	}
	for n, s := range sessions {
		all.Go(func() {
			for k := range 10 {
				got, err := mushroom.Call[int](testContext(t), s, "echo", n*100+k)
				assert.NoError(t, err)
				assert.Equal(t, n*100+k, got)
			}
		})
	}
	for range 5 {
		count, err := server.Notify("broadcast", nil)
		require.NoError(t, err)
		require.Equal(t, 20, count)
	}
	all.Wait()
	eventually(t, func() bool { return heard.Load() == 100 }, "everybody heard everything")
}
