package mushroom

import (
	"bufio"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

// serveSocket carries a session by its websocket until either ends. A session has one socket in its life.
func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request, session *Session) {
	claimed := false
	session.update(func(st *state) {
		// From here on the carrier's end finishes the session, not the server.
		claimed = st.finish != nil && st.ended == nil
		if claimed {
			st.finish = nil
		}
	})
	if !claimed {
		s.refuseSocket(w, r)
		return
	}
	defer s.forget(session)
	session.presence.enter() // or the session is being ended, which receive notices
	c, err := s.accept(w, r)
	if err != nil {
		session.end(err, false)
		close(session.closed)
		return
	}
	c.conn.SetReadLimit(int64(s.limits.MaxMessage))
	session.attach(c)
	if s.opts.PingInterval > 0 {
		session.keepAlive(c, s.opts.PingInterval)
	}
	session.receive(c)
}

// refuseSocket answers an upgrade that leads nowhere as the original does: it opens the websocket and
// closes it.
func (s *Server) refuseSocket(w http.ResponseWriter, r *http.Request) {
	if c, err := s.accept(w, r); err == nil {
		c.close()
	}
}

// accept opens the websocket and finds the connection below it. It answers errors itself.
func (s *Server) accept(w http.ResponseWriter, r *http.Request) (*socket, error) {
	w.Header().Del("Access-Control-Allow-Origin") // a websocket has no use for it
	hijack := &hijackWatcher{ResponseWriter: w}
	// The origin was checked by allowOrigin.
	conn, err := websocket.Accept(hijack, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	return &socket{conn: conn, net: hijack.conn, code: websocket.StatusNoStatusRcvd, times: &s.times}, nil
}

// hijackWatcher remembers the connection that a hijacker gets.
type hijackWatcher struct {
	http.ResponseWriter
	conn net.Conn
}

func (h *hijackWatcher) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err == nil {
		// Deadlines for the HTTP exchange end with it.
		_ = conn.SetDeadline(time.Time{})
		h.conn = conn
	}
	return conn, rw, err
}
