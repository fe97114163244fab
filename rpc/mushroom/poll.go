package mushroom

import (
	"errors"
	"net/http"
	"time"
)

// servePoll takes the messages of one POST. If a heartbeat is among them it is a poll, which is answered
// when there is something to send.
func (s *Server) servePoll(w http.ResponseWriter, r *http.Request, session *Session) {
	if r.Method != http.MethodPost {
		methodNotAllowed(w)
		return
	}
	if !session.presence.enter() {
		s.serveGone(w, r, session.id)
		return
	}
	defer session.presence.leave()
	body, ok := s.readBody(w, r)
	if !ok {
		return
	}
	over := session.Err() != nil
	poll, err := session.takeBody(r, body)
	if end := session.Err(); err != nil && end != nil && !errors.Is(end, ErrDisconnected) {
		over = true // by now; a client that ends its session itself is answered below
	}
	switch {
	case over && poll && session.closedForPolls():
		write(w, http.StatusOK, "application/json", session.pollAnswer())
	case over:
		answer(w, http.StatusNotFound)
	case err != nil && r.Context().Err() != nil:
		// The client is gone. It will send again what it has no answer to.
	case err != nil:
		s.log.Info("mushroom: bad exchange", "session", session.id, "error", err)
		status := http.StatusInternalServerError
		if errors.Is(err, ErrTooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		answer(w, status)
	case !poll:
		write(w, http.StatusOK, "application/json", []byte("null"))
	default:
		if session.waitToAnswer(r, s.opts.PollTimeout) {
			write(w, http.StatusOK, "application/json", session.pollAnswer())
		}
	}
}

// takeBody takes a body's messages in order, up to the first bad one. The first message for a session
// that is over is an error, too.
func (s *Session) takeBody(r *http.Request, body []byte) (poll bool, err error) {
	// The list is one level around the messages.
	rest, err := openArray(body, s.limits.MaxDepth+1)
	if err != nil {
		return false, err
	}
	for len(rest) > 0 {
		if err := s.wait(r.Context(), func(st *state) bool { return !st.crowded() }); err != nil {
			return false, err
		}
		var text []byte
		text, rest = nextElement(rest)
		m, err := s.parse(text, len(body))
		if err != nil {
			return false, err
		}
		poll = poll || m.Kind == KindHeartbeat
		if err := s.HandleMessage(m); err != nil {
			return poll, err
		}
	}
	return poll, nil
}

// waitToAnswer waits until there is something to send or the time is up. It reports false if the
// client went away.
func (s *Session) waitToAnswer(r *http.Request, timeout time.Duration) bool {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	var grace <-chan time.Time // begins with the first thing to send
	for {
		some := false
		changed := s.look(func(st *state) bool {
			some = len(st.queue) > 0 || st.ended != nil
			return some && st.idle()
		})
		if changed == nil {
			return true
		}
		if some && grace == nil {
			burst := time.NewTimer(s.times.pollGrace)
			defer burst.Stop()
			grace = burst.C
		}
		select {
		case <-changed:
		case <-grace:
			return true
		case <-timer.C:
			return true
		case <-r.Context().Done():
			return false
		}
	}
}

// pollAnswer is a list of what is not acknowledged, and of a heartbeat if there is an id to acknowledge.
// What does not fit follows in the answer to the next poll, unless there is none to come.
func (s *Session) pollAnswer() []byte {
	var messages [][]byte
	var last ID
	s.update(func(st *state) {
		size := s.limits.MaxBody
		for _, o := range st.queue {
			size -= len(o.text)
			if size < 0 && len(messages) > 0 && st.ended == nil {
				break
			}
			messages = append(messages, o.text)
		}
		last = st.last
		st.told = st.ended != nil
	})
	if !last.IsNull() {
		messages = append(messages, Message{Kind: KindHeartbeat, ID: last}.append(nil))
	}
	return joinArray(messages)
}

// joinArray writes messages as one array.
func joinArray(messages [][]byte) []byte {
	size := 2
	for _, text := range messages {
		size += len(text) + 1
	}
	list := append(make([]byte, 0, size), '[')
	for i, text := range messages {
		if i > 0 {
			list = append(list, ',')
		}
		list = append(list, text...)
	}
	return append(list, ']')
}
