package pconn

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"

	"github.com/packetstream/packetstream/packet"
)

// Messages is a stream used for messages, whose boundaries are kept: what one end sends as one, the other
// receives as one. On the stream a message is its length, as a number of the wire format, and its bytes. Both
// ends have to use the stream so, and for nothing else. Its methods may be called concurrently.
type Messages struct {
	// Stream is the stream itself, for deadlines and the end.
	Stream *Stream

	max       int64
	sending   sync.Mutex // held by the one Send at work
	receiving sync.Mutex // held by the one Recv at work; guards what follows
	length    []byte     // the octets of a length that is not complete
	message   []byte     // the bytes of a message that is not complete, its capacity's
	inMessage bool
	size      int64
	buf       []byte // read and not yet used
	rest      []byte // of buf
}

// Messages returns the stream as one of messages, each of at most max bytes; 0 is Options.MaxPayload.
func (s *Stream) Messages(max int64) *Messages {
	if max <= 0 {
		max = s.conn.opts.MaxPayload
	}
	return &Messages{Stream: s, max: max}
}

// OpenMessages is OpenStream for a stream of messages of at most Options.MaxPayload.
func (c *Conn) OpenMessages(ctx context.Context, name string, metadata Metadata) (*Messages, error) {
	s, err := c.OpenStream(ctx, name, metadata)
	if err != nil {
		return nil, err
	}
	return s.Messages(0), nil
}

// Send sends one message. It waits as a Write does; the bytes are the caller's again when it returns. The
// errors are those of Write, ctx's, or a *LimitError for a message that is too large, of which nothing was sent. A Send
// that fails otherwise may have sent a part, and the stream is reset, since no other message can follow.
func (m *Messages) Send(ctx context.Context, message []byte) error {
	if int64(len(message)) > m.max {
		return &LimitError{What: "message, bytes", Value: int64(len(message)), Max: m.max}
	}
	m.sending.Lock()
	defer m.sending.Unlock()
	head := packet.AppendUint(make([]byte, 0, 16), uint64(len(message)))
	if len(message) < gatherStream {
		head, message = append(head, message...), nil
	}
	n, err := m.Stream.write(ctx, head)
	begun := n > 0
	if err == nil && len(message) > 0 {
		_, err = m.Stream.write(ctx, message)
	}
	if err != nil && begun {
		m.Stream.Reset(0)
	}
	return err
}

// Recv returns the next message, in memory of its own. It returns io.EOF when the peer has ended its side behind a
// message, and io.ErrUnexpectedEOF inside of one; the other errors are those of Read, ctx's, or a *LimitError
// for a message that is too large, after which the stream is of no use and reset. A Recv that ends with its
// context or the stream's deadline loses nothing: a later one goes on.
func (m *Messages) Recv(ctx context.Context) ([]byte, error) {
	m.receiving.Lock()
	defer m.receiving.Unlock()
	for !m.inMessage {
		if err := m.readLength(ctx); err != nil {
			return nil, err
		}
	}
	for int64(len(m.message)) < m.size {
		if err := m.readMessage(ctx); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	message := m.message
	m.message, m.inMessage = nil, false
	return message, nil
}

// All returns the messages to come, for a range loop. It ends behind the last message, or with the error of
// Recv as its last element.
func (m *Messages) All(ctx context.Context) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for {
			message, err := m.Recv(ctx)
			if err == io.EOF {
				return
			}
			if !yield(message, err) || err != nil {
				return
			}
		}
	}
}

// readLength reads more of a message's length, and begins the message when that is complete.
func (m *Messages) readLength(ctx context.Context) error {
	if err := m.fill(ctx); err != nil {
		if err == io.EOF && len(m.length) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	m.length = append(m.length, m.rest[0])
	m.rest = m.rest[1:]
	size, _, err := packet.DecodeUint(m.length)
	switch {
	case err == packet.ErrShort:
		return nil
	case err != nil:
		m.Stream.Reset(0)
		return err
	case size > uint64(m.max):
		m.Stream.Reset(0)
		return &LimitError{What: "message, bytes", Value: int64(min(size, maxCredit)), Max: m.max}
	}
	m.length = m.length[:0]
	m.inMessage, m.size = true, int64(size)
	m.message = make([]byte, 0, min(m.size, maxUpFront))
	return nil
}

// readMessage reads more of a message.
func (m *Messages) readMessage(ctx context.Context) error {
	left := m.size - int64(len(m.message))
	if len(m.rest) == 0 && left >= messageBuffer {
		if len(m.message) == cap(m.message) {
			m.message = append(make([]byte, 0, min(m.size, 2*int64(cap(m.message)))), m.message...)
		}
		room := m.message[len(m.message):cap(m.message)]
		n, err := m.Stream.read(ctx, room[:min(left, int64(len(room)))])
		m.message = m.message[:len(m.message)+n]
		return err
	}
	if err := m.fill(ctx); err != nil {
		return err
	}
	n := min(left, int64(len(m.rest)))
	m.message = append(m.message, m.rest[:n]...)
	m.rest = m.rest[n:]
	return nil
}

// messageBuffer is how many bytes of small messages are read at a time.
const messageBuffer = 4 << 10

// fill makes rest at least one byte.
func (m *Messages) fill(ctx context.Context) error {
	if len(m.rest) > 0 {
		return nil
	}
	if m.buf == nil {
		m.buf = make([]byte, messageBuffer)
	}
	n, err := m.Stream.read(ctx, m.buf)
	m.rest = m.buf[:n]
	return err
}
