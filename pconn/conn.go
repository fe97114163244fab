package pconn

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/internal/aside"
)

// Conn is a packet connection. Its methods may be called concurrently.
//
// Among many connections nothing of one is in a cache when a packet comes, and each line of memory that is touched is waited for. So
// what every call needs at the end that makes it is together: what receiving does, what is asked of the options, the counters of either direction, and what
// is needed to send. size_test.go counts the lines.
type Conn struct {
	in      *bufio.Input
	watch   *watch  // nil if nobody looks on
	held    int32   // packets since receiving last waited; the receiver's
	wrote   int32   // of those, how many had come when it last wrote what was left to it
	readAt  instant // when bytes last came, or a little later; the receiver's
	portion portion // of what has come; the receiver's
	given   *given  // made when there are some
	alone   alone
	scratch *scratch // of marked handlers; the receiver's
	beside  beside
	sending sending // of who writes
	needs   bool    // the extensions: ExtensionsRequired
	watched bool    // the watchdog of inline handlers was ever set; the receiver's
	lending lending // guarded by mu
	lone    uint8   // calls that came one by one, with nothing in between, up to loneFrom; the receiver's
	ext     extension
	opts    Options

	base        context.Context // parent of the handlers' contexts
	cancel      context.CancelCauseFunc
	log         *logQueue
	hooks       *aside.Queue[func(*Conn)] // OnRecvEOF and OnSendEOF; nil without either
	freeWaiters *sync.Pool                // of *waiter; made when somebody waits

	counters Counters

	// mu guards st and what is said to be guarded by Conn.mu. No callback, I/O or blocking send
	// happens under it. handlerContext.mu, interrupting, those of contexts and those that the input's Interrupt takes are taken while
	// it is held, and none else.
	mu  sync.Mutex
	out *bufio.Output
	st  state

	inline    inliner
	nobody    handling // what finished handlers' contexts belong to
	rest      unfinished
	channels  channelTable
	files     files
	freeCalls sync.Pool // of *call

	startOffset int64 // of the input, when the connection began

	// interrupting guards what follows: the input may be interrupted only while this connection reads
	// it, since it may then be another's. It may be taken while mu is held.
	interrupting sync.Mutex
	receiving    bool
	interrupted  bool // by the end of the connection

	closeOne, sendOne sync.Once

	closing chan struct{} // closed by the first Close
	sendEnd chan struct{} // closed when nothing more will be sent
	done    chan struct{} // closed when all is over
	stay    error         // *StayError, set before done is closed
}

// New makes a connection of an input and an output and starts it. A nil opts is the zero Options.
//
// The output is the connection's: it is closed, as soon as EOF has been sent, by its own Close, which
// leaves what the program passed in to it open. The input stays open unless Options.CloseInput is
// set, and can be handed to the next connection when Done is closed.
//
// Every connection has to be ended, by Close or Shutdown.
func New(in *bufio.Input, out *bufio.Output, opts *Options) (*Conn, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if in == nil || out == nil {
		return nil, errors.New("pconn: New needs an input and an output")
	}
	c := &Conn{
		opts:    o,
		in:      in,
		out:     out,
		closing: make(chan struct{}),
		sendEnd: make(chan struct{}),
		done:    make(chan struct{}),
	}
	c.needs = o.Extensions == ExtensionsRequired
	c.watch, err = newWatch(c)
	if err != nil {
		return nil, err
	}
	c.log = newLogQueue(o.Logger, o.Name)
	if o.OnRecvEOF != nil || o.OnSendEOF != nil {
		c.hooks = aside.New(2, func(hook func(*Conn)) { c.callNotification(hook, c.mark()) })
	}
	c.nobody.conn = c
	c.base, c.cancel = context.WithCancelCause(o.Context)
	c.startOffset = in.Offset()
	channels := maps.Clone(o.Channels)
	c.channels.Store(&channels)
	c.st.streams.handler, c.st.streams.budget.max = o.StreamHandler, o.Streams.Memory
	for _, name := range o.Listen {
		c.addListener(name).declared = true
	}
	c.st.incoming.seed = rand.Uint64() | 1
	c.st.sender.pending = &noBatch
	c.st.maxCalls, c.st.maxCallBytes = maxOutstanding, maxOutstandingBytes
	c.receiving = true
	c.prepareFiles()
	in.Resume()
	in.BeforeWait(c.beforeWait)
	in.BeforeLook(c.beforeLook)
	if o.Extensions != ExtensionsOff && (o.Extensions != ExtensionsLazy || o.Keepalive > 0 || c.files.takes) {
		c.offer()
	}
	c.start()
	return c, nil
}

// start starts the connection's one permanent goroutine, the receiver. It may change places with
// another (startReceiving), is not there while a stream leads (streamlead.go) or lone callers receive
// (lonecall.go), and whichever receives last ends the connection and closes Done as the last thing. The others
// come and go: the sender goroutine (startSender), the handlers' (startHandler) and relieve, for all of which
// windDown waits.
func (c *Conn) start() {
	go func() {
		if err := c.firstPacket(); err != nil {
			c.end(err)
			return
		}
		c.noteRead()
		c.receive()
	}()
}

// startReceiving lets receiving go on on a new goroutine, which takes start's place.
func (c *Conn) startReceiving() { go c.receive() }

// end is the end of receiving.
func (c *Conn) end(err error) {
	c.interrupting.Lock()
	c.receiving = false
	c.interrupting.Unlock()
	c.leaveFiles()
	c.in.BeforeWait(nil)
	c.in.BeforeLook(nil)
	// The end may have come without a wait, before which all that is done.
	c.deliverNow()
	c.leaveReceiving()
	c.windDown(err)
}

// interrupt ends receiving.
func (c *Conn) interrupt() {
	c.interrupting.Lock()
	c.interrupted = true
	if c.receiving {
		c.in.Interrupt()
	}
	c.interrupting.Unlock()
	c.locked(c.follow)
}

// Name returns Options.Name.
func (c *Conn) Name() string { return c.opts.Name }

// Peer returns Options.Peer.
func (c *Conn) Peer() Peer { return c.opts.Peer }

// Codec returns Options.Codec, or JSON.
func (c *Conn) Codec() Codec { return c.opts.Codec }

// Done returns a channel that is closed when the connection is over: nothing more is received or
// sent, and its handlers have returned, but for those that Wait names.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns nil while the connection can receive, and then what ended it: ErrClosed, ErrPeerClosed,
// a *ProtocolError, a *LimitError, ErrPeerGone or the error of reading; where the options ask for it also
// ErrPeerSilent (Keepalive), ErrCookie (VerifyCookie) and ErrNoExtensions (ExtensionsRequired). What
// Options.EndError makes of it is in its place. It is the same value that all calls got that were outstanding then.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.st.endErr
}

// instant is a time since the program began, and less than nothing in a bubble of testing/synctest: only differences mean anything. It
// costs less to ask for than a time.Time.
type instant time.Duration

// epoch is when the program began, about.
var epoch = time.Now()

func clock() instant { return instant(time.Since(epoch)) }

// since returns the time from i to now.
func (now instant) since(i instant) time.Duration { return time.Duration(now - i) }
