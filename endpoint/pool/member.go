package pool

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/pconn"
)

// member is one place of a Pool, in which there is one child at a time, but while it is replaced.
type member struct {
	pool    *Pool
	number  int
	replace chan replacement
	pause   *backoff.ExponentialBackOff // of keep's goroutine

	// What follows is guarded by Pool.mu.
	worker   *worker // takes calls, or nil
	restarts int
	failures int   // children in a row that have failed
	err      error // how the last one ended
	closeErr error // of the last one
}

// worker is a child in its place.
type worker struct {
	*endpoint.Child
	member  *member
	since   time.Time
	leaving chan struct{} // closed when it takes no new calls
	leave   func()        // closes leaving

	// What follows is guarded by Pool.mu.
	inFlight int
	proven   bool  // it has answered
	unwell   error // why it was killed
}

// replacement asks for a new child in a place.
type replacement struct {
	ctx  context.Context
	done chan error // takes one value
}

func newMember(p *Pool, number int) *member {
	return &member{
		pool: p, number: number, replace: make(chan replacement),
		pause: &backoff.ExponentialBackOff{
			InitialInterval: p.opts.MinDelay, MaxInterval: p.opts.MaxDelay,
			Multiplier: 2, RandomizationFactor: 0.2,
		},
	}
}

// start starts a child.
func (m *member) start(ctx context.Context) (*worker, error) {
	opts := m.pool.opts.Start
	child, err := endpoint.Start(ctx, m.pool.command(), &opts)
	if err != nil {
		return nil, err
	}
	w := &worker{Child: child, member: m, since: time.Now(), leaving: make(chan struct{})}
	w.leave = sync.OnceFunc(func() { close(w.leaving) })
	return w, nil
}

// keep keeps a child in the place until the Pool is closed. It owns the workers.
func (m *member) keep(w *worker) {
	for w != nil {
		w = m.watch(w)
	}
}

// watch waits for what happens to a worker and returns the one that follows it; none when the Pool is closed.
func (m *member) watch(w *worker) *worker {
	var look <-chan time.Time
	if every := m.pool.opts.HealthEvery; every > 0 {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		look = ticker.C
	}
	for {
		select {
		case <-m.pool.ctx.Done():
			m.close(w)
			return nil
		case <-w.Done():
			if m.pool.open.Err() != nil {
				m.close(w)
				return nil
			}
			m.ended(w)
			return m.restart()
		case <-w.leaving:
			m.pause.Reset()
			m.pool.running.Go(func() { // it ends with the worker
				_ = w.Shutdown(m.pool.ctx) // whoever has asked it is told how it ends
				_ = w.Close()
			})
			return m.restart()
		case r := <-m.replace:
			if next := m.succeed(w, r); next != nil {
				return next
			}
		case <-look:
			m.check(w)
		}
	}
}

// ended notes how a worker ended.
func (m *member) ended(w *worker) {
	err := error(&endpoint.ExitError{Exit: w.Exit(), Err: w.Err()})
	p := m.pool
	p.mu.Lock()
	p.takeOut(w)
	if w.unwell != nil {
		err = errors.Join(w.unwell, err)
	}
	if w.proven || time.Since(w.since) >= provenAfter {
		m.failures = 0
		m.pause.Reset()
	} else {
		m.failures++
	}
	m.err = err
	p.wake()
	p.mu.Unlock()
	m.log(slog.LevelWarn, "child ended", "pid", w.PID(), "error", err)
}

// restart starts a child in the place of one that has ended, as often as it takes; none when the Pool is closed.
func (m *member) restart() *worker {
	for {
		timer := time.NewTimer(m.pause.NextBackOff())
		var asked replacement
		select {
		case <-timer.C:
		case asked = <-m.replace:
		case <-m.pool.open.Done():
			timer.Stop()
			return nil
		}
		timer.Stop()
		ctx, cancel := context.WithTimeout(m.pool.open, m.pool.opts.StartTimeout)
		w, err := m.start(ctx)
		cancel()
		m.restarted(w, err)
		if asked.done != nil {
			asked.done <- err
		}
		if err == nil {
			return w
		}
	}
}

// restarted notes the outcome of a start, and lets a new worker take calls.
func (m *member) restarted(w *worker, err error) {
	p := m.pool
	p.mu.Lock()
	if err == nil {
		m.restarts++
		m.worker = w
	} else {
		m.failures++
		m.err = err
	}
	p.wake()
	p.mu.Unlock()
	if err == nil {
		m.log(slog.LevelInfo, "child started", "pid", w.PID())
	} else {
		m.log(slog.LevelWarn, "child cannot be started", "error", err)
	}
}

// succeed puts a new worker in the place of one that is well, which ends when it has finished. It returns none if there
// is none.
func (m *member) succeed(old *worker, r replacement) *worker {
	next, err := m.start(r.ctx)
	if err != nil {
		r.done <- err
		return nil
	}
	m.restarted(next, nil)
	m.pool.running.Go(func() { // it ends with the old worker
		ctx, cancel := context.WithCancel(r.ctx)
		stop := context.AfterFunc(m.pool.ctx, cancel)
		err := old.Shutdown(ctx)
		stop()
		cancel()
		if r.ctx.Err() != nil || m.pool.ctx.Err() != nil {
			_ = old.Close() // it was not given the time to end well
			err = r.ctx.Err()
		}
		r.done <- err
	})
	return next
}

// check kills a worker that is not well.
func (m *member) check(w *worker) {
	p := m.pool
	ctx, cancel := context.WithTimeout(p.ctx, p.opts.HealthTimeout)
	defer cancel()
	err := m.pool.healthy(ctx, w.Child)
	if err == nil {
		p.mu.Lock()
		w.proven = true
		p.mu.Unlock()
		return
	}
	if p.ctx.Err() != nil || w.Err() != nil {
		return // it is over anyway
	}
	p.mu.Lock()
	w.unwell = &healthError{err}
	p.takeOut(w)
	p.mu.Unlock()
	m.log(slog.LevelWarn, "child is not healthy", "pid", w.PID(), "error", err)
	_ = w.Signal(syscall.SIGKILL) // if it has ended by now, so much the better
}

// healthy asks a child for a sign of life.
func (p *Pool) healthy(ctx context.Context, c *endpoint.Child) error {
	if p.opts.Healthy != nil {
		return p.opts.Healthy(ctx, c)
	}
	_, err := c.Ping(ctx)
	if errors.Is(err, pconn.ErrNoExtensions) {
		return nil // it cannot be asked
	}
	return err
}

// close ends a worker with the Pool.
func (m *member) close(w *worker) {
	err := w.Close()
	m.pool.mu.Lock()
	defer m.pool.mu.Unlock()
	m.pool.takeOut(w)
	m.closeErr = err
}

func (m *member) log(level slog.Level, msg string, args ...any) {
	if l := m.pool.opts.Start.Conn.Logger; l != nil {
		l.Log(context.Background(), level, "pool: "+msg, append(args, "place", m.number)...)
	}
}
