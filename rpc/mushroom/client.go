package mushroom

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"path"
	"slices"
	"time"

	"github.com/coder/websocket"
)

// DialOptions are the settings of Dial. The zero value works.
type DialOptions struct {
	// Dispatcher is what the client offers the server; nil offers nothing.
	Dispatcher Dispatcher
	// Transports are the transports to ask for, in order; nil is websocket, then poll.
	Transports []string
	// Auth is what the server's authentication is to see; any value that can be written as JSON.
	Auth any
	// Header goes with every HTTP request.
	Header http.Header
	// HTTPClient makes the requests; nil is a client of the session's own. It must not have a Timeout.
	HTTPClient *http.Client

	// PollWait is how long the server may take to answer a poll; it should be longer than the server's
	// PollTimeout. 0 is 60 s.
	PollWait time.Duration
	// PostTimeout is how long any other exchange of the poll transport may take. 0 is 15 s.
	PostTimeout time.Duration
	// RetryTimeout is how long a failing exchange of the poll transport is repeated before the session
	// ends. 0 is 60 s.
	RetryTimeout time.Duration
	// RequestTimeout bounds every Request; 0 leaves that to the caller's context.
	RequestTimeout time.Duration
	// Limits bounds what the server can make the client hold.
	Limits Limits
	// Log hears of handlers that fail and exchanges that are repeated; nil is silence.
	Log *slog.Logger
}

// client is what Dial works with.
type client struct {
	*settings
	opts DialOptions
	http *http.Client
}

// Dial begins a session with the server at an http or https URL. The context bounds the start only;
// Close ends the session. The error is the context's own, ErrUnauthorized, ErrNoTransport, a
// *StatusError, or the network's. A websocket session ends with its socket; a poll session outlives
// failing exchanges for RetryTimeout.
func Dial(ctx context.Context, rawURL string, opts *DialOptions) (*Session, error) {
	if opts == nil {
		opts = &DialOptions{}
	}
	c := &client{opts: *opts, http: opts.HTTPClient}
	var err error
	c.settings, err = newSettings(opts.Dispatcher, opts.Log, opts.RequestTimeout, opts.Limits)
	if err != nil {
		return nil, err
	}
	if err := c.setDefaults(); err != nil {
		return nil, err
	}
	session, err := c.start(ctx, rawURL)
	if err != nil {
		c.release()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("mushroom: dial %s: %w", rawURL, err)
	}
	return session, nil
}

func (c *client) setDefaults() error {
	for _, t := range []struct {
		name   string
		value  *time.Duration
		normal time.Duration
	}{
		{"PollWait", &c.opts.PollWait, defaultPollWait},
		{"PostTimeout", &c.opts.PostTimeout, defaultPostTimeout},
		{"RetryTimeout", &c.opts.RetryTimeout, defaultRetryTimeout},
	} {
		if *t.value == 0 {
			*t.value = t.normal
		}
		if *t.value < 0 {
			return fmt.Errorf("mushroom: %s is negative: %v", t.name, *t.value)
		}
	}
	if c.opts.Transports == nil {
		c.opts.Transports = []string{TransportWS, TransportPoll}
	}
	if c.http == nil {
		transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
		// A program may have put something else in the default's place.
		if normal, ok := http.DefaultTransport.(*http.Transport); ok {
			transport = normal.Clone()
		}
		c.http = &http.Client{Transport: transport}
	}
	return nil
}

// release closes the connections of a client of our own.
func (c *client) release() {
	if c.opts.HTTPClient == nil {
		c.http.CloseIdleConnections()
	}
}

func (c *client) start(ctx context.Context, rawURL string) (*Session, error) {
	auth, err := encode(c.opts.Auth)
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	body, err := encode(map[string]any{"transports": c.opts.Transports, "auth": orNull(auth)})
	if err != nil {
		return nil, err
	}
	status, text, err := c.post(ctx, rawURL, body)
	if err != nil {
		return nil, err
	}
	switch status {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return nil, ErrUnauthorized
	case http.StatusNotImplemented:
		return nil, ErrNoTransport
	default:
		return nil, &StatusError{status}
	}
	var w welcome
	if err := json.Unmarshal(text, &w); err != nil {
		return nil, fmt.Errorf("answer %.100q: %w", text, err)
	}
	if !slices.Contains(c.opts.Transports, w.Transport) {
		return nil, fmt.Errorf("%w: the server chose %q", ErrNoTransport, w.Transport)
	}
	u, err := url.Parse(w.URL)
	if err != nil {
		return nil, fmt.Errorf("session address: %w", err)
	}
	session := newSession(c.settings, path.Base(u.Path), w.Transport, goodbyeWritten)
	if w.Transport == TransportPoll {
		c.startPoll(session, w.URL)
		return session, nil
	}
	return session, c.startSocket(ctx, session, w.URL)
}

// startSocket opens the session's websocket.
func (c *client) startSocket(ctx context.Context, session *Session, address string) error {
	w := &socket{code: websocket.StatusNormalClosure, times: &c.times}
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { w.net = info.Conn }}
	conn, response, err := websocket.Dial(httptrace.WithClientTrace(ctx, trace), address,
		&websocket.DialOptions{HTTPClient: c.http, HTTPHeader: c.opts.Header})
	if err != nil {
		if response != nil && response.StatusCode != http.StatusSwitchingProtocols {
			return &StatusError{response.StatusCode}
		}
		return err
	}
	w.conn = conn
	conn.SetReadLimit(int64(c.limits.MaxMessage))
	session.attach(w)
	// This goroutine receives and then finishes the session. Close, or the websocket's end, stops it;
	// Done tells.
	go func() {
		session.receive(w)
		c.release()
		session.finish()
	}()
	return nil
}

// post makes one exchange and reads its answer whole.
func (c *client) post(ctx context.Context, address string, body []byte) (status int, text []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	for name, values := range c.opts.Header {
		r.Header[name] = values
	}
	r.Header.Set("Content-Type", "text/plain")
	response, err := c.http.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	text, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return 0, nil, err
	}
	if len(text) > maxAnswer {
		return 0, nil, fmt.Errorf("%w: the answer is above %d bytes", ErrTooLarge, maxAnswer)
	}
	return response.StatusCode, text, nil
}
