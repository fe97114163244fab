package pconn_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/pconn"
)

func TestCloseAgainstAPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := rawSized(t, nil, 1<<10, 1<<10)
		r, err := p.conn.Submit(t.Context(), pconn.Request{Payload: pattern(100_000)})
		require.NoError(t, err)
		synctest.Wait()
		begun := time.Now()
		require.NoError(t, p.conn.Close())
		require.LessOrEqual(t, time.Since(begun), pconn.DefaultCloseTimeout)
		_, err = r.Wait(t.Context())
		require.Equal(t, pconn.ErrClosed, err)
	})
}

func TestShutdownAgainstAPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := rawSized(t, nil, 1<<10, 1<<10)
		require.NoError(t, p.conn.Notify(t.Context(), pconn.Request{Payload: pattern(100_000)}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begun := time.Now()
		require.True(t, p.conn.Shutdown(ctx) == context.DeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(begun))
		<-p.conn.Done()
		require.LessOrEqual(t, time.Since(begun), time.Minute+pconn.DefaultCloseTimeout)
	})
}

// stuck is a reader and writer without deadlines that does not return until it is freed.
type stuck struct{ free chan struct{} }

func (s stuck) Read([]byte) (int, error)  { <-s.free; return 0, io.EOF }
func (s stuck) Write([]byte) (int, error) { <-s.free; return 0, errors.New("freed") }

func TestStuckReaderAndWriter(t *testing.T) {
	s := stuck{make(chan struct{})}
	defer close(s.free) // what was left behind ends, or is found by the check for leaked goroutines
	conn, err := pconn.New(bufio.NewInput(s), bufio.NewOutput(s), &pconn.Options{CloseTimeout: 100 * time.Millisecond})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	payload := filled(100_000, 1)
	_, err = conn.Do(ctx, pconn.Request{Payload: payload})
	require.True(t, err == context.DeadlineExceeded)
	overwrite(payload) // -race sees a write that still has it
	r, err := conn.Submit(soon(t), pconn.Request{})
	require.NoError(t, err)
	down := make(chan error, 1)
	go func() { down <- conn.Shutdown(ctx) }()
	require.True(t, receiveFrom(t, down) == context.DeadlineExceeded)
	within(t, func() { require.NoError(t, conn.Close()) })
	_, err = r.Wait(soon(t))
	require.ErrorIs(t, err, pconn.ErrClosed)
	within(t, func() { conn.Wait() })
}

// TestPeerClosesItsInputOnly has answers arrive although nothing can be sent any more.
func TestPeerClosesItsInputOnly(t *testing.T) {
	keepsDescriptors(t)
	p := rawPipes(t, serve(echo))
	first := do(soon(t), p.conn, pconn.Request{Type: 1})
	tag1 := p.expectRequest(1, "")
	second := do(soon(t), p.conn, pconn.Request{Type: 2})
	p.expectRequest(2, "")
	require.NoError(t, p.in.Close())
	require.NoError(t, p.conn.Notify(soon(t), pconn.Request{})) // finds the pipe broken
	p.write(response(tag1, "late but good"))
	got := receiveFrom(t, first)
	require.NoError(t, got.err)
	require.Equal(t, "late but good", string(got.resp.Payload))
	require.ErrorIs(t, receiveFrom(t, second).err, pconn.ErrPeerGone)
	require.ErrorIs(t, p.conn.Wait(), pconn.ErrPeerGone)
	_, err := p.conn.Do(soon(t), pconn.Request{})
	require.True(t, err == p.conn.Err())
}

// TestCallsAfterAFailedWrite get what everybody gets.
func TestCallsAfterAFailedWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := raw(t, nil)
		require.NoError(t, p.in.Close())
		begun := time.Now()
		require.NoError(t, p.conn.Notify(t.Context(), pconn.Request{})) // finds that nobody reads
		_, err := p.conn.Do(t.Context(), pconn.Request{})
		require.ErrorIs(t, err, pconn.ErrPeerGone)
		require.True(t, err == p.conn.Err())
		require.Equal(t, time.Second, time.Since(begun))
	})
}

// TestPeerClosesItsOutputOnly has requests answered after the peer's stream has ended.
func TestPeerClosesItsOutputOnly(t *testing.T) {
	keepsDescriptors(t)
	g := newGate(t)
	p := rawPipes(t, serve(g.serve))
	p.write(request(5, 1, "x"))
	receiveFrom(t, g.entered)
	require.NoError(t, p.out.Close())
	eventually(t, "the end is seen", func() bool { return p.conn.Err() == pconn.ErrPeerClosed })
	g.release()
	p.expectResponse(5, true, "x")
	p.expectEOF()
	require.NoError(t, p.conn.Wait())
}
