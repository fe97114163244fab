//go:build linux

package endpoint_test

import (
	"context"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

func TestUnixMode(t *testing.T) {
	childtest.NoLeaks(t)
	defer unix.Umask(unix.Umask(0))
	for mode, want := range map[fs.FileMode]fs.FileMode{0: 0o600, 0o660: 0o660, 0o666: 0o666} {
		e := endpoint.Unix{Path: filepath.Join(t.TempDir(), "s"), Mode: mode}
		l, err := e.Listen(t.Context())
		require.NoError(t, err)
		st, err := os.Lstat(e.Path)
		require.NoError(t, err)
		require.Equal(t, want|fs.ModeSocket, st.Mode())
		require.NoError(t, l.Close())
		_, err = os.Lstat(e.Path)
		require.ErrorIs(t, err, fs.ErrNotExist)
	}
}

// leaveStale leaves a socket that nobody listens at.
func leaveStale(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
}

func TestUnixStaleSocket(t *testing.T) {
	childtest.NoLeaks(t)
	path := filepath.Join(t.TempDir(), "s")
	leaveStale(t, path)
	l, err := endpoint.Listen(t.Context(), "unix:"+path)
	require.NoError(t, err)
	serve(t, l, &pconn.Options{Handler: pconn.HandlerFunc(echo)})
	_, err = dial(t, l, nil).Do(t.Context(), pconn.Request{})
	require.NoError(t, err)

	_, err = endpoint.Listen(t.Context(), "unix:"+path)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.ErrorContains(t, err, "another process serves it")
	_, err = dial(t, l, nil).Do(t.Context(), pconn.Request{})
	require.NoError(t, err, "the one that is there goes on")
}

func TestUnixRemovesNothingElse(t *testing.T) {
	childtest.NoLeaks(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("precious"), 0o600))
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(file, link))
	for _, path := range []string{file, link, dir} {
		_, err := endpoint.Listen(t.Context(), "unix:"+path)
		require.ErrorIs(t, err, syscall.EADDRINUSE)
		_, err = os.Lstat(path)
		require.NoError(t, err)
	}
	// A socket of another kind refuses in another way, and stays.
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	datagrams := filepath.Join(dir, "datagrams")
	require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: datagrams}))
	_, err = endpoint.Listen(t.Context(), "unix:"+datagrams)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.ErrorContains(t, err, "cannot be told")
}

// Close removes its own socket, and none that has taken the path since.
func TestUnixCloseLeavesAnothersSocket(t *testing.T) {
	childtest.NoLeaks(t)
	path := filepath.Join(t.TempDir(), "s")
	l := listen(t, "unix:"+path)
	require.NoError(t, os.Remove(path))
	other, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer other.Close()
	require.NoError(t, l.Close())
	_, err = os.Lstat(path)
	require.NoError(t, err)
}

// Of many that find the same stale socket one serves, and the others are told.
func TestUnixStaleSocketRace(t *testing.T) {
	childtest.NoLeaks(t)
	path := filepath.Join(t.TempDir(), "s")
	leaveStale(t, path)
	var wg sync.WaitGroup
	listeners := make(chan *endpoint.Listener, 8)
	for range cap(listeners) {
		wg.Go(func() {
			l, err := endpoint.Listen(context.Background(), "unix:"+path)
			if err == nil {
				listeners <- l
			}
		})
	}
	wg.Wait()
	require.Len(t, listeners, 1)
	l := <-listeners
	nc, err := net.Dial("unix", path)
	require.NoError(t, err)
	require.NoError(t, nc.Close())
	require.NoError(t, l.Close())
}

// Another that holds the directory's lock is waited for, for as long as the context allows.
func TestUnixDirectoryLocked(t *testing.T) {
	childtest.NoLeaks(t)
	dir := t.TempDir()
	d, err := os.Open(dir)
	require.NoError(t, err)
	defer d.Close()
	require.NoError(t, unix.Flock(int(d.Fd()), unix.LOCK_EX))
	_, err = endpoint.Listen(t.Context(), "unix:"+filepath.Join(dir, "s"))
	require.ErrorContains(t, err, "lock "+dir)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = endpoint.Listen(ctx, "unix:"+filepath.Join(dir, "s"))
	require.Equal(t, context.Canceled, err)
}

// A name that looks like one without a file is a file.
func TestUnixPathThatBeginsWithAt(t *testing.T) {
	childtest.NoLeaks(t)
	t.Chdir(t.TempDir())
	l := listen(t, "unix:@s")
	st, err := os.Lstat("@s")
	require.NoError(t, err)
	require.Equal(t, fs.ModeSocket|0o600, st.Mode())
	require.NoError(t, l.Close())
}
