//go:build linux

package pool_test

import (
	stdbufio "bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/endpoint/pool"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

func TestRestart(t *testing.T) {
	p := start(t, pool.Options{})
	first := pidOf(t, p)
	hanging, err := p.Submit(childtest.Soon(t), pconn.Request{Type: typeSleep, Flags: 60_000})
	require.NoError(t, err)
	_, err = p.Do(childtest.Soon(t), pconn.Request{Type: typeExit, Flags: 7})
	exit := childtest.ExitOf(t, err)
	require.Equal(t, 7, exit.Code)
	require.Equal(t, first, exit.PID)
	require.Equal(t, "told to", string(exit.Stderr))
	_, err = hanging.Wait(childtest.Soon(t))
	require.Equal(t, exit, childtest.ExitOf(t, err), "pending calls fail with the same")

	require.NotEqual(t, first, pidOf(t, p), "a new call waits for the new child")
	status := p.Status()
	require.Len(t, status, 1)
	require.Equal(t, 1, status[0].Restarts)
	require.Equal(t, 0, status[0].Failures)
	require.Equal(t, 7, childtest.ExitOf(t, status[0].Err).Code)
	require.NoError(t, p.Close())
}

// A call of which nothing was written moves, one that was written fails.
func TestUnwrittenCallsMove(t *testing.T) {
	p := start(t, pool.Options{})
	first := pidOf(t, p)
	stopProcess(t, first)
	ask := func(size int) *pconn.Result {
		r, err := p.Submit(childtest.Soon(t), pconn.Request{Payload: bytes.Repeat([]byte("x"), size)})
		require.NoError(t, err)
		return r
	}
	begun := ask(4 << 20) // more than any pipe holds
	moves := ask(10)
	done := make(chan error, 1)
	go func() {
		_, err := p.Do(childtest.Soon(t), pconn.Request{Payload: make([]byte, 100_000)})
		done <- err
	}()
	require.Eventually(t, func() bool { return p.Status()[0].InFlight == 3 }, 10*time.Second, time.Millisecond)
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	_, err := begun.Wait(childtest.Soon(t))
	require.Equal(t, syscall.SIGKILL, childtest.ExitOf(t, err).Signal)
	resp, err := moves.Wait(childtest.Soon(t))
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
			_, err := ask(childtest.Soon(t), p, pconn.Request{Type: typeFile, Payload: []byte(file)})
			require.Equal(t, 1, childtest.ExitOf(t, err).Code, "it is not marked")
			require.NoError(t, os.WriteFile(file, nil, 0o600))
			resp, err := ask(childtest.Soon(t), p, pconn.Request{Type: typeFile, Payload: []byte(file), Idempotent: true})
			require.NoError(t, err)
			require.Equal(t, strconv.Itoa(pidOf(t, p)), string(resp.Payload))

			before := p.Status()[0].Restarts
			_, err = ask(childtest.Soon(t), p, pconn.Request{Type: typeExit, Flags: 3, Idempotent: true})
			require.Equal(t, 3, childtest.ExitOf(t, err).Code, "it makes every child end")
			pidOf(t, p)
			require.Equal(t, 3, p.Status()[0].Restarts-before)
		})
	}
}

func TestCallsWaitWithinTheirContext(t *testing.T) {
	p := start(t, pool.Options{MinDelay: time.Hour})
	_, err := p.Do(childtest.Soon(t), pconn.Request{Type: typeExit})
	childtest.ExitOf(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = p.Do(ctx, pconn.Request{})
	require.Equal(t, context.DeadlineExceeded, err)
	_, err = p.Submit(ctx, pconn.Request{})
	require.Equal(t, context.DeadlineExceeded, err)
	waiting := make(chan error, 1)
	go func() {
		_, err := p.Do(childtest.Soon(t), pconn.Request{})
		waiting <- err
	}()
	require.NoError(t, p.Close())
	require.Equal(t, pool.ErrClosed, <-waiting)
	require.ErrorIs(t, pool.ErrClosed, pconn.ErrClosed)
	_, err = p.Submit(childtest.Soon(t), pconn.Request{})
	require.Equal(t, pool.ErrClosed, err)
	require.Equal(t, pool.ErrClosed, p.Replace(childtest.Soon(t)))
}

// What stays down says so, and why, and comes back when it can.
func TestUnavailable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out of order")
	p := startFile(t, file, pool.Options{Size: 2, Failures: 2, MinDelay: 250 * time.Millisecond})
	for _, s := range p.Status() { // it has looked for the file before it answers
		_, err := s.Child.Do(childtest.Soon(t), pconn.Request{})
		require.NoError(t, err)
	}
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
			return errorAs(err, &down) && assert.ObjectsAreEqual(9, childtest.ExitOf(t, err).Code)
		}
	}
	require.Eventually(t, unavailable(func() error {
		_, err := p.Do(childtest.Soon(t), pconn.Request{Idempotent: true})
		return err
	}), 10*time.Second, time.Millisecond)
	require.GreaterOrEqual(t, down.Failures, 2)
	require.ErrorContains(t, down, "out of order")
	require.Eventually(t, unavailable(func() error {
		begin := time.Now()
		r, err := p.Submit(childtest.Soon(t), pconn.Request{})
		assert.Less(t, time.Since(begin), time.Second, "it does not wait")
		if err == nil {
			_, err = r.Wait(childtest.Soon(t))
		}
		return err
	}), 10*time.Second, time.Millisecond)

	require.NoError(t, os.Remove(file))
	require.Eventually(t, func() bool {
		_, err := p.Do(childtest.Soon(t), pconn.Request{Idempotent: true})
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
		r, err := p.Submit(childtest.Soon(t), pconn.Request{Type: typeSleep, Flags: 60_000})
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

func TestSubmit(t *testing.T) {
	p := start(t, pool.Options{})
	payload := []byte("before")
	r, err := p.Submit(childtest.Soon(t), pconn.Request{Payload: payload, Decode: func(resp pconn.Response) (any, error) { return string(resp.Payload), nil }})
	require.NoError(t, err)
	copy(payload, "after!")
	v, err := r.Value(childtest.Soon(t))
	require.NoError(t, err)
	require.Equal(t, "before", v)

	r, err = p.Submit(childtest.Soon(t), pconn.Request{Type: 99})
	require.NoError(t, err)
	_, err = r.Wait(childtest.Soon(t))
	var remote *pconn.RemoteError
	require.ErrorAs(t, err, &remote)
	_, err = p.Submit(childtest.Soon(t), pconn.Request{Flags: 1 << 62})
	require.Equal(t, pconn.ErrFlags, err)

	require.NoError(t, p.Close())
}

// One that is given up while it waits to be repeated is not.
func TestSubmitIsCancelled(t *testing.T) {
	p := start(t, pool.Options{MinDelay: time.Hour})
	r, err := p.Submit(childtest.Soon(t), pconn.Request{Type: typeExit, Idempotent: true})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return p.Status()[0].Err != nil }, 10*time.Second, time.Millisecond)
	require.True(t, r.Cancel())
	_, err = r.Wait(childtest.Soon(t))
	require.Equal(t, pconn.ErrCancelled, err)
}

func TestShutdownFinishes(t *testing.T) {
	p := start(t, pool.Options{Size: 2})
	slow, err := p.Submit(childtest.Soon(t), pconn.Request{Type: typeSleep, Flags: 200})
	require.NoError(t, err)
	require.NoError(t, p.Shutdown(childtest.Soon(t)))
	_, err = slow.Wait(childtest.Soon(t))
	require.NoError(t, err)
	_, err = p.Do(childtest.Soon(t), pconn.Request{})
	require.Equal(t, pool.ErrClosed, err)

	p = start(t, pool.Options{})
	slow, err = p.Submit(childtest.Soon(t), pconn.Request{Type: typeSleep, Flags: 60_000})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Equal(t, context.DeadlineExceeded, p.Shutdown(ctx))
	_, err = slow.Wait(childtest.Soon(t))
	require.ErrorIs(t, err, pconn.ErrClosed)
}

func TestTypedCalls(t *testing.T) {
	p := start(t, pool.Options{})
	for _, c := range []pconn.Caller{p, p.Repeatable()} {
		got, err := pconn.Call[[]int, []int](childtest.Soon(t), c, typeEcho, []int{1, 2})
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
	require.Empty(t, childtest.Children(t))
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
		require.Eventually(t, func() bool { // a new child refuses until it listens, which a Read is told
			conn, err := p.DialContext(childtest.Soon(t), "tcp", "upper")
			if err != nil {
				return false
			}
			defer func() { assert.NoError(t, conn.Close()) }()
			if _, err := conn.Write([]byte("through a stream\n")); err != nil {
				return false
			}
			line, err := stdbufio.NewReader(conn).ReadString('\n')
			return err == nil && assert.Equal(t, "THROUGH A STREAM\n", line)
		}, 10*time.Second, time.Millisecond)
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

var (
	_ endpoint.Caller = (*pool.Pool)(nil)
	_ endpoint.Caller = (*endpoint.Child)(nil)
	_ endpoint.Caller = (*endpoint.Conn)(nil)
	_ endpoint.Caller = (*pconn.Conn)(nil)
)
