package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/packetstream/packetstream/pconn"
)

// ErrHalfOpen says that after the end of one direction of a Join the other was silent for too long.
var ErrHalfOpen = errors.New("endpoint: one direction has ended, and the other is silent")

// Join copies bytes between two transports, both ways, and closes both in the end: a is who asked, b whom it was
// joined to. The end of one direction is passed on, and the other goes on until its own end; it may
// then be silent for half a minute. Whatever is in the bytes goes through, extensions of packets included.
//
// When ctx ends nothing more is taken of a, b is told the end, and what it still says in pconn.DefaultDrainTimeout reaches a;
// ErrNotDrained says that it did not end in that time. Otherwise the error is the first of reading and writing, joined with
// those of closing, such as the *ExitError of a command.
func Join(ctx context.Context, a, b Transport) error {
	j := &join{a: a, b: b, ended: make(chan copied, 2)}
	// Both goroutines end when both transports are closed, and are waited for below.
	go j.copy(a, b, &j.toB)
	go j.copy(b, a, &j.toA)
	err := j.wait(ctx)
	closed := make(chan error, 1)
	go func() { closed <- b.Close() }() // a command takes its time
	err = errors.Join(err, a.Close(), <-closed)
	for ; j.running() > 0; j.seen++ {
		<-j.ended
	}
	return err
}

// join is one run of Join.
type join struct {
	a, b     Transport
	toA, toB atomic.Int64 // bytes copied
	ended    chan copied
	seen     int // how many ends were taken from ended
}

// copied is how a direction has ended.
type copied struct {
	to          *atomic.Int64
	read, wrote error
}

// joinBuffer is how many bytes are copied at once: as many as a pipe holds.
const joinBuffer = 64 << 10

func (j *join) running() int { return 2 - j.seen }

// copy copies one direction until its end, and passes that on.
func (j *join) copy(from, to Transport, count *atomic.Int64) {
	end := copied{to: count}
	buf := make([]byte, joinBuffer)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, end.wrote = to.Write(buf[:n]); end.wrote != nil {
				break
			}
			count.Add(int64(n))
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
	var silence, drained <-chan time.Time
	var other *atomic.Int64 // the direction that goes on alone
	var before int64
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
			other = &j.toA
			if end.to == other {
				other = &j.toB
			}
			before, silence = other.Load(), time.After(joinSilence)
		case <-silence:
			if now := other.Load(); now != before {
				before, silence = now, time.After(joinSilence)
				continue
			}
			return errors.Join(first, ErrHalfOpen)
		case <-stop:
			stop = nil
			_ = j.b.CloseWrite()
			drained = time.After(pconn.DefaultDrainTimeout)
		case <-drained:
			return errors.Join(first, fmt.Errorf("%w: within %v", ErrNotDrained, pconn.DefaultDrainTimeout))
		}
	}
}
