package pconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/packetstream/packetstream/packet/frame"
)

// Stream is a net.Conn between the two ends of a connection, one of many. It is opened by OpenStream or
// DialContext and accepted by a StreamHandler or a Listener at the other end. Both ends have the same
// methods, which may be called concurrently; Reads wait for each other, and so do Writes.
//
// What a reader does not take holds up its own stream's sender and nobody else. Every stream has to be
// ended, by Close or Reset. The end of the connection ends it too: what was received before can still be
// read, and then the error is that of Conn.Err.
type Stream struct {
	conn     *Conn
	id       uint64
	ours     bool // opened by this end
	name     string
	metadata Metadata

	reading, writing sync.Mutex // each held by the one Read or Write at work

	// The rest is guarded by Conn.mu.
	state  streamState
	closed bool // Close was called
	in     streamIn
	out    streamOut
	due    streamDue
	turn   turn // its place among those who have data to send

	acceptedBy   *streamQueue // where it waits to be accepted
	older, newer *Stream      // in that queue

	ctx    context.Context // of its handler, or nil
	cancel context.CancelCauseFunc
}

// streamIn is what comes.
type streamIn struct {
	window   recvWindow
	buf      chunks
	spill    spill
	err      error  // what Read returns when buf is empty
	unwanted bool   // by CloseRead or Close
	into     []byte // the memory of a Read that waits; nil when it is to return
	got      int    // how much of it is filled
	lent     bool   // the receiver reads into it
	wake     chan struct{}
	deadline streamDeadline
	lead     lead
}

// streamOut is what is sent.
type streamOut struct {
	window   sendWindow
	buf      []byte      // small writes, copied
	rest     []byte      // what is left of a large Write, behind buf
	refs     []streamRef // parts of that Write in the batch that is being written
	err      error       // what Write returns
	waits    bool        // a Write waits, which writes the stream's data when it is poked
	endSent  bool        // END is on its way
	wake     chan struct{}
	deadline streamDeadline
	lead     lead
	unlooked int // bytes written since a Write that leads last looked at what has come
}

// Number returns the stream's number, which it shares with no other that the same end has opened.
func (s *Stream) Number() uint64 { return s.id }

// Name returns the name that the stream was opened with.
func (s *Stream) Name() string { return s.name }

// Metadata returns what the stream was opened with. It must not be changed.
func (s *Stream) Metadata() Metadata { return s.metadata }

// Conn returns the stream's connection.
func (s *Stream) Conn() *Conn { return s.conn }

// Opened reports whether this end has opened the stream.
func (s *Stream) Opened() bool { return s.ours }

// StreamAddr is either end's address of a stream.
type StreamAddr struct {
	// Conn is the connection's name, Options.Name.
	Conn string
	// Name is the stream's name, for the end that accepted it.
	Name string
}

// Network returns "packetstream".
func (StreamAddr) Network() string { return "packetstream" }

func (a StreamAddr) String() string {
	switch {
	case a.Name == "" && a.Conn == "":
		return "packetstream"
	case a.Name == "":
		return a.Conn
	case a.Conn == "":
		return a.Name
	}
	return a.Conn + "/" + a.Name
}

// LocalAddr returns a StreamAddr: the stream's name is the address of the end that accepted it.
func (s *Stream) LocalAddr() net.Addr { return s.addr(!s.ours) }

// RemoteAddr returns a StreamAddr: the stream's name is the address of the end that accepted it.
func (s *Stream) RemoteAddr() net.Addr { return s.addr(s.ours) }

func (s *Stream) addr(named bool) net.Addr {
	a := StreamAddr{Conn: s.conn.opts.Name}
	if named {
		a.Name = s.name
	}
	return a
}

// Read reads up to len(p) bytes and waits for the first of them. It returns io.EOF at the end of what the
// peer sends, a *StreamError if the stream was reset, net.ErrClosed after Close or CloseRead,
// os.ErrDeadlineExceeded after the read deadline, and the error of Conn.Err if the connection has ended,
// when everything that was received has been read. p is the caller's again when it returns.
func (s *Stream) Read(p []byte) (int, error) { return s.read(context.Background(), p) }

// read is Read with a context, whose end gives exactly its error and takes nothing.
func (s *Stream) read(ctx context.Context, p []byte) (int, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	c := s.conn
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, func() { c.locked(s.wakeRead) })
		defer stop()
	}
	c.mu.Lock()
	n, err := s.readLocked(ctx, p)
	s.unlockAfterUse()
	return n, err
}

// readLocked is read with Conn.mu held, but not while it waits or copies.
func (s *Stream) readLocked(ctx context.Context, p []byte) (int, error) {
	c, in := s.conn, &s.in
	for {
		if n := in.got; n > 0 {
			in.got = 0
			c.streamTaken(s, n)
			s.spillMore() // it could not begin while p was being filled
			return n, nil
		}
		if err := s.readError(ctx); err != nil {
			return 0, err
		}
		if in.spill.between() {
			if len(p) == 0 {
				return 0, nil
			}
			if n := s.readSpilled(p); n > 0 {
				return n, nil
			}
			continue
		}
		if b := in.buf.next(&c.st.buffers); len(b) > 0 {
			n := min(len(p), len(b))
			in.spill.copying = true
			s.copyOut(p, b[:n])
			in.spill.copying = false
			if !in.buf.dropped {
				in.buf.taken(n, &c.st.buffers)
				c.streamTaken(s, n)
				s.spillMore()
			}
			return n, nil
		}
		if in.err != nil || len(p) == 0 {
			return 0, in.err
		}
		if in.lead.run != 0 {
			if n := s.receiveHere(p); n > 0 {
				c.streamTaken(s, n)
				return n, nil
			}
			continue
		}
		c.follow()
		in.into = p
		c.waitWake(&in.wake)
		for in.lent {
			c.waitReturned()
		}
		in.into = nil
	}
}

// copyUnlocked is the size from which bytes are copied without the lock.
const copyUnlocked = 2 << 10

func (s *Stream) copyOut(p, b []byte) {
	if len(b) < copyUnlocked {
		copy(p, b)
		return
	}
	s.conn.mu.Unlock()
	copy(p, b)
	s.conn.mu.Lock()
}

// readError says why nothing may be read, though there may be something. Conn.mu is held.
func (s *Stream) readError(ctx context.Context) error {
	switch {
	case s.in.unwanted:
		return s.opError("read", net.ErrClosed)
	case s.in.deadline.passed:
		return s.opError("read", os.ErrDeadlineExceeded)
	}
	return ctx.Err()
}

// Write writes all of p, or returns an error and how much of it may have been sent: a *StreamError if the
// stream was reset or the peer takes no more, net.ErrClosed after Close or CloseWrite,
// os.ErrDeadlineExceeded after the write deadline, or the connection's end. It waits while the peer's reader is
// a window behind. A small Write may return before anything has been sent, a large one is sent from where
// p is; either way p is the caller's again when Write returns.
func (s *Stream) Write(p []byte) (int, error) { return s.write(context.Background(), p) }

// write is Write with a context, whose end gives exactly its error.
func (s *Stream) write(ctx context.Context, p []byte) (n int, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	c := s.conn
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, func() { c.locked(s.wakeWrite) })
		defer stop()
	}
	c.mu.Lock()
	c.takeLead(&s.out.lead)
	if len(p) >= gatherStream && c.out.NonBlocking() {
		n, err = s.writeGathered(ctx, p)
	} else {
		n, err = s.writeCopied(ctx, p)
	}
	s.leadOn(n)
	company := c.st.streams.open() > 1
	flush := c.beginFlush()
	c.mu.Unlock()
	if flush {
		if company {
			// Others may be about to write as well: let them append first, and spare a system call.
			runtime.Gosched()
		}
		c.writeCycle(callerRounds)
	}
	return n, err
}

// writeCopied appends p to what waits to be sent. Conn.mu is held, but not while it waits.
func (s *Stream) writeCopied(ctx context.Context, p []byte) (int, error) {
	o := &s.out
	for n := 0; ; {
		if err := s.writeError(ctx); err != nil {
			return n, err
		}
		k := min(len(p)-n, sendBuffer-len(o.buf))
		o.buf = append(o.buf, p[n:n+k]...)
		n += k
		s.queueTurn()
		if n == len(p) {
			return n, nil
		}
		s.flushAndWait()
	}
}

// writeGathered sends p from where it is. Conn.mu is held, but not while it waits.
func (s *Stream) writeGathered(ctx context.Context, p []byte) (int, error) {
	o := &s.out
	if err := s.writeError(ctx); err != nil {
		return 0, err
	}
	o.rest = p
	s.queueTurn()
	for {
		if len(o.rest) == 0 && len(o.refs) == 0 {
			return len(p), nil
		}
		if err := s.writeError(ctx); err != nil {
			unsent := s.withdraw()
			if unsent == 0 {
				return len(p), nil // it came behind the last byte
			}
			return len(p) - unsent, err
		}
		s.flushAndWait()
	}
}

// writeError says why nothing may be written. Conn.mu is held.
func (s *Stream) writeError(ctx context.Context) error {
	switch {
	case s.out.err != nil:
		return s.out.err
	case s.closed || s.state.out != outOpen:
		return s.opError("write", net.ErrClosed)
	case s.out.deadline.passed:
		return s.opError("write", os.ErrDeadlineExceeded)
	}
	return ctx.Err()
}

// opError is an error as those of package net are.
func (s *Stream) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: StreamAddr{}.Network(), Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: err}
}

// CloseWrite says that nothing more will be written: the peer reads io.EOF behind what was. It does not
// wait. A second call does nothing.
func (s *Stream) CloseWrite() error {
	s.change(s.endOut)
	return nil
}

// CloseRead says that nothing more will be read: the peer's writes fail with a *StreamError, and what is on
// its way is dropped. A second call does nothing.
func (s *Stream) CloseRead() error {
	s.change(func() { s.stopIn(frame.Reset{}) })
	return nil
}

// Close ends both directions: CloseWrite and CloseRead. What was written is still sent, as far as the peer
// allows it. It does not wait, and ends a Read or Write that does. A second call does nothing.
func (s *Stream) Close() error {
	s.change(func() {
		s.closed = true
		s.endOut()
		s.stopIn(frame.Reset{})
		s.in.deadline.stop()
		s.out.deadline.stop()
	})
	return nil
}

// Reset ends both directions at once, and drops what was not yet sent or read. The peer gets a *StreamError
// with the code, which is the application's. It does nothing to a stream that is over, and does not wait.
func (s *Stream) Reset(code uint64) { s.reset(frame.Reset{Code: code}) }

func (s *Stream) reset(f frame.Reset) {
	err := &StreamError{Stream: s.id, Name: s.name, Code: f.Code, Text: f.Text}
	s.change(func() {
		if !s.abort(f, err) && s.in.spill.backlog != nil {
			s.stopIn(frame.Reset{}) // it is over, but for what its reader has not taken
		}
	})
}

// change makes a change to the stream, and sends what comes of it.
func (s *Stream) change(f func()) {
	c := s.conn
	c.mu.Lock()
	f()
	s.wakeRead()
	s.wakeWrite()
	s.unlockAfterUse()
}

// SetDeadline sets both deadlines. The zero time is none. The error is net.ErrClosed after Close.
func (s *Stream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// SetReadDeadline makes the Read at work and later ones fail with os.ErrDeadlineExceeded from t on.
func (s *Stream) SetReadDeadline(t time.Time) error {
	return s.setDeadline(&s.in.deadline, s.wakeRead, t)
}

// SetWriteDeadline makes the Write at work and later ones fail with os.ErrDeadlineExceeded from t on. A
// Write that fails so may have sent a part.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	return s.setDeadline(&s.out.deadline, s.wakeWrite, t)
}

// String names the stream, for logs.
func (s *Stream) String() string {
	by := "the peer"
	if s.ours {
		by = "this end"
	}
	return fmt.Sprintf("stream %d %q of %s", s.id, s.name, by)
}
