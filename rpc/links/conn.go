package links

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/packetstream/packetstream/internal/reuse"
)

// ConnOptions are the settings of a [Conn]. The zero value is ready, but for Side at one of the two ends.
type ConnOptions struct {
	// Side is 0 or 1 and differs between the two ends: the one that started the process, dialed, or opened the stream is 0.
	Side int
	// Window is how many bytes of an operation the peer may send before the application takes them; 0 is DefaultWindow. Over a stream that
	// has a window of its own, the own window of the stream should not be smaller, else it is what holds senders back.
	Window int
	// MaxPayload is the largest payload taken where the end says nothing else, in bytes; 0 is DefaultMaxPayload.
	MaxPayload int
	// MaxMetadata bounds all that one ticket holds beside its payload, in bytes; 0 is DefaultMaxMetadata.
	MaxMetadata int
	// MaxOperations is how many operations the peer may have open; 0 is DefaultMaxOperations.
	MaxOperations int
	// Unordered says that the carrier may deliver frames in another order than they were written. Both ends say the same.
	Unordered bool
	// FlushTime bounds how long Close tries to write what is due; 0 is DefaultFlushTime.
	FlushTime time.Duration
	// Reason is called once when the connection ends in another way than by Close, after the carrier was closed: it returns what the
	// users of the connection are told, such as the exit status of the process behind it. They wait for it, so it must return soon.
	Reason func(error) error
}

// Conn is a [Link] over a carrier. Its mate may begin operations and serve the peer's at the same time. Joining it starts it. Its methods
// may be called concurrently.
type Conn struct {
	carrier Carrier
	opts    ConnOptions
	ours    settings
	near    mate
	begin   sync.Once
	reading turn
	stopped chan struct{} // closed when nobody reads or writes any more and the mate was told
	flushed chan struct{} // closed when the writer has returned
	hello   chan struct{} // closed when the peer's HELLO came

	buffers reuse.Buffers // of received payloads

	// What follows is for who has the turn to read.
	decode     decoder
	frame      frame
	due        []*Ticket
	beforehand [][]byte // frames that came before HELLO

	beforehandSize int // of all of them, in bytes

	// mu guards all below. The mate, payloads and the carrier are never called under it. An operation's lock is never taken under it.
	mu        sync.Mutex
	work      sync.Cond // wakes the writer
	greeted   bool
	theirs    settings
	byHop     map[OperationID]*route
	byWire    map[uint64]*route // our own operations that are on the wire
	nextWire  uint64
	open      int      // our own operations on the wire
	waiting   []*route // our own that are not yet
	served    int      // the peer's
	highest   uint64   // above all names of the peer's that came
	seen      idSet
	early     int // operations of the peer whose first ticket is not whole
	urgent    []byte
	out       []byte
	batch     []byte
	rest      []byte // of a batch that was written in part
	writing   bool   // somebody writes, or is about to, or nobody may yet, as HELLO comes first
	round     uint64 // counts the batches, see route.round
	turn      queue[*route]
	garbage   []*Payload
	answers   []*Ticket // for our mate, when the writer has unlocked
	pings     map[[8]byte]chan struct{}
	leaving   bool    // we sent GOAWAY
	lastTaken uint64  // what GOAWAY said
	away      *string // the peer's reason, once it sent one
	ending    bool
	lastWords *time.Timer // ends the connection after a write has failed
	drained   bool        // the writer is to return when nothing is due
	err       error
}

// NewConn makes a connection over a carrier, which it owns from then on. Nothing is read or written before it is joined.
func NewConn(carrier Carrier, opts *ConnOptions) (*Conn, error) {
	c := &Conn{carrier: carrier, stopped: make(chan struct{}), flushed: make(chan struct{}), hello: make(chan struct{}),
		byHop: make(map[OperationID]*route), byWire: make(map[uint64]*route), seen: newIDSet(), writing: true}
	if opts != nil {
		c.opts = *opts
	}
	if err := c.opts.resolve(); err != nil {
		return nil, err
	}
	c.work.L = &c.mu
	c.reading.lend(carrier)
	c.nextWire = uint64(c.opts.Side)
	c.ours = settings{frame: uint64(c.opts.MaxMetadata + pieceSize + frameOverhead), window: uint64(c.opts.Window),
		operations: uint64(c.opts.MaxOperations), metadata: uint64(c.opts.MaxMetadata), payload: uint64(c.opts.MaxPayload)}
	c.decode = decoder{maxMetadata: c.opts.MaxMetadata}
	if s, ok := carrier.(*stream); ok {
		s.limit = c.ours.frame
	}
	return c, nil
}

func (o *ConnOptions) resolve() error {
	for _, setting := range []struct {
		name              string
		value             *int
		byDefault, lo, hi int
	}{
		{"Window", &o.Window, DefaultWindow, minWindow, maxWindow},
		{"MaxPayload", &o.MaxPayload, DefaultMaxPayload, 1, hardMaxPayload},
		{"MaxMetadata", &o.MaxMetadata, DefaultMaxMetadata, 1, hardMaxMetadata},
		{"MaxOperations", &o.MaxOperations, DefaultMaxOperations, 1, 1 << 30},
		{"Side", &o.Side, 0, 0, 1},
	} {
		if *setting.value == 0 {
			*setting.value = setting.byDefault
		}
		if *setting.value < setting.lo || *setting.value > setting.hi {
			return fmt.Errorf("links: %s of %d is not between %d and %d", setting.name, *setting.value, setting.lo, setting.hi)
		}
	}
	if o.FlushTime <= 0 {
		o.FlushTime = DefaultFlushTime
	}
	return nil
}

// Join sets the mate; the first call starts the connection.
func (c *Conn) Join(link Link) {
	c.near.set(link)
	c.begin.Do(c.start)
}

// start starts to read, which ends with the carrier, and the writer, which ends when the connection does; end waits for both.
func (c *Conn) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	// HELLO goes before what is urgent already.
	hello := appendFrame(nil, func(b []byte) []byte { return appendHello(b, c.opts.Side, c.ours) })
	c.urgent = append(hello, c.urgent...)
	c.writing = false
	go c.read()
	go c.write()
}

// Ready returns a channel that is closed when the peer has said HELLO.
func (c *Conn) Ready() <-chan struct{} { return c.hello }

// Done returns a channel that is closed when the connection has ended, its mate was told, and its goroutines have returned.
func (c *Conn) Done() <-chan struct{} { return c.stopped }

// Err returns why the connection ended, and nil while it has not: ErrClosed after Close, what Reason made of it otherwise.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends every operation, writes what is already due for at most FlushTime, and closes the carrier. It returns nil, however often it is
// called, and is bounded in time even if the carrier's Read cannot be woken.
func (c *Conn) Close() error {
	c.end(ErrClosed)
	timer := time.NewTimer(c.opts.FlushTime)
	defer timer.Stop()
	select {
	case <-c.stopped:
	case <-timer.C:
	}
	return nil
}

// GoAway tells the peer to begin no more operations here; those that run go on. Operations of this side are not concerned.
func (c *Conn) GoAway(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving || c.ending {
		return
	}
	c.leaving = true
	if c.highest > 0 {
		c.lastTaken = c.highest - 1
	}
	last := c.lastTaken
	c.urgent = appendFrame(c.urgent, func(b []byte) []byte { return appendGoAway(b, last, reason) })
	c.work.Signal()
}

// Ping waits until the peer has answered. The error is the connection's if that ends before, and ctx.Err() when ctx ends.
func (c *Conn) Ping(ctx context.Context) error {
	var token [8]byte
	rand.Read(token[:]) // it cannot fail
	answered := make(chan struct{})
	c.mu.Lock()
	if c.pings == nil {
		c.pings = make(map[[8]byte]chan struct{})
	}
	c.pings[token] = answered
	c.urgent = appendFrame(c.urgent, func(b []byte) []byte { return appendPing(b, framePing, token) })
	c.work.Signal()
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.pings, token)
	}()
	c.park()
	defer c.unpark()
	select {
	case <-answered:
		return nil
	case <-c.stopped:
		return c.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end ends the connection once, on whichever goroutine found out: the carrier first, then the reason, then every operation.
func (c *Conn) end(err error) {
	c.mu.Lock()
	if c.ending {
		c.mu.Unlock()
		return
	}
	c.ending, c.drained = true, true
	if c.lastWords != nil {
		c.lastWords.Stop()
	}
	c.work.Signal()
	c.mu.Unlock()

	started := true
	c.begin.Do(func() { started = false })
	if started && errors.Is(err, ErrClosed) {
		c.awaitFlush()
	}
	_ = c.carrier.Close() // it is of no more use, whatever it says
	if c.opts.Reason != nil && !errors.Is(err, ErrClosed) {
		err = c.opts.Reason(err)
	}
	c.tellAll(err)
	// This ends when nobody reads or writes any more: the carrier is closed, and Close and Done wait for it.
	go func() {
		if started {
			<-c.flushed
			c.reading.takeLast()
		}
		close(c.stopped)
	}()
}

func (c *Conn) awaitFlush() {
	timer := time.NewTimer(c.opts.FlushTime)
	defer timer.Stop()
	select {
	case <-c.flushed:
	case <-timer.C:
	}
}

// tellAll ends every operation with the reason.
func (c *Conn) tellAll(err error) {
	c.mu.Lock()
	c.err = err
	var last []*Ticket
	for _, r := range c.byHop {
		if r.known {
			last = append(last, r.abort(TransmissionFailure, err.Error()))
		}
		c.drop(r)
	}
	c.unlock()
	c.tell(last)
}

// tell hands tickets to the mate, without the lock. It says whether any may have been kept.
func (c *Conn) tell(tickets []*Ticket) (kept bool) {
	if len(tickets) == 0 {
		return false
	}
	link := c.near.get()
	for _, t := range tickets {
		if handOver(link, t) {
			kept = true
		}
	}
	return kept
}

// unlock unlocks mu and then frees what was dropped under it.
func (c *Conn) unlock() {
	garbage := c.garbage
	c.garbage = nil
	c.mu.Unlock()
	freeAll(garbage)
}

// gone makes the error of a carrier that ended.
func gone(err error) error {
	var protocol *ProtocolError
	if errors.As(err, &protocol) {
		return err
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: its output ended", ErrPeerGone)
	}
	return fmt.Errorf("%w: %w", ErrPeerGone, err)
}
