//go:build linux

package endpoint_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/internal/syncbuf"
	"github.com/packetstream/packetstream/pconn"
)

// open opens an endpoint's bytes, which are closed when the test ends.
func open(t *testing.T, at string) endpoint.Transport {
	t.Helper()
	e, err := endpoint.Parse(at)
	require.NoError(t, err)
	transport, err := e.(endpoint.Opener).Open(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { transport.Close() })
	return transport
}

// joined serves a listener, each connection joined to an endpoint of its own, until the test ends.
func joined(t *testing.T, l *endpoint.Listener, to string, log *syncbuf.Buffer) (stop func() error) {
	t.Helper()
	e, err := endpoint.Parse(to)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- l.ServeBytes(ctx, slog.New(slog.NewTextHandler(log, nil)), func(ctx context.Context, a endpoint.Transport) error {
			b, err := e.(endpoint.Opener).Open(ctx)
			if err != nil {
				return err
			}
			return endpoint.Join(ctx, a, b, nil)
		})
	}()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-served
	})
	t.Cleanup(func() { stop() })
	return stop
}

// Each connection has a child of its own, and packets go both ways, through whatever is between.
func TestJoinChild(t *testing.T) {
	a := newAuthority(t)
	for name, at := range map[string]string{
		"unix": "unix:" + filepath.Join(t.TempDir(), "s"),
		"tcp":  "tcp:127.0.0.1:0",
		"tls":  "tls:127.0.0.1:0#" + a.files(t, "server", valid),
	} {
		t.Run(name, func(t *testing.T) {
			childtest.NoLeaks(t)
			var log syncbuf.Buffer
			l := listen(t, at)
			stop := joined(t, l, quoted("serve"), &log)
			where := name + ":" + l.Addr().String()
			if name == "tls" {
				where += "#ca=" + a.file
			}
			var pids [2]string
			for i := range pids {
				conn, err := endpoint.Dial(t.Context(), where, &pconn.Options{Handler: pconn.HandlerFunc(echo)})
				require.NoError(t, err)
				payload := bytes.Repeat([]byte("0123456789"), 50_000)
				resp, err := conn.Do(t.Context(), pconn.Request{Type: typeBack, Payload: payload})
				require.NoError(t, err)
				require.Equal(t, payload, resp.Payload)
				resp, err = conn.Do(t.Context(), pconn.Request{Type: typeInspect})
				require.NoError(t, err)
				pids[i] = string(resp.Payload)
				require.NoError(t, conn.Shutdown(t.Context()))
				require.NoError(t, conn.Wait())
			}
			require.NotEqual(t, pids[0], pids[1])
			require.NoError(t, stop())
			require.Empty(t, log.String())
		})
	}
}

// How a child ends is logged, and so is one that cannot be started.
func TestJoinChildThatFails(t *testing.T) {
	childtest.NoLeaks(t)
	for to, text := range map[string]string{
		quoted("exit", "7"): "exit status 7",
		"exec:/no/such":     "no such file",
	} {
		var log syncbuf.Buffer
		l := listen(t, "tcp:127.0.0.1:0")
		stop := joined(t, l, to, &log)
		nc, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, nc)
		require.NoError(t, nc.Close())
		require.True(t, waitFor(func() bool { return log.String() != "" }))
		require.Contains(t, log.String(), text)
		require.NoError(t, stop())
	}
}

// The end of each direction is passed on, and leaves the other open.
func TestJoinHalfClose(t *testing.T) {
	a := newAuthority(t)
	for name, at := range map[string]string{
		"unix":     "unix:" + filepath.Join(t.TempDir(), "s"),
		"abstract": "unix-abstract:" + t.Name(),
		"tcp":      "tcp:127.0.0.1:0",
		"tls":      "tls:127.0.0.1:0#" + a.files(t, "server", valid),
	} {
		t.Run(name, func(t *testing.T) {
			childtest.NoLeaks(t)
			var log syncbuf.Buffer
			l := listen(t, at)
			stop := joined(t, l, "exec:sha256sum", &log) // says nothing before the end of its input
			where := map[string]string{
				"unix":     "unix:" + l.Addr().String(),
				"abstract": at,
				"tcp":      "tcp:" + l.Addr().String(),
				"tls":      "tls:" + l.Addr().String() + "#ca=" + a.file,
			}[name]
			conn := open(t, where)
			data := bytes.Repeat([]byte("packet"), 300_000)
			n, err := conn.Write(data)
			require.NoError(t, err)
			require.Equal(t, len(data), n)
			require.NoError(t, conn.CloseWrite())
			sum, err := io.ReadAll(conn)
			require.NoError(t, err)
			want := sha256.Sum256(data)
			require.Contains(t, string(sum), hex.EncodeToString(want[:]))
			require.NoError(t, stop())
			require.Empty(t, log.String())
		})
	}
}

// Two connected endpoints are joined once; descriptors too.
func TestJoinDescriptors(t *testing.T) {
	childtest.NoLeaks(t)
	ours, theirs := socketPair(t)
	defer closeFiles(ours)
	fd := open(t, fmt.Sprintf("fd:%d", theirs.Fd()))
	require.NoError(t, theirs.Close())
	result := make(chan error, 1)
	command := open(t, "exec:tr a-z A-Z")
	go func() { result <- endpoint.Join(t.Context(), fd, command, nil) }()
	_, err := ours.Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, syscall.Shutdown(int(ours.Fd()), syscall.SHUT_WR))
	all, err := io.ReadAll(ours)
	require.NoError(t, err)
	require.Equal(t, "HELLO", string(all))
	require.NoError(t, <-result)
}

// A client that is gone, in whatever way, takes its child with it.
func TestJoinClientIsGone(t *testing.T) {
	childtest.NoLeaks(t)
	for name, leave := range map[string]func(*net.TCPConn) error{
		"closed": (*net.TCPConn).Close,
		"reset": func(c *net.TCPConn) error {
			return errors.Join(c.SetLinger(0), c.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			var log syncbuf.Buffer
			l := listen(t, "tcp:127.0.0.1:0")
			joined(t, l, "exec:cat", &log)
			nc, err := net.Dial("tcp", l.Addr().String())
			require.NoError(t, err)
			_, err = nc.Write([]byte("x"))
			require.NoError(t, err)
			_, err = io.ReadFull(nc, make([]byte, 1))
			require.NoError(t, err)
			require.Len(t, childtest.Children(t), 1)
			require.NoError(t, leave(nc.(*net.TCPConn)))
			require.Eventually(t, func() bool { return len(childtest.Children(t)) == 0 }, 10*time.Second, 5*time.Millisecond)
		})
	}
}

// A writer whose reader has gone does not hang, and what that one said last arrives.
func TestJoinPeerStopsReading(t *testing.T) {
	childtest.NoLeaks(t)
	var log syncbuf.Buffer
	l := listen(t, "tcp:127.0.0.1:0")
	joined(t, l, "exec:sh -c 'exec <&-; echo last words'", &log)
	nc, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	words, err := io.ReadAll(nc)
	require.NoError(t, err)
	require.Equal(t, "last words\n", string(words))
	// Sooner or later a write finds out.
	require.True(t, waitFor(func() bool {
		_, err := nc.Write(make([]byte, 1<<10))
		return err != nil
	}))
}

// The end of a server lets what was asked be answered.
func TestJoinDrains(t *testing.T) {
	childtest.NoLeaks(t)
	var log syncbuf.Buffer
	l := listen(t, "unix:"+filepath.Join(t.TempDir(), "s"))
	stop := joined(t, l, quoted("serve"), &log)
	conn := dial(t, l, &pconn.Options{Handler: pconn.HandlerFunc(func(ctx context.Context, req *pconn.Request) (pconn.Reply, error) {
		return echo(ctx, req)
	})})
	_, err := conn.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
	require.NoError(t, stop())
	require.NoError(t, conn.Wait(), "the child has said goodbye")
	require.ErrorIs(t, conn.Err(), pconn.ErrPeerClosed)
}

// One that does not heed the end is stopped.
func TestJoinDoesNotDrain(t *testing.T) {
	childtest.NoLeaks(t)
	ours, theirs := net.Pipe()
	defer ours.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	began := time.Now()
	err := endpoint.Join(ctx, pipeEnd{theirs}, open(t, "exec:sleep 60"), nil)
	require.ErrorIs(t, err, endpoint.ErrNotDrained)
	require.Contains(t, childtest.ExitOf(t, err).Error(), "stopped by SIGTERM")
	require.Less(t, time.Since(began), 15*time.Second)
}

// pipeEnd is a net.Pipe's end as a Transport.
type pipeEnd struct{ net.Conn }

func (p pipeEnd) CloseWrite() error { return p.Close() }

func TestOpenRefusals(t *testing.T) {
	childtest.NoLeaks(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, e := range []endpoint.Opener{
		endpoint.Exec{Args: []string{"cat"}}, endpoint.SSH{Host: "h", Command: "c"}, endpoint.Stdio{}, endpoint.FD{R: 0, W: 1},
		endpoint.Unix{Path: "/no"}, endpoint.UnixAbstract{Name: "no"}, endpoint.TCP{Addr: "127.0.0.1:1"}, endpoint.TLS{Addr: "127.0.0.1:1"},
	} {
		_, err := e.Open(ended)
		require.Equal(t, context.Canceled, err, e)
	}
	_, err := endpoint.Exec{}.Open(t.Context())
	require.ErrorContains(t, err, "a command is missing")
	_, err = endpoint.Exec{Args: []string{"/no/such"}}.Open(t.Context())
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = endpoint.Activation{}.Open(t.Context())
	require.ErrorIs(t, err, endpoint.ErrNotActivated)
	_, err = endpoint.FD{R: 9999, W: 9999}.Open(t.Context())
	require.ErrorIs(t, err, syscall.EBADF)
}
