package links

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/packetstream/packetstream/internal/clock"
)

// turn is the turn to read: one goroutine at a time reads a connection. That is a goroutine of the connection's own, unless one operation
// is alone on it, as in a call after a call or a stream that goes back and forth. Then whoever waits for the operation's next step reads for
// itself, and a servicer runs on the goroutine that has read what it is to serve, because to wake another one costs more than all else
// in a short message's way.
//
// Between two turns nobody reads. Whoever is to wait for the peer in another way than by reading sees to it that somebody does (park),
// and a watchdog sees to it where an application takes its time (look). After that the connection's own goroutine reads until enough
// frames have come without such a case. An application needs to know nothing of this.
type turn struct {
	// lendable says that a read can be woken, so that who reads for itself can be freed.
	lendable interface{ SetReadDeadline(time.Time) error }
	taken    atomic.Bool
	count    atomic.Uint64 // how often it was taken
	company  atomic.Int32  // operations that are open
	parked   atomic.Int32  // goroutines that wait for the peer, and do not read
	ending   atomic.Bool   // the end of the connection waits for the turn, which is not given back any more
	free     chan struct{} // has a value when it was given back meanwhile

	// frames came since the watchdog had to see to reading, and patience is how many have to before the turn is lent again.
	frames   atomic.Int64
	patience atomic.Int64
	watched  atomic.Bool // the watchdog is set

	// later is whoever reads': a servicer's call that it is to run between two frames.
	later func()

	mu       sync.Mutex    // guards what follows; only deadlines and timers are set under it
	poked    bool          // a deadline was set to wake whoever reads
	claimant chan struct{} // of who waits to be given the turn
	watchdog *clock.Clock
	period   time.Duration
	seen     uint64 // count, at the watchdog's last look
	closed   bool
}

const (
	// minPatience and maxPatience (frames) bound patience.
	minPatience = 16
	maxPatience = 1 << 16
	// minWatch and maxWatch bound the watchdog's period, which grows while all goes well: each look costs some microseconds, and a peer
	// that has something to say to an application that takes its time waits for two of them at most, once in a while.
	minWatch = time.Millisecond
	maxWatch = 4 * time.Millisecond
)

// lend lets the turn be lent if the carrier's reads can be woken without harm. Not every type with deadlines keeps that: there are
// connections that are closed by the first. The turn is taken until the connection starts, for its own goroutine.
func (u *turn) lend(carrier Carrier) {
	u.taken.Store(true)
	u.free = make(chan struct{}, 1)
	u.patience.Store(minPatience)
	s, ok := carrier.(*stream)
	if !ok {
		return
	}
	var reader any = s.rw
	if pair, ok := reader.(duplex); ok {
		reader = pair.Reader
	}
	switch r := reader.(type) {
	case *os.File:
		if r.SetReadDeadline(time.Time{}) == nil { // else it blocks
			u.lendable = r
		}
	case *net.TCPConn:
		u.lendable = r
	case *net.UnixConn:
		u.lendable = r
	}
}

// alone says whether the turn may be lent: one operation is open, and it has gone well for a while.
func (u *turn) alone() bool {
	return u.lendable != nil && u.company.Load() == 1 && u.parked.Load() == 0 && u.frames.Load() >= u.patience.Load()
}

// take takes the turn if nobody has it.
func (u *turn) take() bool {
	if !u.taken.CompareAndSwap(false, true) {
		return false
	}
	u.count.Add(1)
	return true
}

// give gives the turn back: to who claims it, or to whoever takes it next.
func (u *turn) give() {
	u.mu.Lock()
	u.calm()
	if u.claimant != nil {
		close(u.claimant)
		u.claimant = nil
		u.mu.Unlock()
		return
	}
	u.taken.Store(false)
	u.mu.Unlock()
	if u.ending.Load() {
		wake(u.free)
	}
}

// claim wakes who reads, which then gives the turn to who waits for the channel to be closed. It is nil if there is nobody to wake.
func (u *turn) claim() chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.claimant != nil || u.closed || !u.taken.Load() {
		return nil
	}
	u.claimant = make(chan struct{})
	u.pokeLocked()
	return u.claimant
}

// withdraw takes a claim back, and says whether it was in time.
func (u *turn) withdraw(claimant chan struct{}) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.claimant != claimant {
		return false
	}
	u.claimant = nil
	return true
}

// takeLast takes the turn for ever, at the end of the connection. It waits for who has it.
func (u *turn) takeLast() {
	u.ending.Store(true)
	for !u.take() {
		<-u.free
	}
	u.mu.Lock()
	u.closed = true
	watchdog := u.watchdog
	u.mu.Unlock()
	if watchdog != nil {
		watchdog.Stop()
	}
}

// poke wakes whoever reads, to look whether it is still to read.
func (u *turn) poke() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pokeLocked()
}

func (u *turn) pokeLocked() {
	u.poked = true
	_ = u.lendable.SetReadDeadline(time.Unix(1, 0)) // it could be set before; if the stream is closed, its reads end too
}

// calm takes a deadline away that has served its purpose, with mu held.
func (u *turn) calm() {
	if u.poked {
		u.poked = false
		_ = u.lendable.SetReadDeadline(time.Time{})
	}
}

// wasPoked says whether an error of a read is nothing but a poke, which is over with that.
func (u *turn) wasPoked(err error) bool {
	if u.lendable == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	poked := u.poked
	u.calm()
	return poked
}

// claimed says whether somebody waits to be given the turn.
func (u *turn) claimed() bool {
	if u.lendable == nil {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.claimant != nil
}

// readOne takes one frame. The caller has the turn, and goes on reading, or gives it back, if there is no error.
func (c *Conn) readOne() error {
	b, err := c.carrier.ReadFrame()
	if err != nil {
		if c.reading.wasPoked(err) {
			return nil
		}
		return gone(err)
	}
	c.reading.frames.Add(1)
	return c.take(b)
}

// attend sees to it that somebody reads.
func (c *Conn) attend() {
	if c.reading.take() {
		go c.read() // the end of the connection waits for the turn
	}
}

// park is for who is about to wait for the peer without reading. It calls unpark when it has waited.
func (c *Conn) park() {
	c.reading.parked.Add(1)
	c.attend()
}

func (c *Conn) unpark() { c.reading.parked.Add(-1) }

// leave gives the turn back for a while in which nobody may read, unless somebody waits.
func (c *Conn) leave() {
	u := &c.reading
	u.give()
	if u.parked.Load() > 0 && u.take() {
		u.lose()
		go c.read() // as in attend
		return
	}
	if !u.watched.Load() && u.watched.CompareAndSwap(false, true) {
		c.watch()
	}
}

// lose has the connection read for itself for a while, and for longer each time if an operation was open, which may have suffered.
func (u *turn) lose() {
	u.frames.Store(0)
	if u.company.Load() > 0 {
		u.patience.Store(min(2*u.patience.Load(), maxPatience))
	}
}

// watch sets the watchdog. The caller has set watched.
func (c *Conn) watch() {
	u := &c.reading
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return
	}
	u.period, u.seen = minWatch, u.count.Load()
	if u.watchdog == nil {
		u.watchdog = clock.New(true, c.look)
	}
	u.watchdog.Set(u.period)
}

// look is the watchdog's: where nobody has taken the turn since its last look it sees to it that somebody reads.
func (c *Conn) look() {
	u := &c.reading
	u.mu.Lock()
	count := u.count.Load()
	busy := count != u.seen
	u.seen = count
	if busy && !u.closed {
		u.period = min(2*u.period, maxWatch)
		u.watchdog.Set(u.period)
	}
	u.mu.Unlock()
	if busy {
		if patience := u.patience.Load(); patience > minPatience && u.frames.Load() > 2*patience {
			u.patience.Store(patience / 2)
		}
		return
	}
	// Whoever gives the turn back from now on sets the watchdog again.
	u.watched.Store(false)
	if u.take() {
		u.lose()
		go c.read() // as in attend
	}
}

// read reads until the connection ends, or somebody else has the turn. It has it when it begins.
func (c *Conn) read() {
	u := &c.reading
	for {
		err := c.readOne()
		run := u.later
		u.later = nil
		if err != nil {
			if run != nil {
				go run() // whoever counts the servicers waits for it
			}
			c.end(err)
			u.give()
			return
		}
		if run != nil {
			c.leave()
			run()
			if !u.take() {
				return
			}
		}
		if u.claimed() {
			u.give()
			return
		}
	}
}

// runLater has f, which may wait for the peer, run on the goroutine that reads, once it has handed on what it has read. It says no where a
// goroutine of its own is better. It is called by who is handed a ticket.
func (c *Conn) runLater(f func()) bool {
	if !c.reading.alone() {
		return false
	}
	c.reading.later = f
	return true
}

// readFor reads on the caller's goroutine until enough says so, which is asked before each frame. It says whether it did; it does not where
// another has to read.
func (c *Conn) readFor(enough func() bool, woken <-chan struct{}) bool {
	u := &c.reading
	if !u.alone() || !u.take() && !c.takeClaimed(woken) {
		return false
	}
	for !enough() {
		err := c.readOne()
		if run := u.later; run != nil {
			u.later = nil
			go run() // whoever counts the servicers waits for it
		}
		if err != nil {
			// It is not for the caller to wait until the end is told.
			go func() { // the end of the connection waits for the turn
				c.end(err)
				u.give()
			}()
			return true
		}
	}
	c.leave()
	return true
}

// takeClaimed takes the turn from who reads. It fails if what woken is for has come meanwhile.
func (c *Conn) takeClaimed(woken <-chan struct{}) bool {
	claimant := c.reading.claim()
	if claimant == nil {
		return false
	}
	select {
	case <-claimant:
		c.reading.count.Add(1)
		return true
	case <-woken:
		if !c.reading.withdraw(claimant) {
			<-claimant
			c.leave()
		}
		return false
	}
}
