package mushroom

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ServeHTTP answers the bootstrap at the server's path, and the exchanges and websockets of sessions
// below it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.allowOrigin(w, r) {
		answer(w, http.StatusForbidden)
		return
	}
	parts, ok := s.below(r.URL.Path)
	if !ok || len(parts) > 1 {
		answer(w, http.StatusNotFound)
		return
	}
	if len(parts) == 0 {
		s.serveBase(w, r)
		return
	}
	session := s.lookup(parts[0])
	switch {
	case session != nil && session.transport == TransportPoll && !isUpgrade(r):
		s.servePoll(w, r, session)
	case session != nil && session.transport == TransportWS && isUpgrade(r):
		s.serveSocket(w, r, session)
	case isUpgrade(r):
		s.refuseSocket(w, r)
	case session != nil:
		answer(w, http.StatusInternalServerError)
	default:
		s.serveGone(w, r, parts[0])
	}
}

func (s *Server) serveBase(w http.ResponseWriter, r *http.Request) {
	switch {
	case isUpgrade(r):
		s.refuseSocket(w, r)
	case r.Method != http.MethodPost:
		methodNotAllowed(w)
	default:
		s.serveBootstrap(w, r)
	}
}

// allowOrigin says which pages may read the answer, and whether the request may be served. Messages
// go in simple requests, which a browser sends without asking first.
func (s *Server) allowOrigin(w http.ResponseWriter, r *http.Request) bool {
	if s.opts.Origins == nil {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		return true
	}
	w.Header().Set("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	if !slices.Contains(s.opts.Origins, origin) {
		return false
	}
	w.Header().Set("Access-Control-Allow-Origin", origin)
	return true
}

// below splits what comes after the server's path. Slashes at the end or doubled do not matter.
func (s *Server) below(path string) (parts []string, ok bool) {
	notSlash := func(part string) bool { return part != "" }
	parts = slices.DeleteFunc(strings.Split(path, "/"), func(p string) bool { return !notSlash(p) })
	base := slices.DeleteFunc(strings.Split(s.opts.Path, "/"), func(p string) bool { return !notSlash(p) })
	if len(parts) < len(base) || !slices.Equal(parts[:len(base)], base) {
		return nil, false
	}
	return parts[len(base):], true
}

func isUpgrade(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// bootstrap is what a client asks for a session with. What else it says is not looked at.
type bootstrap struct {
	Transports json.RawMessage `json:"transports"`
	Auth       json.RawMessage `json:"auth"`
}

// welcome is the answer to it.
type welcome struct {
	Transport string `json:"transport"`
	URL       string `json:"url"`
}

// serveBootstrap begins a session: negotiate, authenticate, register, tell Connect, answer.
func (s *Server) serveBootstrap(w http.ResponseWriter, r *http.Request) {
	body, ok := s.readBody(w, r)
	if !ok {
		return
	}
	var ask bootstrap
	transport, err := s.decodeBootstrap(body, &ask)
	if err != nil {
		answer(w, http.StatusInternalServerError)
		return
	}
	if transport == "" {
		write(w, http.StatusNotImplemented, "text/plain", []byte("No suitable transport found"))
		return
	}
	session := s.begin(transport)
	if auth := s.opts.Authenticate; auth != nil {
		if string(ask.Auth) == "null" {
			ask.Auth = nil
		}
		if err := auth(r, session, ask.Auth); err != nil {
			s.log.Info("mushroom: client refused", "remote", r.RemoteAddr, "error", err)
			session.cancel(ErrUnauthorized)
			// Spelled so, which Set would change: the original's header is looked for by its letters.
			w.Header()["WWW-Authenticate"] = []string{"Mushroom"}
			answer(w, http.StatusUnauthorized)
			return
		}
	}
	if err := s.register(session); err != nil {
		session.cancel(err)
		w.Header().Set("Retry-After", "10")
		answer(w, http.StatusServiceUnavailable)
		return
	}
	s.connect(session)
	writeJSON(w, welcome{session.transport, s.sessionURL(r, session)})
}

// connect starts the wait for the client and tells Connect.
func (s *Server) connect(session *Session) {
	connected := make(chan struct{})
	defer close(connected)
	session.update(func(st *state) {
		st.finish = func() {
			close(session.closed)
			<-connected // Disconnect comes after Connect, even if that closes the session
			s.forget(session)
		}
	})
	session.presence.expect(s.opts.SessionTimeout, func() { session.end(ErrExpired, false) })
	if s.opts.Connect != nil {
		s.opts.Connect(session)
	}
}

// decodeBootstrap returns the first transport in the client's list that is offered, or "". A text in
// the list's place is a list of its letters to the original, which names nothing; what else is no name is
// passed over.
func (s *Server) decodeBootstrap(body []byte, ask *bootstrap) (transport string, err error) {
	if nesting(body) > s.limits.MaxDepth {
		return "", badMessage("nested deeper than %d", s.limits.MaxDepth)
	}
	if err := json.Unmarshal(body, ask); err != nil {
		return "", err
	}
	if len(ask.Transports) > 0 && ask.Transports[0] == '"' {
		return "", nil
	}
	rest, err := openArray(ask.Transports, s.limits.MaxDepth)
	if err != nil {
		return "", err
	}
	for len(rest) > 0 {
		var item []byte
		item, rest = nextElement(rest)
		var name string
		if json.Unmarshal(item, &name) == nil && slices.Contains(s.opts.Transports, name) {
			return name, nil
		}
	}
	return "", nil
}

func (s *Server) begin(transport string) *Session {
	bye := goodbyeQueued
	if transport == TransportWS {
		// The original's browser client trips over a Disconnect by websocket; the close frame says it.
		bye = goodbyeNone
	}
	return newSession(s.settings, newSessionID(), transport, bye)
}

// sessionURL is the session's address as the client reached this server, or below BaseURL.
func (s *Server) sessionURL(r *http.Request, session *Session) string {
	u := url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	if s.base != nil {
		u = *s.base
	} else if s.opts.Path != "" {
		u.Path = "/" + strings.Trim(s.opts.Path, "/")
	}
	if session.transport == TransportWS {
		u.Scheme = strings.Replace(u.Scheme, "http", "ws", 1)
	}
	return u.Scheme + "://" + u.Host + strings.TrimRight(u.EscapedPath(), "/") + "/" + session.id + "/"
}

// readBody reads a request's body within its limits of size and time, or answers why not.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) (body []byte, ok bool) {
	control := http.NewResponseController(w)
	// A server without deadlines has its own ways against slow clients.
	_ = control.SetReadDeadline(time.Now().Add(s.times.body))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(s.limits.MaxBody)))
	_ = control.SetReadDeadline(time.Time{})
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return body, true
	case errors.As(err, &large):
		answer(w, http.StatusRequestEntityTooLarge)
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.Header().Set("Connection", "close")
		answer(w, http.StatusRequestTimeout)
	default:
		answer(w, http.StatusBadRequest)
	}
	return nil, false
}

func methodNotAllowed(w http.ResponseWriter) {
	w.Header().Set("Allow", http.MethodPost)
	answer(w, http.StatusMethodNotAllowed)
}

// answer is a status without a body.
func answer(w http.ResponseWriter, status int) { write(w, status, "text/plain", nil) }

func writeJSON(w http.ResponseWriter, v any) {
	text, err := encode(v)
	if err != nil {
		answer(w, http.StatusInternalServerError)
		return
	}
	write(w, http.StatusOK, "application/json", text)
}

// write answers within a time, and leaves no deadline behind for what else is served on the connection.
func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(normalTimes.write))
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone comes back or does not
	_ = control.Flush()
	_ = control.SetWriteDeadline(time.Time{})
}
