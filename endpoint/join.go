package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/packetstream/packetstream/pconn"
)

// ErrHalfOpen says that after the end of one direction of a Join the other was silent for too long.
var ErrHalfOpen = errors.New("endpoint: one direction has ended, and the other is silent")

// JoinOptions are the settings of a Join. The zero value, or nil, is the default of all.
type JoinOptions struct {
	// HalfOpen is how long one direction may be silent once the other has ended, by default DefaultHalfOpen: a command
	// need not heed the end of its input. Negative is for ever, as between sockets, of which one may have sent all it
	// has and wait long for what the other makes of it.
	HalfOpen time.Duration
}

func (o *JoinOptions) withDefaults() JoinOptions {
	var v JoinOptions
	if o != nil {
		v = *o
	}
	if v.HalfOpen == 0 {
		v.HalfOpen = DefaultHalfOpen
	}
	return v
}

// Join copies bytes between two transports, both ways, and closes both in the end: a is who asked, b whom it was
// joined to. The end of one direction is passed on, and the other goes on until its own end, or until it was silent for
// too long (ErrHalfOpen). Whatever is in the bytes goes through, extensions of packets included.
//
// When ctx ends nothing more is taken of a, b is told the end, and what it still says in pconn.DefaultDrainTimeout reaches a;
// ErrNotDrained says that it did not end in that time. Otherwise the error is the first of reading and writing, joined with
// those of closing, such as the *ExitError of a command.
func Join(ctx context.Context, a, b Transport, opts *JoinOptions) error {
	j := &join{JoinOptions: opts.withDefaults(), a: a, b: b, began: time.Now(), ended: make(chan copied, 2)}
	// All goroutines end when both transports are closed, and are waited for below.
	go j.copy(a, b, &j.toB)
	go j.copy(b, a, &j.toA)
	err := j.wait(ctx)
	closed := make(chan error, 1)
	go func() { closed <- b.Close() }() // a command takes its time
	err = errors.Join(err, a.Close(), <-closed)
	for ; j.running() > 0; j.seen++ {
		<-j.ended
	}
	j.telling.Wait()
	return err
}

// join is one run of Join.
type join struct {
	JoinOptions
	a, b     Transport
	began    time.Time
	toA, toB atomic.Int64 // when bytes were copied last, as a time since began
	ended    chan copied
	seen     int // how many ends were taken from ended
	telling  sync.WaitGroup
}

// copied is how a direction has ended.
type copied struct {
	to          *atomic.Int64 // names the direction
	read, wrote error
}

// joinBuffer is how many bytes are copied at once: as many as a pipe holds.
const joinBuffer = 64 << 10

func (j *join) running() int { return 2 - j.seen }

// now is a time as those of toA and toB.
func (j *join) now() time.Duration { return time.Since(j.began) }

// copy copies one direction until its end, and passes that on.
func (j *join) copy(from, to Transport, last *atomic.Int64) {
	end := copied{to: last}
	buf := make([]byte, joinBuffer)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, end.wrote = to.Write(buf[:n]); end.wrote != nil {
				break
			}
			last.Store(int64(j.now()))
		}
		if err != nil {
			end.read = err
			break
		}
	}
	if end.read == io.EOF {
		end.read = nil
		// If it cannot be told the end, it has gone itself.
		_ = to.CloseWrite()
	}
	j.ended <- end
}

// wait waits until both directions have ended, or nothing more is to be expected of them.
func (j *join) wait(ctx context.Context) error {
	var first error
	var drained <-chan time.Time
	var silence *silence // of the direction that goes on alone
	stop := ctx.Done()
	for {
		select {
		case end := <-j.ended:
			j.seen++
			switch {
			case end.read != nil:
				return errors.Join(first, fmt.Errorf("endpoint: read: %w", end.read))
			case end.wrote != nil && drained == nil:
				first = errors.Join(first, fmt.Errorf("endpoint: write: %w", end.wrote))
			}
			if j.running() == 0 || drained != nil && end.to == &j.toA {
				return first
			}
			silence = j.listenTo(j.other(end.to))
			defer silence.stop()
		case <-silence.over():
			if silence.tooLong() {
				return errors.Join(first, ErrHalfOpen)
			}
		case <-stop:
			stop = nil
			j.telling.Go(func() { _ = j.b.CloseWrite() }) // it may wait for what is being written
			timer := time.NewTimer(pconn.DefaultDrainTimeout)
			defer timer.Stop()
			drained = timer.C
		case <-drained:
			return errors.Join(first, fmt.Errorf("%w: within %v", ErrNotDrained, pconn.DefaultDrainTimeout))
		}
	}
}

func (j *join) other(direction *atomic.Int64) *atomic.Int64 {
	if direction == &j.toA {
		return &j.toB
	}
	return &j.toA
}

// silence watches a direction for being silent too long. nil watches none.
type silence struct {
	join  *join
	last  *atomic.Int64
	since time.Duration // of the watch
	timer *time.Timer
}

// listenTo watches a direction from now on, if there is a limit.
func (j *join) listenTo(direction *atomic.Int64) *silence {
	if j.HalfOpen < 0 {
		return nil
	}
	return &silence{join: j, last: direction, since: j.now(), timer: time.NewTimer(j.HalfOpen)}
}

// over returns the channel which tells that it is time to ask tooLong.
func (s *silence) over() <-chan time.Time {
	if s == nil {
		return nil
	}
	return s.timer.C
}

// tooLong reports whether the silence lasts for too long already. If not, over tells when to ask again.
func (s *silence) tooLong() bool {
	last := max(s.since, time.Duration(s.last.Load()))
	left := last + s.join.HalfOpen - s.join.now()
	if left <= 0 {
		return true
	}
	s.timer.Reset(left)
	return false
}

func (s *silence) stop() {
	if s != nil {
		s.timer.Stop()
	}
}
