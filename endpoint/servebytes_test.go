//go:build linux

package endpoint_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/internal/syncbuf"
)

// echoing serves bytes until the test ends: each connection is told what it says.
func echoing(t *testing.T, limits endpoint.Limits, log *syncbuf.Buffer) *endpoint.Listener {
	t.Helper()
	l := listen(t, "tcp:127.0.0.1:0")
	l.Limits = limits
	served := make(chan error, 1)
	go func() {
		served <- l.ServeBytes(context.Background(), slog.New(slog.NewTextHandler(log, nil)), func(_ context.Context, b endpoint.Transport) error {
			// Without their own ways to copy, for which the runtime keeps pipes.
			_, err := io.Copy(struct{ io.Writer }{b}, struct{ io.Reader }{b})
			return err
		})
	}()
	t.Cleanup(func() {
		l.Close()
		require.NoError(t, <-served)
	})
	return l
}

// bytesTo connects to a listener, until the test ends.
func bytesTo(t *testing.T, l *endpoint.Listener) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	require.NoError(t, nc.SetDeadline(time.Now().Add(20*time.Second)))
	return nc
}

// requireEcho says a byte and waits for it.
func requireEcho(t *testing.T, nc net.Conn) {
	t.Helper()
	_, err := nc.Write([]byte("x"))
	require.NoError(t, err)
	_, err = io.ReadFull(nc, make([]byte, 1))
	require.NoError(t, err)
}

func TestServeBytesLimitsConnections(t *testing.T) {
	childtest.NoLeaks(t)
	var log syncbuf.Buffer
	l := echoing(t, endpoint.Limits{MaxConns: 2}, &log)
	first, second := bytesTo(t, l), bytesTo(t, l)
	requireEcho(t, first)
	requireEcho(t, second)
	third := bytesTo(t, l)
	_, err := third.Write([]byte("y"))
	require.NoError(t, err)
	require.NoError(t, third.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err = third.Read(make([]byte, 1))
	require.ErrorContains(t, err, "timeout", "it was served beside the others")
	require.NoError(t, first.Close())
	require.NoError(t, third.SetReadDeadline(time.Now().Add(20*time.Second)))
	_, err = io.ReadFull(third, make([]byte, 1))
	require.NoError(t, err, "its turn has come")
	require.NoError(t, second.Close())
	require.NoError(t, third.Close())
}

// Without descriptors accepting pauses, those there are go on, and others are taken when there are some.
func TestServeBytesWithoutDescriptors(t *testing.T) {
	childtest.NoLeaks(t)
	var log syncbuf.Buffer
	l := echoing(t, endpoint.Limits{}, &log)
	first := bytesTo(t, l)
	requireEcho(t, first)
	acceptWithoutDescriptors(t, l, &log)
	requireEcho(t, first)
	requireEcho(t, bytesTo(t, l))
}

// acceptWithoutDescriptors has a client come while this process has no descriptor left to accept it with, and waits until
// the log says so.
func acceptWithoutDescriptors(t *testing.T, l *endpoint.Listener, log *syncbuf.Buffer) {
	t.Helper()
	// The client's socket is made before, and connected when there is no other descriptor left.
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer syscall.Close(fd)
	var old syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old))
	low := old
	low.Cur = uint64(fd) + 1
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low))
	fill := fillDescriptors()
	addr := l.Addr().(*net.TCPAddr)
	err = syscall.Connect(fd, &syscall.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())})
	paused := err == nil && waitFor(func() bool { return log.String() != "" })
	closeFiles(fill...)
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old))
	require.True(t, paused, "err %v", err)
	require.Contains(t, log.String(), "too many open files")
}
