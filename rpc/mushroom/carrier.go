package mushroom

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/coder/websocket"
)

// carrier moves whole messages: a websocket, or lines of a stream.
type carrier interface {
	// read returns one message in memory of its own. Only one goroutine reads. errHalfClosed says that nothing more
	// comes, and that the peer may still read.
	read() ([]byte, error)
	// write sends messages in order. Only the pump writes.
	write(frames [][]byte) error
	// close ends the carrier in an orderly way and in bounded time. read returns then.
	close()
	// abort ends it at once; read, write and close return then.
	abort()
}

// attach gives the session its carrier. What was queued before is written now.
func (s *Session) attach(c carrier) {
	abort := c.abort
	s.abort.Store(&abort)
	s.update(func(st *state) {
		st.pump = func() { s.pumpTo(c) }
	})
}

// pumpTo writes what is due until nothing is, and closes the carrier at the session's end. It runs while
// there is something to write, one at a time.
func (s *Session) pumpTo(c carrier) {
	for {
		var frames [][]byte
		var closing bool
		s.update(func(st *state) { frames, closing = st.due() })
		if closing {
			c.close()
			close(s.closed)
			return
		}
		if len(frames) == 0 {
			return
		}
		if err := c.write(frames); err != nil {
			s.end(lost(fmt.Errorf("write: %w", err)), false)
			s.update(func(st *state) { st.flush = false })
		}
	}
}

// errHalfClosed is the end of the peer's side of a carrier, in good order.
var errHalfClosed = errors.New("the peer has ended its side")

// receive takes messages from the carrier until the session is over, and then waits until the carrier
// is closed.
func (s *Session) receive(c carrier) {
	var err error
	for err == nil {
		err = s.receiveOne(c)
	}
	if errors.Is(err, errHalfClosed) {
		err = s.answerTaken()
	}
	s.end(err, false)
	<-s.closed
}

// answerTaken lets what was taken from a peer that says nothing more be handled and answered, for a time. It returns
// what is to end the session then.
func (s *Session) answerTaken() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.times.drain)
	defer cancel()
	reason := ended(ErrDisconnected)
	s.update(func(st *state) { st.stopHearing(reason) })
	// When time is up, what is still at work is cancelled by the session's end.
	_ = s.wait(ctx, func(st *state) bool { return st.ended != nil || st.answered() })
	return reason
}

func (s *Session) receiveOne(c carrier) error {
	changed := s.look(func(st *state) bool { return !st.crowded() })
	if changed != nil {
		<-changed // an ended session is not crowded
		return nil
	}
	data, err := c.read()
	if errors.Is(err, errHalfClosed) {
		return err
	}
	if err != nil {
		return lost(err)
	}
	m, err := s.parse(data, len(data))
	if err != nil {
		return err
	}
	if err := s.HandleMessage(m); err != nil {
		return err
	}
	return s.Err()
}

// lost is the end of a session whose carrier failed with err. Whether the reader or the writer notices
// first that the peer is gone is chance, so it is one condition.
func lost(err error) error {
	if errors.Is(err, websocket.ErrMessageTooBig) {
		return tooLarge("%v", err)
	}
	for _, ours := range []error{ErrBadMessage, ErrDisconnected, os.ErrDeadlineExceeded} {
		if errors.Is(err, ours) {
			return err
		}
	}
	if errors.Is(err, io.EOF) {
		return ErrDisconnected
	}
	return fmt.Errorf("%w: %w", ErrDisconnected, err)
}
