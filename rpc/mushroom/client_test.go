package mushroom_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/rpc/mushroom"
)

// fakeServer answers bootstraps with one session and leaves the exchanges to a function.
func fakeServer(t *testing.T, transport string, exchange http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			scheme := map[string]string{"poll": "http", "ws": "ws"}[transport]
			fmt.Fprintf(w, `{"transport": %q, "url": "%s://%s/session/"}`, transport, scheme, r.Host)
			return
		}
		exchange(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestDialFails(t *testing.T) {
	answers := func(status int, body string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	var status *mushroom.StatusError
	for name, c := range map[string]struct {
		url   string
		opts  mushroom.DialOptions
		check func(error)
	}{
		"401": {url: answers(401, ""), check: func(err error) { assert.ErrorIs(t, err, mushroom.ErrUnauthorized) }},
		"501": {url: answers(501, ""), check: func(err error) { assert.ErrorIs(t, err, mushroom.ErrNoTransport) }},
		"500": {url: answers(500, ""), check: func(err error) {
			if assert.ErrorAs(t, err, &status) {
				assert.Equal(t, 500, status.Status)
				assert.Contains(t, err.Error(), "HTTP status 500")
			}
		}},
		"no JSON": {url: answers(200, "hello"), check: func(err error) { assert.ErrorContains(t, err, `answer "hello"`) }},
		"other transport": {url: answers(200, `{"transport": "pigeon", "url": "http://x/"}`),
			check: func(err error) { assert.ErrorIs(t, err, mushroom.ErrNoTransport) }},
		"bad address": {url: answers(200, `{"transport": "ws", "url": "http://%zz/"}`),
			check: func(err error) { assert.ErrorContains(t, err, "session address") }},
		"websocket refused": {url: fakeServer(t, "ws", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }),
			check: func(err error) {
				if assert.ErrorAs(t, err, &status) {
					assert.Equal(t, 404, status.Status)
				}
			}},
		"nobody there": {url: "http://127.0.0.1:1/", check: func(err error) { assert.ErrorContains(t, err, "refused") }},
		"no URL":       {url: "http://%zz/", check: func(err error) { assert.ErrorContains(t, err, "invalid URL") }},
		"auth":         {opts: mushroom.DialOptions{Auth: make(chan int)}, check: func(err error) { assert.ErrorContains(t, err, "auth") }},
		"limits": {opts: mushroom.DialOptions{Limits: mushroom.Limits{MaxPending: -1}},
			check: func(err error) { assert.ErrorContains(t, err, "MaxPending") }},
		"times": {opts: mushroom.DialOptions{PollWait: -1}, check: func(err error) { assert.ErrorContains(t, err, "PollWait") }},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := mushroom.Dial(testContext(t), c.url, &c.opts)
			c.check(err)
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := mushroom.Dial(ctx, answers(200, ""), nil)
	assert.Equal(t, context.Canceled, err)
}

// pollFake is a poll server by hand: it notes what is posted, and answers what it is told.
type pollFake struct {
	mu      sync.Mutex // guards what follows
	posted  []string
	answers func(body string, attempt int) (status int, answer string)
	count   map[string]int
}

func (f *pollFake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.posted = append(f.posted, string(body))
	f.count[string(body)]++
	status, answer := f.answers(string(body), f.count[string(body)])
	f.mu.Unlock()
	if status == 0 { // wait like a poll
		<-r.Context().Done()
		return
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, answer)
}

func (f *pollFake) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.posted...)
}

func dialFake(t *testing.T, f *pollFake, opts *mushroom.DialOptions) *mushroom.Session {
	t.Helper()
	f.count = make(map[string]int)
	if opts == nil {
		opts = &mushroom.DialOptions{}
	}
	opts.Transports = []string{"poll"}
	opts.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	s, err := mushroom.Dial(testContext(t), fakeServer(t, "poll", f.ServeHTTP), opts)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = s.Close()
		<-s.Done()
	})
	return s
}

func isPoll(body string) bool { return strings.HasPrefix(body, "[[0,") }

// TestPollClientRepeatsWhatFailed: a message is posted again until that is confirmed, before all later
// ones, and the goodbye comes last.
func TestPollClientRepeatsWhatFailed(t *testing.T) {
	f := &pollFake{answers: func(body string, attempt int) (int, string) {
		switch {
		case isPoll(body):
			return 0, ""
		case attempt <= 2 && strings.Contains(body, "first"):
			return []int{502, 503}[attempt-1], ""
		}
		return 200, "null"
	}}
	s := dialFake(t, f, nil)
	require.NoError(t, s.Notify("first", 1))
	eventually(t, func() bool { return len(f.seen()) >= 4 }, "repeated") // the poll is one of them
	require.NoError(t, s.Notify("second", 2))
	require.NoError(t, s.Close())
	var sent []string
	for _, body := range f.seen() {
		if !isPoll(body) {
			sent = append(sent, body)
		}
	}
	first := `[[1,0,"first",1]]`
	assert.Equal(t, []string{first, first, first, `[[1,1,"second",2]]`, `[[-1]]`}, sent)
}

func TestPollClientEnds(t *testing.T) {
	always := func(status int, answer string) func(string, int) (int, string) {
		return func(body string, _ int) (int, string) {
			if isPoll(body) {
				return status, answer
			}
			return 200, "null"
		}
	}
	var status *mushroom.StatusError
	for name, c := range map[string]struct {
		answers func(string, int) (int, string)
		check   func(error)
	}{
		"gone":          {always(404, ""), func(err error) { assert.ErrorIs(t, err, mushroom.ErrExpired) }},
		"disconnected":  {always(200, `[[1,0,"m"],[-1],[0,0]]`), func(err error) { assert.ErrorIs(t, err, mushroom.ErrDisconnected) }},
		"refused":       {always(500, ""), func(err error) { assert.ErrorAs(t, err, &status) }},
		"no answer":     {always(503, ""), func(err error) { assert.ErrorAs(t, err, &status) }},
		"no list":       {always(200, `null`), func(err error) { assert.ErrorIs(t, err, mushroom.ErrBadMessage) }},
		"bad message":   {always(200, `[[9]]`), func(err error) { assert.ErrorIs(t, err, mushroom.ErrBadMessage) }},
		"large message": {always(200, `[[1,0,"`+strings.Repeat("x", 1<<20)+`"]]`), func(err error) { assert.ErrorIs(t, err, mushroom.ErrTooLarge) }},
		"mixed ids":     {always(200, `[[1,0,"m"],[1,"a","m"]]`), func(err error) { assert.ErrorIs(t, err, mushroom.ErrBadMessage) }},
		"post refused": {func(body string, _ int) (int, string) {
			if isPoll(body) {
				return 0, ""
			}
			return 413, ""
		}, func(err error) { assert.ErrorAs(t, err, &status) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := dialFake(t, &pollFake{answers: c.answers}, &mushroom.DialOptions{RetryTimeout: 100 * time.Millisecond})
			_, err := s.Request(testContext(t), "m", nil)
			require.ErrorIs(t, err, mushroom.ErrSessionEnded)
			c.check(err)
			<-s.Done()
		})
	}
}

// TestPollThatHangsIsRepeated: an answer that does not come in time is asked for again.
func TestPollThatHangsIsRepeated(t *testing.T) {
	var polls atomic.Int64
	f := &pollFake{answers: func(body string, _ int) (int, string) {
		if !isPoll(body) {
			return 200, "null"
		}
		if polls.Add(1) == 1 {
			return 0, ""
		}
		return 200, `[[3,0,0,"late"],[0,0]]`
	}}
	s := dialFake(t, f, &mushroom.DialOptions{PollWait: 50 * time.Millisecond})
	got, err := mushroom.Call[string](testContext(t), s, "m", nil)
	require.NoError(t, err)
	assert.Equal(t, "late", got)
}

// TestCloseDoesNotWaitForAServerThatIsGone.
func TestCloseDoesNotWaitForAServerThatIsGone(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 5 seconds")
	}
	f := &pollFake{answers: func(string, int) (int, string) { return 0, "" }}
	s := dialFake(t, f, nil)
	require.NoError(t, s.Notify("m", nil))
	start := time.Now()
	assert.Error(t, s.Close())
	assert.Less(t, time.Since(start), 8*time.Second)
	<-s.Done()
}

// TestClientTellsWhyTheSocketEnded, and that calls fail with it at once.
func TestSocketThatBreaks(t *testing.T) {
	sessions := make(chan *mushroom.Session, 1)
	_, url := newServer(t, mushroom.ServerOptions{Connect: func(s *mushroom.Session) { sessions <- s }})
	s := dial(t, url, &mushroom.DialOptions{Transports: []string{"ws"}})
	waiting := make(chan error)
	server := <-sessions
	go func() {
		_, err := server.Request(context.Background(), "never", nil)
		waiting <- err
	}()
	assert.ErrorContains(t, <-waiting, "never", "no such method")
	require.NoError(t, s.Close())
	<-server.Done()
	assert.ErrorIs(t, server.Err(), mushroom.ErrDisconnected)
	_, err := server.Request(testContext(t), "m", nil)
	assert.ErrorIs(t, err, mushroom.ErrDisconnected)
}

// TestHTTPClientThatHidesItsConnections: deadlines then come from contexts.
func TestHTTPClientThatHidesItsConnections(t *testing.T) {
	_, url := newTestService(t, nil, mushroom.ServerOptions{})
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	hiding := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		return transport.RoundTrip(r.Clone(context.WithoutCancel(hideTrace{r.Context()})))
	})}
	s := dial(t, url, &mushroom.DialOptions{Transports: []string{"ws"}, HTTPClient: hiding})
	got, err := mushroom.Call[string](testContext(t), s, "ping", nil)
	require.NoError(t, err)
	assert.Equal(t, "pong", got)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// hideTrace is a context without values, and so without an httptrace.
type hideTrace struct{ context.Context }

func (hideTrace) Value(any) any { return nil }

// TestDefaultTransportThatWasReplaced, as tracing libraries do.
func TestDefaultTransportThatWasReplaced(t *testing.T) {
	_, url := newTestService(t, nil, mushroom.ServerOptions{})
	normal := http.DefaultTransport
	http.DefaultTransport = roundTripper(normal.RoundTrip)
	defer func() { http.DefaultTransport = normal }()
	s, err := mushroom.Dial(testContext(t), url, nil)
	require.NoError(t, err)
	closeSession(t, s)
}

func TestWeb(t *testing.T) {
	server := httptest.NewServer(http.FileServerFS(mushroom.Web()))
	defer server.Close()
	response, err := http.Get(server.URL + "/mushroom.js")
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	assert.Contains(t, string(text), "export class Client")
}
