//go:build linux

package pool_test

import (
	stdbufio "bufio"
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/endpoint/pool"
	"github.com/packetstream/packetstream/pconn"
)

func TestRestart(t *testing.T) {
	p := start(t, pool.Options{})
	first := pidOf(t, p)
	hanging, err := p.Submit(soon(t), pconn.Request{Type: typeSleep, Flags: 60_000})
	require.NoError(t, err)
	_, err = p.Do(soon(t), pconn.Request{Type: typeExit, Flags: 7})
	exit := exitOf(t, err)
	require.Equal(t, 7, exit.Code)
	require.Equal(t, first, exit.PID)
	require.Equal(t, "told to", string(exit.Stderr))
	_, err = hanging.Wait(soon(t))
	require.Equal(t, exit, exitOf(t, err), "pending calls fail with the same")

	require.NotEqual(t, first, pidOf(t, p), "a new call waits for the new child")
	status := p.Status()
	require.Len(t, status, 1)
	require.Equal(t, 1, status[0].Restarts)
	require.Equal(t, 0, status[0].Failures)
	require.Equal(t, 7, exitOf(t, status[0].Err).Code)
	require.NoError(t, p.Close())
}

// A call of which nothing was written moves, one that was written fails.
func TestUnwrittenCallsMove(t *testing.T) {
	p := start(t, pool.Options{})
	first := pidOf(t, p)
	stopProcess(t, first)
	ask := func(size int) *pconn.Result {
		r, err := p.Submit(soon(t), pconn.Request{Payload: bytes.Repeat([]byte("x"), size)})
		require.NoError(t, err)
		return r
	}
	begun := ask(4 << 20) // more than any pipe holds
	moves := ask(10)
	done := make(chan error, 1)
	go func() {
		_, err := p.Do(soon(t), pconn.Request{Payload: make([]byte, 100_000)})
		done <- err
	}()
	require.Eventually(t, func() bool { return p.Status()[0].InFlight == 3 }, 10*time.Second, time.Millisecond)
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	_, err := begun.Wait(soon(t))
	require.Equal(t, syscall.SIGKILL, exitOf(t, err).Signal)
	resp, err := moves.Wait(soon(t))
	require.NoError(t, err)
	require.Equal(t, "xxxxxxxxxx", string(resp.Payload))
	require.NoError(t, <-done)
}

// A call that does no harm twice is repeated, so often and no more.
func TestIdempotentCallsAreRepeated(t *testing.T) {
	for name, ask := range map[string]func(context.Context, *pool.Pool, pconn.Request) (pconn.Response, error){
		"Do": func(ctx context.Context, p *pool.Pool, req pconn.Request) (pconn.Response, error) {
			return p.Do(ctx, req)
		},
		"Submit": func(ctx context.Context, p *pool.Pool, req pconn.Request) (pconn.Response, error) {
			r, err := p.Submit(ctx, req)
			if err != nil {
				return pconn.Response{}, err
			}
			return r.Wait(ctx)
		},
		"Repeatable": func(ctx context.Context, p *pool.Pool, req pconn.Request) (pconn.Response, error) {
			if !req.Idempotent {
				return p.Do(ctx, req)
			}
			req.Idempotent = false // the caller sets it
			return p.Repeatable().Do(ctx, req)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, pool.Options{Repeats: 2, Failures: 100})
			file := filepath.Join(t.TempDir(), "file")
			require.NoError(t, os.WriteFile(file, nil, 0o600))
			_, err := ask(soon(t), p, pconn.Request{Type: typeFile, Payload: []byte(file)})
			require.Equal(t, 1, exitOf(t, err).Code, "it is not marked")
			require.NoError(t, os.WriteFile(file, nil, 0o600))
			resp, err := ask(soon(t), p, pconn.Request{Type: typeFile, Payload: []byte(file), Idempotent: true})
			require.NoError(t, err)
			require.Equal(t, strconv.Itoa(pidOf(t, p)), string(resp.Payload))

			before := p.Status()[0].Restarts
			_, err = ask(soon(t), p, pconn.Request{Type: typeExit, Flags: 3, Idempotent: true})
			require.Equal(t, 3, exitOf(t, err).Code, "it makes every child end")
			pidOf(t, p)
			require.Equal(t, 3, p.Status()[0].Restarts-before)
		})
	}
}

func TestCallsWaitWithinTheirContext(t *testing.T) {
	p := start(t, pool.Options{MinDelay: time.Hour})
	_, err := p.Do(soon(t), pconn.Request{Type: typeExit})
	exitOf(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = p.Do(ctx, pconn.Request{})
	require.Equal(t, context.DeadlineExceeded, err)
	_, err = p.Submit(ctx, pconn.Request{})
	require.Equal(t, context.DeadlineExceeded, err)
	waiting := make(chan error, 1)
	go func() {
		_, err := p.Do(soon(t), pconn.Request{})
		waiting <- err
	}()
	require.NoError(t, p.Close())
	require.Equal(t, pool.ErrClosed, <-waiting)
	require.ErrorIs(t, pool.ErrClosed, pconn.ErrClosed)
	_, err = p.Submit(soon(t), pconn.Request{})
	require.Equal(t, pool.ErrClosed, err)
	require.Equal(t, pool.ErrClosed, p.Replace(soon(t)))
}

// What stays down says so, and why, and comes back when it can.
func TestUnavailable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out of order")
	p := startFile(t, file, pool.Options{Size: 2, Failures: 2, MinDelay: 250 * time.Millisecond})
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, s := range p.Status() { // both at once: no call may be answered from here on
		require.NoError(t, s.Child.Signal(syscall.SIGKILL))
		<-s.Child.Done()
	}
	var down *pool.UnavailableError
	unavailable := func(ask func() error) func() bool {
		return func() bool {
			err := ask()
			// A call may go to a child that has just been started, and will fail too.
			assert.Error(t, err)
			return errorAs(err, &down) && assert.ObjectsAreEqual(9, exitOf(t, err).Code)
		}
	}
	require.Eventually(t, unavailable(func() error {
		_, err := p.Do(soon(t), pconn.Request{Idempotent: true})
		return err
	}), 10*time.Second, time.Millisecond)
	require.GreaterOrEqual(t, down.Failures, 2)
	require.ErrorContains(t, down, "out of order")
	require.Eventually(t, unavailable(func() error {
		begin := time.Now()
		r, err := p.Submit(soon(t), pconn.Request{})
		assert.Less(t, time.Since(begin), time.Second, "it does not wait")
		if err == nil {
			_, err = r.Wait(soon(t))
		}
		return err
	}), 10*time.Second, time.Millisecond)

	require.NoError(t, os.Remove(file))
	require.Eventually(t, func() bool {
		_, err := p.Do(soon(t), pconn.Request{Idempotent: true})
		return err == nil
	}, 10*time.Second, time.Millisecond)
}

func errorAs[T error](err error, target *T) bool {
	e, ok := err.(T)
	if ok {
		*target = e
	}
	return ok
}

// A call goes to the child with the fewest in flight.
func TestLeastInFlight(t *testing.T) {
	p := start(t, pool.Options{Size: 3})
	seen := map[int]bool{}
	for range 9 {
		seen[pidOf(t, p)] = true
	}
	require.Len(t, seen, 3, "one after another gets a turn")
	var busy []*pconn.Result
	for range 2 {
		r, err := p.Submit(soon(t), pconn.Request{Type: typeSleep, Flags: 60_000})
		require.NoError(t, err)
		busy = append(busy, r)
	}
	free := pidOf(t, p)
	for range 9 {
		require.Equal(t, free, pidOf(t, p))
	}
	for _, r := range busy {
		require.True(t, r.Cancel())
	}
	require.Eventually(t, func() bool {
		for _, s := range p.Status() {
			if s.InFlight > 0 {
				return false
			}
		}
		return true
	}, 10*time.Second, time.Millisecond)
}

// A deploy loses no call: what was asked before is answered by the old children, what comes after by the new ones.
func TestReplaceUnderLoad(t *testing.T) {
	p := start(t, pool.Options{Size: 2})
	old := map[int]bool{}
	for _, s := range p.Status() {
		old[s.Child.PID()] = true
	}
	slow, err := p.Submit(soon(t), pconn.Request{Type: typeSleep, Flags: 300})
	require.NoError(t, err)
	stop := make(chan struct{})
	var asked atomic.Int64
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				_, err := p.Do(soon(t), pconn.Request{Payload: []byte("x")})
				if !assert.NoError(t, err) {
					return
				}
				asked.Add(1)
			}
		})
	}
	for range 2 {
		require.NoError(t, p.Replace(soon(t)))
	}
	close(stop)
	load.Wait()
	require.Greater(t, asked.Load(), int64(10))
	resp, err := slow.Wait(soon(t))
	require.NoError(t, err)
	pid, err := strconv.Atoi(string(resp.Payload))
	require.NoError(t, err)
	require.True(t, old[pid])
	for _, s := range p.Status() {
		require.False(t, old[s.Child.PID()])
		require.Equal(t, 2, s.Restarts)
	}
	require.NoError(t, p.Close())
}

func TestReplaceFails(t *testing.T) {
	var broken atomic.Bool
	good := command(filepath.Join(t.TempDir(), "none"))
	p, err := pool.Start(t.Context(), func() *exec.Cmd {
		if broken.Load() {
			return exec.Command("/no/such/program")
		}
		return good()
	}, nil)
	require.NoError(t, err)
	defer p.Close()
	pid := pidOf(t, p)
	broken.Store(true)
	require.ErrorIs(t, p.Replace(soon(t)), os.ErrNotExist)
	require.Equal(t, pid, pidOf(t, p), "the old one stays")

	broken.Store(false)
	slow, err := p.Submit(soon(t), pconn.Request{Type: typeSleep, Flags: 60_000})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.Equal(t, context.DeadlineExceeded, p.Replace(ctx))
	_, err = slow.Wait(soon(t))
	require.ErrorIs(t, err, pconn.ErrClosed)
	require.NotEqual(t, pid, pidOf(t, p))
}

// A child that gives no sign of life is killed, and whoever waited for it is told why.
func TestUnhealthyChildIsReplaced(t *testing.T) {
	p := start(t, pool.Options{
		HealthEvery: 20 * time.Millisecond, HealthTimeout: 100 * time.Millisecond,
		Healthy: func(ctx context.Context, c *endpoint.Child) error {
			_, err := c.Do(ctx, pconn.Request{})
			return err
		},
	})
	pid := pidOf(t, p)
	stopProcess(t, pid)
	_, err := p.Do(soon(t), pconn.Request{})
	exit := exitOf(t, err)
	require.Equal(t, syscall.SIGKILL, exit.Signal)
	require.Equal(t, pid, exit.PID)
	require.NotEqual(t, pid, pidOf(t, p))
	require.ErrorContains(t, p.Status()[0].Err, "not healthy")
	require.ErrorIs(t, p.Status()[0].Err, context.DeadlineExceeded)
}

func TestSubmit(t *testing.T) {
	p := start(t, pool.Options{})
	payload := []byte("before")
	r, err := p.Submit(soon(t), pconn.Request{Payload: payload, Decode: func(resp pconn.Response) (any, error) { return string(resp.Payload), nil }})
	require.NoError(t, err)
	copy(payload, "after!")
	v, err := r.Value(soon(t))
	require.NoError(t, err)
	require.Equal(t, "before", v)

	r, err = p.Submit(soon(t), pconn.Request{Type: 99})
	require.NoError(t, err)
	_, err = r.Wait(soon(t))
	var remote *pconn.RemoteError
	require.ErrorAs(t, err, &remote)
	_, err = p.Submit(soon(t), pconn.Request{Flags: 1 << 62})
	require.Equal(t, pconn.ErrFlags, err)

	require.NoError(t, p.Close())
}

// One that is given up while it waits to be repeated is not.
func TestSubmitIsCancelled(t *testing.T) {
	p := start(t, pool.Options{MinDelay: time.Hour})
	r, err := p.Submit(soon(t), pconn.Request{Type: typeExit, Idempotent: true})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return p.Status()[0].Err != nil }, 10*time.Second, time.Millisecond)
	require.True(t, r.Cancel())
	_, err = r.Wait(soon(t))
	require.Equal(t, pconn.ErrCancelled, err)
}

func TestShutdownFinishes(t *testing.T) {
	p := start(t, pool.Options{Size: 2})
	slow, err := p.Submit(soon(t), pconn.Request{Type: typeSleep, Flags: 200})
	require.NoError(t, err)
	require.NoError(t, p.Shutdown(soon(t)))
	_, err = slow.Wait(soon(t))
	require.NoError(t, err)
	_, err = p.Do(soon(t), pconn.Request{})
	require.Equal(t, pool.ErrClosed, err)

	p = start(t, pool.Options{})
	slow, err = p.Submit(soon(t), pconn.Request{Type: typeSleep, Flags: 60_000})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Equal(t, context.DeadlineExceeded, p.Shutdown(ctx))
	_, err = slow.Wait(soon(t))
	require.ErrorIs(t, err, pconn.ErrClosed)
}

func TestTypedCalls(t *testing.T) {
	p := start(t, pool.Options{})
	for _, c := range []pconn.Caller{p, p.Repeatable()} {
		got, err := pconn.Call[[]int, []int](soon(t), c, typeEcho, []int{1, 2})
		require.NoError(t, err)
		require.Equal(t, []int{1, 2}, got)
	}
}

func TestStartFails(t *testing.T) {
	good := command(filepath.Join(t.TempDir(), "none"))
	var n atomic.Int32
	_, err := pool.Start(t.Context(), func() *exec.Cmd {
		if n.Add(1) == 2 {
			return exec.Command("/no/such/program")
		}
		cmd := good()
		cmd.Stderr = io.Discard
		return cmd
	}, &pool.Options{Size: 3})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Empty(t, childrenOf(t))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = pool.Start(ended, good, nil)
	require.Equal(t, context.Canceled, err)
	for text, opts := range map[string]pool.Options{
		"Size":      {Size: -1},
		"MinDelay":  {MinDelay: -1},
		"less than": {MinDelay: 2, MaxDelay: 1},
		"Failures":  {Failures: -1},
	} {
		_, err := pool.Start(t.Context(), good, &opts)
		require.ErrorContains(t, err, text)
	}
}

// Whatever needs a net.Conn has one to some child, and another if that child has ended.
func TestDialContext(t *testing.T) {
	p := start(t, pool.Options{Size: 2})
	for range 4 {
		var conn net.Conn
		require.Eventually(t, func() bool { // a new child refuses until it listens
			var err error
			conn, err = p.DialContext(soon(t), "tcp", "upper")
			return err == nil
		}, 10*time.Second, time.Millisecond)
		var err error
		_, err = conn.Write([]byte("through a stream\n"))
		require.NoError(t, err)
		line, err := stdbufio.NewReader(conn).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "THROUGH A STREAM\n", line)
		require.NoError(t, conn.Close())
		for _, s := range p.Status() {
			if s.Child != nil {
				_ = s.Child.Signal(syscall.SIGKILL) // if not, it is about to be followed
				<-s.Child.Done()
				break
			}
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := p.DialContext(ended, "tcp", "upper")
	require.ErrorIs(t, err, context.Canceled)
}

// A child that goes away finishes what it has, another takes its place, and no call is lost.
func TestChildGoesAway(t *testing.T) {
	p := start(t, pool.Options{})
	first := pidOf(t, p)
	slow, err := p.Submit(soon(t), pconn.Request{Type: typeSleep, Flags: 300})
	require.NoError(t, err)
	_, err = p.Do(soon(t), pconn.Request{Type: typeGoAway})
	require.NoError(t, err)
	require.NotEqual(t, first, pidOf(t, p))
	resp, err := slow.Wait(soon(t))
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(first), string(resp.Payload))
	require.NoError(t, p.Close())
}

// Health is asked by a ping, if nothing else is said, and not of a child that has none.
func TestHealthByPing(t *testing.T) {
	p := start(t, pool.Options{HealthEvery: 10 * time.Millisecond, HealthTimeout: 2 * time.Second})
	pid := pidOf(t, p)
	require.Never(t, func() bool { return p.Status()[0].Restarts > 0 }, 100*time.Millisecond, 10*time.Millisecond)
	stopProcess(t, pid)
	require.NotEqual(t, pid, pidOf(t, p))
	require.ErrorContains(t, p.Status()[0].Err, "not healthy")
	require.NoError(t, p.Close())

	p = start(t, pool.Options{HealthEvery: time.Millisecond, Start: endpoint.StartOptions{Conn: pconn.Options{Extensions: pconn.ExtensionsOff}}})
	require.Never(t, func() bool { return p.Status()[0].Restarts > 0 }, 50*time.Millisecond, 10*time.Millisecond)
}

var (
	_ endpoint.Caller = (*pool.Pool)(nil)
	_ endpoint.Caller = (*endpoint.Child)(nil)
	_ endpoint.Caller = (*endpoint.Conn)(nil)
	_ endpoint.Caller = (*pconn.Conn)(nil)
)
