package mushroom

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// ServerOptions are the settings of NewServer. The zero value works.
type ServerOptions struct {
	// Dispatcher is what the server offers its clients; nil offers nothing.
	Dispatcher Dispatcher
	// Path is where the server is mounted; "" is "/". The full path of the request counts.
	Path string
	// BaseURL is the server's public address, for servers behind a proxy: "https://example.com/rpc/".
	// "" takes scheme and host from each request, as the original does.
	BaseURL string
	// Origins are the web origins ("https://example.com") whose pages may use the server. nil lets all,
	// as the original does. Requests without an Origin header do not come from pages and are let in.
	Origins []string
	// Transports are the transports offered; nil offers both. The client's order counts.
	Transports []string

	// Authenticate decides whether a client may have a session. auth is what it sent, nil for null. A
	// nil function lets all in. A client that is refused hears nothing of the error, which is logged.
	Authenticate func(r *http.Request, s *Session, auth json.RawMessage) error
	// Connect is called when a session begins, before its client hears of it. What it sends waits.
	Connect func(s *Session)
	// Disconnect is called once when a session that began is over.
	Disconnect func(s *Session)

	// PollTimeout is how long a poll waits for something to send. 0 is 40 s.
	PollTimeout time.Duration
	// SessionTimeout is how long a poll session lives without a request in progress, and a websocket
	// session without its socket. 0 is 90 s.
	SessionTimeout time.Duration
	// PingInterval is the time between websocket pings. 0 is 45 s; below 0 there are none.
	PingInterval time.Duration
	// RequestTimeout bounds every Request to a client; 0 leaves that to the caller's context.
	RequestTimeout time.Duration
	// Limits bounds what clients can make the server hold.
	Limits Limits
	// Log hears of handlers that fail and clients that are refused; nil is silence.
	Log *slog.Logger
}

// Server is an http.Handler that begins sessions and carries them. All its methods may be called
// concurrently. Shutdown ends it.
type Server struct {
	*settings
	opts ServerOptions
	base *url.URL // of BaseURL; nil without

	running sync.WaitGroup // sessions that are not finished

	// mu guards what follows. Nothing is called under it.
	mu       sync.RWMutex
	sessions map[string]*Session
	leaving  map[string]*Session // over, and waiting for a last poll
	farewell map[string][]byte   // the last answers of poll sessions that are gone
	down     bool
}

// NewServer checks the options.
func NewServer(opts *ServerOptions) (*Server, error) {
	if opts == nil {
		opts = &ServerOptions{}
	}
	settings, err := newSettings(opts.Dispatcher, opts.Log, opts.RequestTimeout, opts.Limits)
	if err != nil {
		return nil, err
	}
	s := &Server{
		settings: settings,
		opts:     *opts,
		sessions: make(map[string]*Session),
		leaving:  make(map[string]*Session),
		farewell: make(map[string][]byte),
	}
	if err := s.setTimes(); err != nil {
		return nil, err
	}
	if s.opts.Transports == nil {
		s.opts.Transports = []string{TransportWS, TransportPoll}
	}
	for _, name := range s.opts.Transports {
		if name != TransportWS && name != TransportPoll {
			return nil, fmt.Errorf("mushroom: unknown transport %q", name)
		}
	}
	if opts.BaseURL != "" {
		s.base, err = url.Parse(opts.BaseURL)
		if err != nil || s.base.Scheme != "http" && s.base.Scheme != "https" || s.base.Host == "" {
			return nil, fmt.Errorf("mushroom: base URL %q is no http or https address", opts.BaseURL)
		}
	}
	return s, nil
}

func (s *Server) setTimes() error {
	for _, t := range []struct {
		name   string
		value  *time.Duration
		normal time.Duration
	}{
		{"PollTimeout", &s.opts.PollTimeout, defaultPollTimeout},
		{"SessionTimeout", &s.opts.SessionTimeout, defaultSessionTimeout},
	} {
		if *t.value == 0 {
			*t.value = t.normal
		}
		if *t.value < 0 {
			return fmt.Errorf("mushroom: %s is negative: %v", t.name, *t.value)
		}
	}
	if s.opts.PingInterval == 0 {
		s.opts.PingInterval = defaultPingInterval
	}
	return nil
}

// Len is the number of sessions.
func (s *Server) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.sessions)
}

// Sessions are the sessions at the moment of the call.
func (s *Server) Sessions() iter.Seq[*Session] {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Values(slices.Collect(maps.Values(s.sessions)))
}

// Notify sends a notification to all sessions and returns how many there were. The error is about data
// that cannot be written as JSON; a session that cannot take the message says so by its own end.
func (s *Server) Notify(method string, data any) (count int, err error) {
	text, err := encode(data)
	if err != nil {
		return 0, fmt.Errorf("mushroom: notify %q: %w", method, err)
	}
	for session := range s.Sessions() {
		if session.Notify(method, text) == nil {
			count++
		}
	}
	return count, nil
}

// Shutdown ends all sessions, takes no new ones, and waits until their handlers have returned or the
// context ends, whose error is then returned. HTTP requests in progress are answered; whoever runs the
// http.Server calls its Shutdown afterwards.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.down = true
	s.mu.Unlock()
	for session := range s.Sessions() {
		session.end(ErrClosed, true)
	}
	finished := make(chan struct{})
	// It ends with the last session.
	go func() {
		s.running.Wait()
		close(finished)
	}()
	select {
	case <-finished:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errFull = errors.New("mushroom: too many sessions")

// register makes the session known, and so sees to its end.
func (s *Server) register(session *Session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down || len(s.sessions) >= s.limits.MaxSessions {
		return errFull
	}
	s.sessions[session.id] = session
	s.running.Add(1)
	return nil
}

// lookup finds a session that is not over, or that waits for a last poll.
func (s *Server) lookup(id string) *Session {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if session := s.leaving[id]; session != nil {
		return session
	}
	return s.sessions[id]
}

// forget is the last thing in a session's life, after its carrier was closed.
func (s *Server) forget(session *Session) {
	defer s.running.Done()
	// Also one that has told its client of the end, which may ask again before the last answer is kept.
	linger := session.closedForPolls()
	s.mu.Lock()
	delete(s.sessions, session.id)
	linger = linger && !s.down
	if linger {
		s.leaving[session.id] = session
	}
	s.mu.Unlock()
	if s.opts.Disconnect != nil {
		s.opts.Disconnect(session)
	}
	if linger {
		session.waitForLastPoll()
	}
	s.keepFarewell(session)
	session.finish()
}

// newSessionID makes an id that cannot be guessed. Bytes that would make some characters likelier than
// others are passed over.
func newSessionID() string {
	const characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	var id strings.Builder
	var random [2 * sessionIDLength]byte
	for {
		_, _ = rand.Read(random[:]) // never fails
		for _, b := range random {
			if int(b) >= 256/len(characters)*len(characters) {
				continue
			}
			id.WriteByte(characters[int(b)%len(characters)])
			if id.Len() == sessionIDLength {
				return id.String()
			}
		}
	}
}
