package bufio

import (
	"bytes"
	"io"
	"os"
	"strings"
	"time"
)

// origin is where an Input's bytes come from. One goroutine calls read and skip; the rest may be called from
// any.
type origin interface {
	// read makes one read into in.space(). With wait false it returns ErrWouldBlock instead of waiting.
	// Before it waits, or may wait, it calls in.waits(), with no lock held, and it may then call in.idle() and later
	// in.space() again.
	read(in *Input, wait bool) (int, error)
	// skip passes over n bytes without reading them and reports whether it could; if not, nothing happened.
	skip(n int64) bool
	interrupt()
	resume()
	close() error
	mode() string
	nonBlocking() bool // read with wait false can find something
}

// never is an origin that has nothing (more) to give, so that nothing has to be stopped.
type never struct{ err error }

func (o never) read(*Input, bool) (int, error) { return 0, o.err }
func (o never) skip(int64) bool                { return false }
func (o never) interrupt()                     {}
func (o never) resume()                        {}
func (o never) close() error                   { return nil }
func (o never) mode() string                   { return "memory" }
func (o never) nonBlocking() bool              { return true }

// direct reads from what never blocks.
type direct struct {
	gate
	r io.Reader
}

func (o *direct) read(in *Input, _ bool) (int, error) {
	if err := o.check(); err != nil {
		return 0, err
	}
	return o.r.Read(in.space())
}

func (o *direct) skip(int64) bool   { return false }
func (o *direct) close() error      { o.shut(); return nil }
func (o *direct) mode() string      { return "memory" }
func (o *direct) nonBlocking() bool { return true }

// deadlineReader is what a net.Conn and an os.File in the poller have in common.
type deadlineReader interface {
	io.Reader
	SetReadDeadline(time.Time) error
}

// deadlined reads from something whose blocked Read is ended by a deadline.
type deadlined struct {
	gate
	r     deadlineReader
	owned io.Closer
}

func newDeadlined(r deadlineReader, owned io.Closer) *deadlined {
	o := &deadlined{r: r, owned: owned}
	o.apply = func(stop bool) { r.SetReadDeadline(stopTime(stop)) }
	return o
}

func (o *deadlined) read(in *Input, wait bool) (int, error) {
	if !wait {
		return 0, ErrWouldBlock
	}
	seen, err := o.enter()
	if err != nil {
		return 0, err
	}
	in.waits()
	n, err := o.r.Read(in.space())
	if stopped := o.leave(seen); stopped != nil && n == 0 && (stopped == ErrClosed || isTimeout(err)) {
		err = stopped
	}
	return n, err
}

func (o *deadlined) skip(int64) bool   { return false }
func (o *deadlined) mode() string      { return "deadlines" }
func (o *deadlined) nonBlocking() bool { return false }

func (o *deadlined) close() error {
	if o.shut() && o.owned != nil {
		return o.owned.Close()
	}
	return nil
}

// stopTime is the deadline that ends a blocked call, or none.
func stopTime(stop bool) time.Time {
	if stop {
		return time.Unix(1, 0)
	}
	return time.Time{}
}

// newOrigin finds the way to read from r. What owned is not nil is closed by close.
func newOrigin(r io.Reader, owned io.Closer) origin {
	switch r := r.(type) {
	case nil:
		return never{io.EOF}
	case *bytes.Reader, *bytes.Buffer, *strings.Reader:
		return &direct{r: r}
	case *os.File:
		if r == nil {
			return never{os.ErrInvalid}
		}
	}
	if o := newRawOrigin(r, owned); o != nil {
		return o
	}
	if d, ok := r.(deadlineReader); ok && d.SetReadDeadline(time.Time{}) == nil {
		return newDeadlined(d, owned)
	}
	p := newPump(r)
	if owned != nil {
		p.stop = owned.Close
	}
	return p
}
