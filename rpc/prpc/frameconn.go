package prpc

import (
	"bufio"
	"crypto/rand"
	"io"
	"math"
	"net"
	"sync"
	"syscall"
)

// frameConn is the connection below a WebSocket, which the library took over with the
// handshake. It lets nearly all messages pass by the library, whose work for one costs more than
// the rest of a call: those that are one binary frame are read by receive and written
// by send. All other frames are the library's: control frames and the close handshake,
// messages in pieces, compressed, of text, too large or malformed.
//
// The library is given one frame at a time to read, so that it never holds bytes of the
// next one. What it writes is always a whole frame.
type frameConn struct {
	io.Closer
	out    io.Writer
	raw    syscall.RawConn // nil if there is no plain socket
	server bool            // we are the server: only what is read is masked

	// reading is held by who reads: the receiver, through receive or the library, or the library's close, which has
	// to wait for the receiver's read. It guards what follows.
	reading sync.Mutex
	in      *bufio.Reader
	left    uint64 // what the library has yet to read of a frame that it began
	pieces  bool   // the library has begun a message in pieces, of which more are to come

	next  frameHeader // of the message that comes next, if it is known and has been read ahead as a whole
	known bool

	// more says that receive will not wait. It is the receiver's.
	more bool

	// keys are random bytes for masks, of which used are spent. They and held are send's and trySend's,
	// which are called one at a time.
	keys [256]byte
	used int
	held bool // the token of writing is ours, perhaps with part of a frame written

	// writing holds a token while nobody writes. Who has it writes whole frames, or keeps it.
	writing chan struct{}

	// mu guards what follows. Nothing is written under it.
	mu      sync.Mutex
	pending []byte // what is to be written next
	control int    // how many bytes of it the library has left to us
}

// newFrameConn returns the connection for an upgraded one, with in the bytes that were read
// ahead of it, then its own. It owns rwc. conn is what is below, nil if that is not known.
func newFrameConn(rwc io.ReadWriteCloser, in io.Reader, conn net.Conn, server bool) *frameConn {
	c := &frameConn{
		Closer: rwc, out: rwc, server: server,
		writing: make(chan struct{}, 1),
		in:      bufio.NewReaderSize(in, readBuffer),
	}
	c.used = len(c.keys)
	c.writing <- struct{}{}
	// Other types may do more with what is written than pass it on.
	switch conn := conn.(type) {
	case *net.TCPConn:
		c.raw, _ = conn.SyscallConn() // without one, nothing is written without waiting
	case *net.UnixConn:
		c.raw, _ = conn.SyscallConn()
	}
	return c
}

// receive waits for a frame, and returns its payload if it is a whole message of at most limit bytes
// with nothing special to it. Any other frame it leaves to the library, and returns nil.
func (c *frameConn) receive(limit int) ([]byte, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if !c.known {
		if c.left > 0 || c.pieces {
			return nil, nil
		}
		var err error
		if c.next, err = c.peek(); err != nil {
			return nil, err
		}
		if !c.plain(&c.next, limit) {
			return nil, nil
		}
	}
	c.known, c.more = false, false
	h := &c.next
	_, _ = c.in.Discard(h.size) // it is buffered
	message := make([]byte, h.length)
	if _, err := io.ReadFull(c.in, message); err != nil {
		return nil, noEOF(err)
	}
	if h.masked {
		maskPayload(message, h.key)
	}
	c.known = c.ahead(limit)
	c.more = c.known
	return message, nil
}

// peek returns the next frame's header, and leaves it to be read again. That a server's frame is not masked (RFC 6455,
// section 5.1) is checked here, since the library does not.
func (c *frameConn) peek() (frameHeader, error) {
	h, err := peekFrame(c.in)
	if err == nil && h.masked && !c.server {
		err = violation(BadFrame, "it is a server's and masked")
	}
	return h, noEOF(err)
}

// plain reports whether a frame is a whole message of at most limit bytes with nothing special to it.
func (c *frameConn) plain(h *frameHeader, limit int) bool {
	return h.first == frameWholeBinary && h.masked == c.server && h.length <= uint64(limit)
}

// ahead reports whether a whole message that receive takes has been read ahead, whose header next is then.
func (c *frameConn) ahead(limit int) bool {
	if c.in.Buffered() < maxFrameHeader {
		return false
	}
	var err error
	c.next, err = peekFrame(c.in)
	return err == nil && c.plain(&c.next, limit) && c.next.length <= uint64(c.in.Buffered()-c.next.size)
}

// Read is the library's. It does not go beyond the end of a frame. The end of the stream is always
// unexpected, since a close frame comes first; the library would take it for the end of a
// compressed message.
func (c *frameConn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	c.known = false
	if c.left == 0 {
		h, err := c.peek()
		if err != nil {
			return 0, err
		}
		if !h.control() {
			c.pieces = !h.final()
		}
		c.left = uint64(h.size)
		if h.length <= math.MaxInt64 { // the library refuses what is longer when it has the header
			c.left += h.length
		}
	}
	n, err := c.in.Read(p[:min(uint64(len(p)), c.left)])
	c.left -= uint64(n)
	return n, noEOF(err)
}

// Write is the library's, which writes one frame at a time. It writes at once, or leaves a copy to who is
// writing.
func (c *frameConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	select {
	case <-c.writing:
		c.mu.Unlock()
		defer func() { c.writing <- struct{}{} }()
		return c.out.Write(p)
	default:
	}
	defer c.mu.Unlock()
	if c.control > controlBytes {
		return 0, ErrSendOverflow
	}
	c.pending = append(c.pending, p...)
	c.control += len(p)
	return len(p), nil
}

// send writes messages, as frames that leave together.
func (c *frameConn) send(messages [][]byte) error {
	if !c.held {
		<-c.writing
		c.held = true
	}
	for len(messages) > 0 {
		c.mu.Lock()
		for len(messages) > 0 && len(c.pending) < keptBuffer {
			c.pending = appendFrame(c.pending, messages[0], c.key())
			messages = messages[1:]
		}
		c.mu.Unlock()
		if len(messages) > 0 {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return c.release()
}

// trySend writes messages as far as the socket takes them at once. If it reports false, there
// is more, which the next send writes.
func (c *frameConn) trySend(messages ...[]byte) bool {
	c.mu.Lock()
	for _, message := range messages {
		c.pending = appendFrame(c.pending, message, c.key())
	}
	c.mu.Unlock()
	if !c.held {
		select {
		case <-c.writing:
			c.held = true
		default:
			return false
		}
	}
	return c.tryRelease()
}

// key returns the key for the next mask, nil on a server. RFC 6455, section 10.3 asks for one that cannot be
// foretold.
func (c *frameConn) key() *[4]byte {
	if c.server {
		return nil
	}
	if c.used == len(c.keys) {
		_, _ = rand.Read(c.keys[:]) // it never fails
		c.used = 0
	}
	key := (*[4]byte)(c.keys[c.used:])
	c.used += len(key)
	return key
}

// flush writes what is pending.
func (c *frameConn) flush() error {
	var spare []byte
	for {
		c.mu.Lock()
		out := c.pending
		c.pending = spare[:0]
		c.control = 0
		c.mu.Unlock()
		if len(out) == 0 {
			return nil
		}
		if _, err := c.out.Write(out); err != nil {
			return err
		}
		spare = out
		if cap(spare) > 2*keptBuffer {
			spare = nil
		}
	}
}

// release writes what is pending and gives the token back.
func (c *frameConn) release() error {
	for {
		if err := c.flush(); err != nil {
			return err
		}
		// A control frame may have come between the flush and this lock.
		c.mu.Lock()
		done := c.giveBack()
		c.mu.Unlock()
		if done {
			return nil
		}
	}
}

// tryRelease is a release that writes only what the socket takes at once, and reports whether
// that was everything.
func (c *frameConn) tryRelease() bool {
	c.mu.Lock()
	out := c.pending
	c.pending = nil
	c.mu.Unlock()
	n := writeNow(c.raw, out)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = append(out[:copy(out, out[n:])], c.pending...)
	return c.giveBack()
}

// giveBack gives the token back if nothing is pending, and reports whether it did. The caller holds mu, under
// which the library looks for the token.
func (c *frameConn) giveBack() bool {
	if len(c.pending) > 0 {
		return false
	}
	c.control = 0
	c.held = false
	c.writing <- struct{}{} // there is room for it
	return true
}
