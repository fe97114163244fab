//go:build linux

package endpoint_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/internal/syncbuf"
	"github.com/packetstream/packetstream/pconn"
)

// serve serves a listener until the test ends, and returns how to end it.
func serve(t *testing.T, l *endpoint.Listener, opts *pconn.Options) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx, opts) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-served
	})
	t.Cleanup(func() { stop() })
	return stop
}

func dial(t *testing.T, l *endpoint.Listener, opts *pconn.Options) *endpoint.Conn {
	t.Helper()
	conn, err := endpoint.Dial(t.Context(), l.Addr().Network()+":"+l.Addr().String(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func listen(t *testing.T, where string) *endpoint.Listener {
	t.Helper()
	l, err := endpoint.Listen(t.Context(), where)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func TestListenerLimitsConnections(t *testing.T) {
	childtest.NoLeaks(t)
	l := listen(t, "tcp:127.0.0.1:0")
	l.Limits.MaxConns = 1
	serve(t, l, &pconn.Options{Handler: pconn.HandlerFunc(echo)})
	first := dial(t, l, nil)
	_, err := first.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
	second := dial(t, l, nil)
	result, err := second.Submit(t.Context(), pconn.Request{})
	require.NoError(t, err)
	select {
	case <-result.Done():
		t.Fatal("the second was served beside the first")
	case <-time.After(50 * time.Millisecond):
	}
	require.NoError(t, first.Shutdown(t.Context()))
	_, err = result.Wait(t.Context())
	require.NoError(t, err, "its turn has come")

	for _, n := range []int{-1, endpoint.MaxConns + 1} {
		bad := listen(t, "tcp:127.0.0.1:0")
		bad.Limits.MaxConns = n
		require.ErrorContains(t, bad.Serve(t.Context(), nil), "MaxConns")
	}
}

// The end of a server's context lets what was asked be answered.
func TestListenerDrains(t *testing.T) {
	childtest.NoLeaks(t)
	l := listen(t, "unix:"+filepath.Join(t.TempDir(), "s"))
	entered, leave := make(chan struct{}), make(chan struct{})
	stop := serve(t, l, &pconn.Options{Handler: pconn.HandlerFunc(func(context.Context, *pconn.Request) (pconn.Reply, error) {
		close(entered)
		<-leave
		return pconn.Text("late"), nil
	})})
	conn := dial(t, l, nil)
	result, err := conn.Submit(t.Context(), pconn.Request{})
	require.NoError(t, err)
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	require.Eventually(t, func() bool {
		nc, err := net.Dial("unix", l.Addr().String())
		if err == nil {
			nc.Close()
		}
		return err != nil
	}, 5*time.Second, time.Millisecond, "it still takes connections")
	close(leave)
	resp, err := result.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, "late", string(resp.Payload))
	require.NoError(t, <-stopped)
}

// One that does not end is closed, and named.
func TestListenerDoesNotDrain(t *testing.T) {
	childtest.NoLeaks(t)
	l := listen(t, "tcp:127.0.0.1:0")
	entered := make(chan struct{})
	stop := serve(t, l, &pconn.Options{
		DrainTimeout: 50 * time.Millisecond,
		Handler: pconn.HandlerFunc(func(ctx context.Context, _ *pconn.Request) (pconn.Reply, error) {
			close(entered)
			<-ctx.Done()
			return pconn.None(), nil
		}),
	})
	conn := dial(t, l, nil)
	_, err := conn.Submit(t.Context(), pconn.Request{})
	require.NoError(t, err)
	<-entered
	require.ErrorIs(t, stop(), endpoint.ErrNotDrained)
}

// Close ends Serve and Accept, in good order.
func TestListenerClose(t *testing.T) {
	childtest.NoLeaks(t)
	l := listen(t, "tcp:127.0.0.1:0")
	accepted := make(chan error, 1)
	go func() {
		_, err := l.Accept(context.Background(), nil)
		accepted <- err
	}()
	require.NoError(t, l.Close())
	require.ErrorIs(t, <-accepted, endpoint.ErrListenerClosed)
	require.NoError(t, l.Close())
	require.NoError(t, l.Serve(t.Context(), nil))
}

// Accept hands out connections, for who wants to call those that come.
func TestListenerAccept(t *testing.T) {
	childtest.NoLeaks(t)
	l := listen(t, "tcp:127.0.0.1:0")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := l.Accept(ctx, nil)
	require.Equal(t, context.DeadlineExceeded, err)
	_, err = l.Accept(ctx, nil)
	require.Equal(t, context.DeadlineExceeded, err)

	client := dial(t, l, &pconn.Options{Handler: pconn.HandlerFunc(echo)})
	conn, err := l.Accept(t.Context(), nil)
	require.NoError(t, err, "the deadline is gone")
	resp, err := conn.Do(t.Context(), pconn.Request{Payload: []byte("x")})
	require.NoError(t, err)
	require.Equal(t, "x", string(resp.Payload))
	require.Equal(t, client.Peer().Addr, l.Addr())
	require.NoError(t, conn.Shutdown(t.Context()))

	dial(t, l, nil)
	_, err = l.Accept(t.Context(), &pconn.Options{Grace: -1})
	require.ErrorContains(t, err, "Grace")
}

// How a connection ends is logged, and concerns no other.
func TestListenerGoesOnAfterGarbage(t *testing.T) {
	childtest.NoLeaks(t)
	l := listen(t, "tcp:127.0.0.1:0")
	var log syncbuf.Buffer
	serve(t, l, &pconn.Options{Handler: pconn.HandlerFunc(echo), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	conn := dial(t, l, nil)
	garbage, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer garbage.Close()
	_, err = garbage.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	require.NoError(t, err)
	_, err = garbage.Read(make([]byte, 100))
	require.NoError(t, err, "EOF is sent")
	_, err = conn.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return log.String() != "" }, 5*time.Second, time.Millisecond)
	require.Contains(t, log.String(), "connection ended")
}

// Without descriptors accepting pauses, and goes on when there are some.
func TestListenerWithoutDescriptors(t *testing.T) {
	childtest.NoLeaks(t)
	l := listen(t, "tcp:127.0.0.1:0")
	var log syncbuf.Buffer
	serve(t, l, &pconn.Options{Handler: pconn.HandlerFunc(echo), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	conn := dial(t, l, nil)
	_, err := conn.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)

	acceptWithoutDescriptors(t, l, &log)
	last := dial(t, l, nil)
	_, err = last.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
}

// fillDescriptors opens files until there are no more descriptors.
func fillDescriptors() []*os.File {
	var files []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return files
		}
		files = append(files, f)
	}
}

func waitFor(cond func() bool) bool {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		if cond() {
			return true
		}
		time.Sleep(time.Millisecond)
	}
	return false
}
