//go:build linux

package endpoint_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/bufio"
	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

// quoted is a helper as an exec: endpoint.
func quoted(mode string, args ...string) string {
	cmd := childtest.Command(mode, args...)
	e := endpoint.Exec{Args: append([]string{"env", childtest.Variable + "=" + mode, cmd.Path}, args...)}
	return e.String()
}

func TestDialExec(t *testing.T) {
	childtest.NoLeaks(t)
	conn, err := endpoint.Dial(t.Context(), quoted("serve"), &pconn.Options{Handler: pconn.HandlerFunc(echo)})
	require.NoError(t, err)
	resp, err := conn.Do(t.Context(), pconn.Request{Type: typeBack, Payload: []byte("there and back")})
	require.NoError(t, err)
	require.Equal(t, "there and back", string(resp.Payload))
	require.Equal(t, conn.Child().PID(), conn.Peer().PID)
	require.NoError(t, conn.Shutdown(t.Context()))
	<-conn.Done()
	require.NoError(t, conn.Wait())
	require.NoError(t, conn.Close())

	_, err = endpoint.Dial(t.Context(), "exec:/no/such/program", nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Serving a command is answering what it asks, until it ends.
func TestServeExec(t *testing.T) {
	childtest.NoLeaks(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	asked := make(chan *pconn.Conn, 1)
	handler := pconn.HandlerFunc(func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
		asked <- req.Conn
		return pconn.None(), nil
	})
	err := endpoint.Serve(ctx, quoted("exit", "7"), &pconn.Options{Handler: handler})
	require.Equal(t, 7, childtest.ExitOf(t, err).Code)
	require.NoError(t, endpoint.Serve(ctx, quoted("exit", "0"), nil))

	served := make(chan error, 1)
	go func() { served <- endpoint.Serve(ctx, quoted("serve"), &pconn.Options{Handler: handler}) }()
	require.Eventually(t, func() bool { return len(childtest.Children(t)) > 0 }, 5*time.Second, time.Millisecond)
	cancel()
	require.NoError(t, <-served, "it drains")
}

// Dial and Serve of descriptors meet, over pipes and over one socket.
func TestFDBothWays(t *testing.T) {
	meet := func(t *testing.T, here, there string) {
		conn, err := endpoint.Dial(t.Context(), here, &pconn.Options{Handler: pconn.HandlerFunc(echo)})
		require.NoError(t, err)
		served := make(chan error, 1)
		go func() {
			served <- endpoint.Serve(context.Background(), there, &pconn.Options{Handler: helperMux(nil)})
		}()
		resp, err := conn.Do(t.Context(), pconn.Request{Type: typeBack, Payload: []byte("x")})
		require.NoError(t, err)
		require.Equal(t, "x", string(resp.Payload))
		require.Equal(t, here, conn.Name())
		require.Nil(t, conn.Child())
		require.NoError(t, conn.Shutdown(t.Context()))
		require.NoError(t, <-served)
		require.NoError(t, conn.Wait())
		<-conn.Done()
	}
	t.Run("pipes", func(t *testing.T) {
		childtest.NoLeaks(t)
		r1, w1, err := os.Pipe()
		require.NoError(t, err)
		r2, w2, err := os.Pipe()
		require.NoError(t, err)
		defer closeFiles(r1, w1, r2, w2)
		// Twice, since the descriptors stay open.
		for range 2 {
			meet(t, fmt.Sprintf("fd:%d,%d", r1.Fd(), w2.Fd()), fmt.Sprintf("fd:%d,%d", r2.Fd(), w1.Fd()))
		}
	})
	t.Run("socket", func(t *testing.T) {
		childtest.NoLeaks(t)
		a, b := socketPair(t)
		defer closeFiles(a, b)
		meet(t, fmt.Sprintf("fd:%d", a.Fd()), fmt.Sprintf("fd:%d", b.Fd()))
	})
}

func TestFDRefusals(t *testing.T) {
	childtest.NoLeaks(t)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer closeFiles(r, w)
	for _, e := range []endpoint.FD{{R: 9999, W: int(w.Fd())}, {R: int(r.Fd()), W: 9999}, {R: int(w.Fd()), W: int(w.Fd())}, {R: -1, W: -1}} {
		_, err := e.Dial(t.Context(), nil)
		var derr *bufio.DescriptorError
		require.ErrorAs(t, err, &derr)
		require.ErrorIs(t, err, syscall.EBADF)
	}
	_, err = endpoint.FD{R: int(r.Fd()), W: int(w.Fd())}.Dial(t.Context(), &pconn.Options{Grace: -1})
	require.ErrorContains(t, err, "Grace")
}

// A helper that is given descriptors beside its standard ones may print as it likes.
func TestHelperOnExtraDescriptors(t *testing.T) {
	childtest.NoLeaks(t)
	r1, w1, err := os.Pipe()
	require.NoError(t, err)
	r2, w2, err := os.Pipe()
	require.NoError(t, err)
	cmd := childtest.Command("serve endpoint", "fd:3,4")
	cmd.ExtraFiles = []*os.File{r1, w2}
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	require.NoError(t, cmd.Start())
	closeFiles(r1, w2)
	talk(t, r2, w1)
	closeFiles(w1, r2)
	require.NoError(t, cmd.Wait())
	require.Equal(t, "a stray print\nand another\n", stdout.String())
}

// Sockets, both ways round, with clients at the same time, in another process.
func TestSocketsBothWays(t *testing.T) {
	for scheme, where := range map[string]func(t *testing.T) string{
		"unix": func(t *testing.T) string { return "unix:" + t.TempDir() + "/s" },
		"tcp":  func(*testing.T) string { return "tcp:127.0.0.1:0" },
	} {
		t.Run(scheme, func(t *testing.T) {
			childtest.NoLeaks(t)
			l, err := endpoint.Listen(t.Context(), where(t))
			require.NoError(t, err)
			addr := scheme + ":" + l.Addr().String()
			require.False(t, strings.HasSuffix(addr, ":0"))
			peers := make(chan pconn.Peer, 8)
			mux := helperMux(nil)
			mux.HandleFunc(typeInspect, func(_ context.Context, req *pconn.Request) (pconn.Reply, error) {
				peers <- req.Peer()
				return pconn.None(), nil
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			served := make(chan error, 1)
			go func() { served <- l.Serve(ctx, &pconn.Options{Handler: mux}) }()

			var clients sync.WaitGroup
			for range 2 {
				clients.Go(func() { client(t, addr) })
			}
			clients.Wait()
			for range 2 {
				p := <-peers
				require.NotNil(t, p.Addr)
				if scheme == "unix" {
					require.Equal(t, pconn.Peer{PID: os.Getpid(), UID: os.Getuid(), HasUID: true, Addr: p.Addr}, p)
				}
			}
			client(t, addr)
			cancel()
			require.NoError(t, <-served)
			_, err = endpoint.Dial(t.Context(), addr, nil)
			require.Error(t, err, "nobody listens any more")
		})
	}
}

// client calls a helper and is called by it.
func client(t *testing.T, addr string) {
	conn, err := endpoint.Dial(t.Context(), addr, &pconn.Options{Handler: pconn.HandlerFunc(echo)})
	if !assert.NoError(t, err) {
		return
	}
	defer conn.Close()
	for range 50 {
		resp, err := conn.Do(t.Context(), pconn.Request{Type: typeBack, Payload: []byte("x")})
		assert.NoError(t, err)
		assert.Equal(t, "x", string(resp.Payload))
	}
	_, err = conn.Do(t.Context(), pconn.Request{Type: typeInspect})
	assert.NoError(t, err)
	assert.NoError(t, conn.Shutdown(t.Context()))
}

// Another process serves a socket until SIGTERM, and answers what was asked before.
func TestServerInAnotherProcess(t *testing.T) {
	childtest.NoLeaks(t)
	path := t.TempDir() + "/s"
	cmd := childtest.Command("serve endpoint", "unix:"+path)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	var conn *endpoint.Conn
	require.Eventually(t, func() bool {
		var err error
		conn, err = endpoint.Dial(t.Context(), "unix:"+path, nil)
		return err == nil
	}, 10*time.Second, 5*time.Millisecond)
	defer conn.Close()
	require.Equal(t, cmd.Process.Pid, conn.Peer().PID)
	_, err := conn.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait(), stderr.String())
	require.NoError(t, conn.Wait())
	_, err = os.Lstat(path)
	require.ErrorIs(t, err, os.ErrNotExist)
}
