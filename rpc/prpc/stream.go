package prpc

import (
	"context"
	"io"
	"iter"
	"sync"
	"time"
)

// Stream is one end of a call's stream. Its methods may be called concurrently;
// concurrent receivers share the messages between them. A nil Stream is that of
// a unary call.
type Stream struct {
	session  *session
	mode     StreamMode
	overflow func() // ends the call when the reader stands still

	id       callID
	data     MessageType
	closeMsg MessageType

	// ready has room for one token, which says that there may be something to receive.
	ready chan struct{}

	// mu guards what follows.
	mu    sync.Mutex
	state machine[StreamState]
	queue []Raw
	bytes int
	err   error // what Recv returns after the queue, once the stream is not open
	// counted is the part of bytes in the session's sum: all of it while the call runs.
	counted  int
	stall    *time.Timer // runs while too many messages wait
	progress time.Time   // when stall was last put off
}

func newStream(s *session, mode StreamMode, overflow func()) *Stream {
	return &Stream{session: s, mode: mode, overflow: overflow, ready: make(chan struct{}, 1)}
}

// open tells a new stream its id and the types of its messages.
func (s *Stream) open(id callID, data, closeMsg MessageType) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id, s.data, s.closeMsg = id, data, closeMsg
	s.state.to(StreamOpen)
}

// Mode returns what this end may do with the stream; 0 for a nil Stream.
func (s *Stream) Mode() StreamMode {
	if s == nil {
		return 0
	}
	return s.mode
}

// State returns the state of this end of the stream. A nil Stream is closed.
func (s *Stream) State() StreamState {
	if s == nil {
		return StreamClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.now
}

// Send sends a message and returns when it is queued, waiting for room within ctx.
//
// The error is ErrStreamClosed if the stream is not open, because either end
// closed it or the call is over, ErrStreamMode if this end only reads, ErrNilMessage for
// nil, an *EncodeError, ErrTooLarge, that of ctx, or one wrapping ErrClosed. After an error of the
// message itself the stream goes on.
func (s *Stream) Send(ctx context.Context, v any) error {
	switch {
	case s == nil:
		return ErrNoStream
	case s.mode&StreamWrite == 0:
		return ErrStreamMode
	case s.State() != StreamOpen:
		return s.closedBy()
	}
	m := newBuffer()
	var err error
	if m.b, err = appendStreamMessage(m.b, s.data, s.id, v); err != nil {
		m.free()
		return err
	}
	return s.session.put(ctx, m)
}

// closedBy returns why the stream takes no more messages.
func (s *Stream) closedBy() error {
	if err := s.session.failure(); err != nil {
		return err
	}
	return ErrStreamClosed
}

// Recv receives the next message. At the end of the stream it returns io.EOF, as often as
// it is called: the peer closed the stream, or this end did, or the call has its
// result. What was received before that is returned first.
//
// Other errors: ErrStreamMode if this end only writes, that of ctx, or the one that
// ended the call if this end gave it up or the connection was lost.
func (s *Stream) Recv(ctx context.Context) (any, error) { return Recv[any](ctx, s) }

// All receives the messages until the end of the stream. An error other than the end is the last
// thing it yields.
func (s *Stream) All(ctx context.Context) iter.Seq2[any, error] { return Messages[any](ctx, s) }

func (s *Stream) recv(ctx context.Context) (Raw, error) {
	switch {
	case s == nil:
		return nil, ErrNoStream
	case s.mode&StreamRead == 0:
		return nil, ErrStreamMode
	}
	for {
		raw, ok, err := s.next()
		if ok || err != nil {
			return raw, err
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// next takes a message out of the queue. It reports false if there is none yet.
func (s *Stream) next() (Raw, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		if s.state.now == StreamOpen {
			return nil, false, nil
		}
		s.signal() // for other receivers
		return nil, false, s.err
	}
	raw := s.queue[0]
	s.queue[0] = nil
	s.queue = s.queue[1:]
	s.bytes -= len(raw)
	if s.counted > 0 {
		s.count(-len(raw))
	}
	s.watch()
	if len(s.queue) == 0 {
		s.queue = nil
		s.drained()
	} else {
		s.signal()
	}
	return raw, true, nil
}

// signal leaves a token for a receiver. The caller holds mu; it never waits.
func (s *Stream) signal() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// count changes what the stream adds to the session's sum, and returns the sum. The caller
// holds mu.
func (s *Stream) count(n int) int64 {
	s.counted += n
	return s.session.buffered.Add(int64(n))
}

// drained lets a closing stream be closed. The caller holds mu.
func (s *Stream) drained() {
	if s.state.now == StreamClosing && len(s.queue) == 0 {
		s.state.to(StreamClosed)
	}
}

// feed queues a received message for its reader. It reports false if the stream
// holds more than it may; the message is dropped then.
func (s *Stream) feed(raw Raw) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.now != StreamOpen {
		return true
	}
	limits := s.session.limits
	if s.bytes+len(raw) > limits.StreamBytes {
		return false
	}
	if s.count(len(raw)) > int64(limits.BufferBytes) {
		s.count(-len(raw))
		return false
	}
	s.bytes += len(raw)
	s.queue = append(s.queue, raw)
	if len(s.queue) == streamMessages+1 {
		s.watch()
	}
	s.signal()
	return true
}

// watch expects the reader to receive within the read timeout, if many messages
// wait. The caller holds mu.
func (s *Stream) watch() {
	timeout := s.session.conn.options.ReadTimeout
	switch {
	case timeout < 0:
	case len(s.queue) <= streamMessages:
		if s.stall != nil {
			s.stall.Stop()
		}
	case s.stall == nil:
		// stalled does not wait for anything, and settle stops the timer.
		s.progress = time.Now()
		s.stall = time.AfterFunc(timeout, s.stalled)
	default:
		s.progress = time.Now()
		s.stall.Reset(timeout)
	}
}

// stalled ends the call if its reader really stood still: the timer may have
// fired just as it moved.
func (s *Stream) stalled() {
	s.mu.Lock()
	over := len(s.queue) > streamMessages && time.Since(s.progress) >= s.session.conn.options.ReadTimeout
	s.mu.Unlock()
	if over {
		s.overflow()
	}
}

// Close closes both directions of the stream and tells the peer, waiting for room to
// do so no longer than the connection lives. Closing again does nothing.
func (s *Stream) Close() error {
	if s == nil {
		return ErrNoStream
	}
	return s.close(context.Background()) // the end of the session ends the wait
}

func (s *Stream) close(ctx context.Context) error {
	if !s.end(nil) {
		return nil
	}
	m := newBuffer()
	m.b = head(m.b, s.closeMsg, s.id)
	return s.session.put(ctx, m)
}

// end closes the stream here, without telling the peer. What is buffered can
// still be read, then err, or io.EOF if it is nil. It reports whether the
// stream was open.
func (s *Stream) end(err error) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.state.to(StreamClosing) {
		return false
	}
	if s.err = err; err == nil {
		s.err = io.EOF
	}
	s.drained()
	s.signal()
	return true
}

// settle ends the session's care for the stream of a call that is over: what is still
// buffered belongs to whoever holds the Call, and is dropped if nobody does.
func (s *Stream) settle(drop bool) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stall != nil {
		s.stall.Stop()
	}
	s.count(-s.counted)
	if drop {
		s.queue, s.bytes = nil, 0
		s.drained()
	}
}
