package mushroom

import (
	"cmp"
	"fmt"
	"slices"
)

// state is what an engine knows. It changes only inside Engine.update.
type state struct {
	limits *Limits

	// Sending.
	nextID   int64
	lastSent int64      // the highest id that was sent, -1 before
	queue    []outgoing // sent and not acknowledged, in order
	bytes    int        // size of the queue
	handed   int64      // the highest id that the carrier has taken, -1 before
	goodbye  goodbye
	pending  map[int64]chan<- outcome

	// Receiving.
	last       ID   // the last id taken from the peer
	ackDue     bool // a heartbeat with it is owed
	inbox      []*work
	inboxBytes int
	turn       *work // the notification whose handler the inbox waits for
	active     int   // handlers at work that do not wait for the peer
	handlers   int   // handlers at work, those that wait included
	deaf       error // why nothing more will be received, while the session still answers
	notices    int   // notifications in the inbox or with a handler at work

	// The end.
	ended   error                    // why the session is over; nil while it is not
	flush   bool                     // what is queued is still to be written
	orphans map[int64]chan<- outcome // the requests that were pending at the end, to be told
	closing bool                     // the carrier is being closed, or was
	told    bool                     // a poll was answered with the end

	// pump writes what is due to the carrier while pumping is set. It is nil before a carrier is there,
	// and for poll, where others come and ask. finish is called at the end of a session without a pump.
	pump    func()
	pumping bool
	finish  func()

	changed chan struct{} // made by whoever waits for a change, closed by the next one
}

// goodbye says what becomes of a Disconnect at the session's end.
type goodbye int

const (
	goodbyeNone    goodbye = iota // the peer sees the end by the carrier
	goodbyeWritten                // it is written last, if this end closed the session
	goodbyeQueued                 // it waits in the queue for whoever polls
)

// outgoing is a message as it is written.
type outgoing struct {
	id   int64 // noID for a Disconnect, which the poll transport queues
	text []byte
}

const noID = -1

// outcome is what a waiting request gets.
type outcome struct {
	message Message
	err     error
}

// push queues a message under the next id, or under m.ID if that is set.
func (s *state) push(m Message) (int64, error) {
	id := s.nextID
	if !m.ID.IsNull() {
		n, ok := m.ID.Int()
		if !ok || n <= s.lastSent {
			return 0, fmt.Errorf("mushroom: message id %v is not above %d, the last one sent", m.ID, s.lastSent)
		}
		id = n
	}
	m.ID = IntID(id)
	text := m.append(make([]byte, 0, len(m.Data)+len(m.Method)+32))
	if len(text) > s.limits.MaxMessage {
		return 0, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLarge, len(text), s.limits.MaxMessage)
	}
	s.nextID, s.lastSent = max(s.nextID, id+1), id
	s.queue = append(s.queue, outgoing{id, text})
	s.bytes += len(text)
	if s.ended == nil && (len(s.queue) > s.limits.MaxUnacked || s.bytes > s.limits.MaxUnackedBytes) {
		s.end(fmt.Errorf("%w: %d messages, %d bytes", ErrUnacknowledged, len(s.queue), s.bytes), false)
		return 0, s.ended
	}
	return id, nil
}

// acknowledge drops what the peer has taken.
func (s *state) acknowledge(last ID) error {
	if last.IsNull() {
		return nil
	}
	taken := 0
	for _, o := range s.queue {
		if o.id == noID {
			return badMessage("heartbeat %v after the end", last)
		}
		order, err := IntID(o.id).compare(last)
		if err != nil {
			return err
		}
		if order > 0 {
			break
		}
		s.bytes -= len(o.text)
		taken++
	}
	if taken == len(s.queue) {
		s.queue = nil // an idle session holds no memory for what it once sent
		return nil
	}
	clear(s.queue[:taken])
	s.queue = s.queue[taken:]
	return nil
}

// unhanded is the part of the queue that the carrier has not taken yet.
func (s *state) unhanded() []outgoing {
	i, _ := slices.BinarySearchFunc(s.queue, s.handed+1, func(o outgoing, id int64) int {
		return cmp.Compare(o.id, id)
	})
	return s.queue[i:]
}

// batch is the first part of the queue that the carrier has not taken, of about size bytes but at
// least one message, and the id of its last.
func (s *state) batch(size int) (texts [][]byte, last int64) {
	for _, o := range s.unhanded() {
		size -= len(o.text)
		if size < 0 && texts != nil {
			break
		}
		texts, last = append(texts, o.text), o.id
	}
	return texts, last
}

// pumpDue reports whether a pump should be started.
func (s *state) pumpDue() bool {
	if s.pump == nil || s.pumping || s.closing {
		return false
	}
	return s.ended != nil || s.ackDue || len(s.unhanded()) > 0
}

// due takes what the pump is to write next. Nothing means that the pump returns; closing, that it
// closes the carrier first.
func (s *state) due() (frames [][]byte, closing bool) {
	if s.ended == nil && s.ackDue {
		s.ackDue = false
		frames = append(frames, Message{Kind: KindHeartbeat, ID: s.last}.append(nil))
	}
	if s.ended == nil || s.flush {
		texts, last := s.batch(pumpBatch)
		if len(texts) > 0 {
			s.handed = last
		}
		frames = append(frames, texts...)
	}
	if s.flush && len(frames) == 0 && s.goodbye == goodbyeWritten {
		s.goodbye = goodbyeNone
		frames = append(frames, Message{Kind: KindDisconnect}.append(nil))
	}
	if len(frames) == 0 {
		s.pumping = false
		s.closing = s.ended != nil
	}
	return frames, s.closing
}

// take notes a message with an id and reports whether it is new. What waits for it is returned: the
// caller that a response belongs to, or nil.
func (s *state) take(m Message, w *work) (waiter chan<- outcome, fresh bool, err error) {
	if !s.last.IsNull() {
		order, err := m.ID.compare(s.last)
		if err != nil {
			return nil, false, err
		}
		if order <= 0 {
			s.ackDue = true
			return nil, false, nil
		}
	}
	s.last, s.ackDue = m.ID, true
	if m.Kind == KindResponse || m.Kind == KindError {
		id, ok := m.RequestID.Int()
		if !ok {
			return nil, true, nil
		}
		waiter = s.pending[id]
		delete(s.pending, id)
		return waiter, true, nil
	}
	s.inbox = append(s.inbox, w)
	s.inboxBytes += w.size()
	if m.Kind == KindNotification {
		s.notices++
	}
	return nil, true, nil
}

// ready takes the messages out of the inbox whose handlers may start now.
func (s *state) ready() (started []*work) {
	for len(s.inbox) > 0 && s.turn == nil && s.active < s.limits.MaxHandlers {
		w := s.inbox[0]
		s.inbox[0] = nil
		s.inbox = s.inbox[1:]
		s.inboxBytes -= w.size()
		s.active++
		s.handlers++
		w.active = true
		if w.request.Kind == KindNotification {
			s.turn = w
		}
		started = append(started, w)
	}
	if len(s.inbox) == 0 {
		s.inbox = nil
	}
	return started
}

// leave is a handler's end.
func (s *state) leave(w *work) {
	s.yield(w)
	s.handlers--
	w.over = true
}

// yield is a handler's end, or its beginning to wait for the peer: the inbox goes on.
func (s *state) yield(w *work) {
	if w.active {
		w.active = false
		s.active--
	}
	if s.turn == w {
		s.turn = nil
		s.notices--
	}
}

// end makes the session over for reason. With flush, what is queued is written before the carrier closes.
func (s *state) end(reason error, flush bool) {
	if s.ended != nil {
		return
	}
	s.ended, s.flush = ended(reason), flush
	s.orphans, s.pending = s.pending, nil
	if s.goodbye == goodbyeQueued {
		s.queue = append(s.queue, outgoing{noID, Message{Kind: KindDisconnect}.append(nil)})
	}
}

// stopHearing notes that the peer says nothing more: no request can be answered by it.
func (s *state) stopHearing(reason error) {
	if s.ended == nil {
		s.deaf = reason
		s.orphans, s.pending = s.pending, nil
	}
}

// answered reports whether all that was taken is handled, and what is to be sent was handed to the carrier.
func (s *state) answered() bool {
	return s.handlers == 0 && len(s.inbox) == 0 && !s.ackDue && len(s.unhanded()) == 0
}

// idle reports whether nothing more will be sent soon: no handler is at work.
func (s *state) idle() bool { return s.active == 0 }

// crowded reports whether reading should pause.
func (s *state) crowded() bool {
	return s.ended == nil && (len(s.inbox) >= s.limits.MaxInbox || s.inboxBytes >= s.limits.MaxUnackedBytes)
}
