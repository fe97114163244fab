package mushroom

import (
	"context"
	"net"
	"time"

	"github.com/coder/websocket"
)

// socket is the carrier of a websocket: one text frame a message.
type socket struct {
	conn *websocket.Conn
	// net is the connection below, whose deadlines cost nothing per message. It is nil if an HTTP client
	// did not show it; contexts then do the same.
	net net.Conn
	// code is what an orderly close says. The original's server says nothing, which is
	// websocket.StatusNoStatusRcvd.
	code  websocket.StatusCode
	times *times
}

func (w *socket) read() ([]byte, error) {
	_, data, err := w.conn.Read(context.Background())
	return data, err
}

func (w *socket) write(frames [][]byte) error {
	ctx := context.Background()
	if w.net != nil {
		_ = w.net.SetWriteDeadline(time.Now().Add(w.times.write))
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.times.write)
		defer cancel()
	}
	for _, frame := range frames {
		if err := w.conn.Write(ctx, websocket.MessageText, frame); err != nil {
			return err
		}
	}
	return nil
}

// close sends a close frame and waits a little for the peer's.
func (w *socket) close() {
	if w.net != nil {
		_ = w.net.SetDeadline(time.Now().Add(w.times.closeGrace))
	}
	// Its error says how the peer took it, which changes nothing.
	_ = w.conn.Close(w.code, "")
}

func (w *socket) abort() {
	if w.net != nil {
		_ = w.net.Close()
		return
	}
	_ = w.conn.CloseNow()
}

// keepAlive pings the peer at intervals until the session is over. A peer that does not answer is gone.
func (s *Session) keepAlive(w *socket, interval time.Duration) {
	s.presence.repeat(interval, func() {
		if !s.startTask() {
			return
		}
		defer s.tasks.Done()
		ctx, cancel := context.WithTimeout(context.Background(), s.times.ping)
		defer cancel()
		if err := w.conn.Ping(ctx); err != nil {
			s.end(lost(err), false)
			return
		}
		s.keepAlive(w, interval)
	})
}
