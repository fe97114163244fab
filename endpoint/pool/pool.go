package pool

import (
	"context"
	"errors"
	"os/exec"
	"sync"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

// Pool is children of one command, behind one caller. Its methods may be called concurrently.
//
// Every Pool has to be ended, by Close or Shutdown.
type Pool struct {
	opts    Options
	command func() *exec.Cmd
	members []*member

	open    context.Context // ends when no child is started any more, with Close and Shutdown
	close   context.CancelFunc
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup // the members' goroutines, and those of Results

	// mu guards what follows, and what of members and workers is said to be guarded by Pool.mu. Nothing is
	// called, sent or waited for under it.
	mu      sync.Mutex
	closed  bool
	next    int           // the member that is looked at first
	changed chan struct{} // closed and made anew when a call that waits should look again
}

// Start starts the children and returns when all of them are there. command makes the command of each, and of those
// that follow it; it is called by several goroutines.
//
// ctx limits the start, not the children's lives. If one cannot be started none is left, and the error is
// that of endpoint.Start.
func Start(ctx context.Context, command func() *exec.Cmd, opts *Options) (*Pool, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Pool{opts: o, command: command, changed: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.open, p.close = context.WithCancel(p.ctx)
	workers := make([]*worker, o.Size)
	errs := make([]error, o.Size)
	var starting sync.WaitGroup
	for i := range workers {
		m := newMember(p, i)
		p.members = append(p.members, m)
		starting.Go(func() { workers[i], errs[i] = m.start(ctx) })
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		for _, w := range workers {
			if w != nil {
				starting.Go(func() { _ = w.Close() }) // err says more
			}
		}
		starting.Wait()
		p.cancel()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	for i, m := range p.members {
		p.publish(workers[i])
		p.running.Go(func() { m.keep(workers[i]) })
	}
	return p, nil
}

// Codec returns the codec of the children's connections.
func (p *Pool) Codec() pconn.Codec { return p.opts.Start.Conn.Codec }

// pick waits for a child that takes calls, and counts a call on it, until done. The error is exactly ctx.Err(), ErrClosed
// or an *UnavailableError.
func (p *Pool) pick(ctx context.Context) (*worker, error) {
	for {
		p.mu.Lock()
		w, err := p.choose()
		changed := p.changed
		p.mu.Unlock()
		if w != nil || err != nil {
			return w, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// choose returns the worker with the fewest calls in flight, and counts one more; or neither a worker nor an
// error where it is worth waiting. mu is held.
func (p *Pool) choose() (*worker, error) {
	if p.closed {
		return nil, ErrClosed
	}
	var best *worker
	down := &UnavailableError{Failures: p.members[0].failures, Err: p.members[0].err}
	for i := range p.members {
		m := p.members[(p.next+i)%len(p.members)]
		if w := m.worker; w != nil && (best == nil || w.inFlight < best.inFlight) {
			best = w
		}
		if m.failures <= down.Failures {
			down.Failures, down.Err = m.failures, m.err
		}
	}
	switch {
	case best != nil:
		best.inFlight++
		p.next = (p.next + 1) % len(p.members)
		return best, nil
	case down.Failures >= p.opts.Failures:
		return nil, down
	}
	return nil, nil
}

// done is the end of a call that pick has counted. A worker that takes no more calls is taken out.
func (p *Pool) done(w *worker, err error) {
	var remote *pconn.RemoteError
	leaves := leaves(err)
	answered := !leaves && (err == nil || errors.As(err, &remote))
	over := !answered && (leaves || w.Err() != nil)
	if leaves {
		w.leave()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	w.inFlight--
	if answered {
		w.proven = true
		if w.member.worker == w {
			w.member.failures = 0
		}
	}
	if over {
		p.takeOut(w)
	}
}

// publish makes a worker take its member's calls.
func (p *Pool) publish(w *worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.member.worker = w
	p.wake()
}

// takeOut makes a worker take no more calls. mu is held.
func (p *Pool) takeOut(w *worker) {
	if w.member.worker == w {
		w.member.worker = nil
	}
}

// wake makes the calls that wait look again. mu is held.
func (p *Pool) wake() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// begin counts a goroutine of a Result, unless the Pool is closed.
func (p *Pool) begin() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	p.running.Add(1)
	return nil
}

// Replace starts a new child in the place of each, one after another, and lets the old one finish what it was asked
// before it is ended. It returns when the last has ended. If a new child cannot be started the old one stays, and the
// error says why; those replaced before stay replaced. When ctx ends the error is exactly ctx.Err(), and an old
// child that has not finished is closed.
func (p *Pool) Replace(ctx context.Context) error {
	for _, m := range p.members {
		r := replacement{ctx: ctx, done: make(chan error, 1)}
		select {
		case m.replace <- r:
		case <-ctx.Done():
			return ctx.Err()
		case <-p.open.Done():
			return ErrClosed
		}
		select {
		case err := <-r.done:
			if err != nil {
				return err
			}
		case <-p.open.Done():
			return ErrClosed
		}
	}
	return nil
}

// Close ends all children at the same time, as endpoint.Child.Close does: calls outstanding get pconn.ErrClosed, or
// ErrClosed where they waited for a child. The error is that of the children that did not end well, joined. It may be
// called more than once and from anywhere but a handler of a child's.
func (p *Pool) Close() error {
	p.stop()
	p.cancel()
	p.running.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, m := range p.members {
		errs = append(errs, m.closeErr)
	}
	return errors.Join(errs...)
}

// Shutdown lets the children finish what they were asked, and ends them. No new call is made. If ctx ends first the
// error is exactly ctx.Err(), and the children are closed as by Close; otherwise it is Close's.
func (p *Pool) Shutdown(ctx context.Context) error {
	var draining sync.WaitGroup
	for _, w := range p.stop() {
		draining.Go(func() { _ = w.Shutdown(ctx) }) // Close tells how it ended
	}
	draining.Wait()
	err := p.Close()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// stop lets no more calls in and returns the workers that there are.
func (p *Pool) stop() []*worker {
	p.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.wake()
	var workers []*worker
	for _, m := range p.members {
		if m.worker != nil {
			workers = append(workers, m.worker)
		}
	}
	return workers
}

// Status is what there is to know of one place of a Pool.
type Status struct {
	// Child takes the calls, or is nil while there is none. It is the Pool's to end.
	Child *endpoint.Child
	// InFlight is how many calls of the Pool it has.
	InFlight int
	// Restarts is how many children came before it in this place.
	Restarts int
	// Failures is how many of the last ones failed in a row.
	Failures int
	// Err is how the one before it ended, or why it could not be started; nil if there was none.
	Err error
}

// Status tells of every place. It does not wait.
func (p *Pool) Status() []Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Status, len(p.members))
	for i, m := range p.members {
		all[i] = Status{Restarts: m.restarts, Failures: m.failures, Err: m.err}
		if m.worker != nil {
			all[i].Child, all[i].InFlight = m.worker.Child, m.worker.inFlight
		}
	}
	return all
}
