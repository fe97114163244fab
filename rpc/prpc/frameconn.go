package prpc

import (
	"crypto/rand"
	"io"
	"math"
	"sync"

	"github.com/packetstream/packetstream/bufio"
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
	server bool // we are the server: only what is read is masked

	// reading is held by who reads: the receiver, through receive or the library, or the library's close, which has
	// to wait for the receiver's read; and by the receiver while a message is lent to it. It guards what follows.
	reading sync.Mutex
	in      *bufio.Input
	lent    int         // bytes at the start of in's buffer that were given to the receiver
	window  []byte      // what in has buffered behind those, if anything was lent
	next    frameHeader // of the message at the start of window, if it is known that there is a whole one
	known   bool
	left    uint64 // what the library has yet to read of a frame that it began
	pieces  bool   // the library has begun a message in pieces, of which more are to come
	seen    int    // messages received since the last wait
	round   int    // messages received between the two waits before
	before  func() // called before it waits

	// more says that receive will not wait, and recent how many messages have come without one. They are the receiver's.
	more   bool
	recent int

	// keys are random bytes for masks, of which used are spent. They and held are send's and trySend's,
	// which are called one at a time.
	keys [256]byte
	used int
	held bool // the token of writing is ours, perhaps with part of a frame written

	// writing holds a token while nobody writes. Who has it writes whole frames, or keeps it. out is theirs.
	writing chan struct{}
	out     *bufio.Output

	// mu guards what follows. Nothing is written under it.
	mu      sync.Mutex
	pending []byte // what is to be written next
	control int    // how many bytes of it the library has left to us
	leaving []byte // what is being written, of taken
	taken   []byte
	spare   []byte // memory for the next pending
}

// newFrameConn returns the connection for an upgraded one, which it owns, with its bytes.
func newFrameConn(rwc io.Closer, in *bufio.Input, out *bufio.Output, server bool) *frameConn {
	c := &frameConn{Closer: rwc, in: in, out: out, server: server, writing: make(chan struct{}, 1)}
	c.used = len(c.keys)
	c.writing <- struct{}{}
	return c
}

// receive waits for a frame, and returns its payload if it is a whole message of at most limit bytes
// with nothing special to it. Any other frame it leaves to the library, and returns nil. A message that was lent is
// valid until giveBack, which the next call needs.
func (c *frameConn) receive(limit int) (message []byte, lent bool, err error) {
	c.reading.Lock()
	message, lent, err = c.lend(limit)
	if !lent {
		c.reading.Unlock()
	}
	return message, lent, err
}

// giveBack says that a lent message is not used any more. Until then nobody reads.
func (c *frameConn) giveBack() { c.reading.Unlock() }

// lend is receive. The caller holds reading, and goes on to do so while the message is lent.
func (c *frameConn) lend(limit int) (message []byte, lent bool, err error) {
	if !c.known {
		if whole, err := c.look(limit); !whole {
			return nil, false, err
		}
	}
	c.seen++
	h := &c.next
	if size := h.size + int(h.length); size <= lentBytes {
		message, lent = c.window[h.size:size:size], true
		c.window = c.window[size:]
		c.lent += size
	} else if message, err = c.own(h); err != nil {
		return nil, false, noEOF(err)
	}
	if h.masked {
		maskPayload(message, h.key)
	}
	c.known = c.ahead(limit)
	c.more, c.recent = c.known, max(c.seen, c.round)
	return message, lent, nil
}

// look reads the header of the next frame, and the rest too if that is to be lent. It reports false if the frame is not
// receive's.
func (c *frameConn) look(limit int) (bool, error) {
	if err := c.reclaim(); err != nil {
		return false, err
	}
	if c.left > 0 || c.pieces {
		return false, nil
	}
	h, err := c.peek()
	if err != nil || !c.plain(&h, limit) {
		return false, err
	}
	want := h.size + int(h.length)
	if want > lentBytes {
		want = 0
	}
	if c.window, err = c.in.Peek(want); err != nil {
		return false, noEOF(err)
	}
	c.next = h
	return true, nil
}

// own takes a message, of whose frame the start is buffered, in memory of its own.
func (c *frameConn) own(h *frameHeader) ([]byte, error) {
	c.lent += h.size
	if err := c.reclaim(); err != nil {
		return nil, err
	}
	message := make([]byte, h.length)
	if err := c.in.ReadFull(message); err != nil {
		return nil, err
	}
	var err error
	c.window, err = c.in.Peek(0)
	return message, err
}

// reclaim takes back what was lent, before the input is used for anything else.
func (c *frameConn) reclaim() error {
	n := c.lent
	c.lent, c.window, c.known = 0, nil, false
	return c.in.Skip(int64(n)) // it is buffered
}

// beforeWait has f called before a wait for what comes next, by whoever reads. It is called before anybody does.
func (c *frameConn) beforeWait(f func()) {
	c.before = f
	c.in.BeforeWait(c.aboutToWait)
}

// aboutToWait is called when there is nothing to read. Who has just received messages expects more at once.
func (c *frameConn) aboutToWait() (pace int) {
	if 0 < c.seen && c.seen <= eagerUpTo {
		pace = 1 + c.seen/2
	}
	c.round, c.seen = c.seen, 0
	c.before()
	return pace
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
	var whole bool
	c.next, whole = parseFrame(c.window)
	return whole && c.plain(&c.next, limit) && c.next.length <= uint64(len(c.window)-c.next.size)
}

// Read is the library's. It does not go beyond the end of a frame. The end of the stream is always
// unexpected, since a close frame comes first; the library would take it for the end of a
// compressed message.
func (c *frameConn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if err := c.reclaim(); err != nil {
		return 0, err
	}
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
	if c.control > controlBytes {
		c.mu.Unlock()
		return 0, ErrSendOverflow
	}
	c.pending = append(c.pending, p...)
	c.control += len(p)
	select {
	case <-c.writing:
		c.mu.Unlock()
		if err := c.release(true); err != nil {
			c.writing <- struct{}{}
			return 0, err
		}
	default:
		c.mu.Unlock()
	}
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
			if err := c.out.Write(c, true); err != nil {
				return err
			}
		}
	}
	err := c.release(true)
	c.held = err != nil
	return err
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
		default:
			return false
		}
	}
	c.held = c.release(false) != nil
	return !c.held
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

// release writes what is pending, with wait or as far as the socket takes it at once, and gives the token back. After an error it has
// not done so.
func (c *frameConn) release(wait bool) error {
	for {
		if err := c.out.Write(c, wait); err != nil {
			return err
		}
		// A control frame may have come between the write and this lock, under which the library looks for the token.
		c.mu.Lock()
		done := len(c.pending) == 0
		if done {
			c.control = 0
			c.writing <- struct{}{} // there is room for it
		}
		c.mu.Unlock()
		if done {
			return nil
		}
	}
}

// Next implements bufio.Source.
func (c *frameConn) Next(bufs [][]byte) [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.leaving) == 0 && len(c.pending) > 0 {
		c.leaving, c.taken = c.pending, c.pending
		c.pending, c.spare = c.spare[:0], nil
		c.control = 0
	}
	return append(bufs, c.leaving)
}

// Wrote implements bufio.Source.
func (c *frameConn) Wrote(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaving = c.leaving[n:]
	if len(c.leaving) == 0 {
		if cap(c.taken) <= 2*keptBuffer {
			c.spare = c.taken
		}
		c.leaving, c.taken = nil, nil
	}
}
