//go:build linux

package endpoint_test

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/internal/syncbuf"
	"github.com/packetstream/packetstream/pconn"
)

// another is a user that this process is not.
const another = 4321

// Sockets look who is at the other end, from both ends.
func TestUsers(t *testing.T) {
	self := os.Getuid()
	for name, e := range map[string]func(uids []int) endpoint.Listenable{
		"file": func(uids []int) endpoint.Listenable {
			return endpoint.Unix{Path: filepath.Join(t.TempDir(), "s"), UIDs: uids}
		},
		"abstract": func(uids []int) endpoint.Listenable { return endpoint.UnixAbstract{Name: t.Name(), UIDs: uids} },
	} {
		t.Run(name, func(t *testing.T) {
			childtest.NoLeaks(t)
			var log syncbuf.Buffer
			l, err := e([]int{another}).Listen(t.Context())
			require.NoError(t, err)
			serve(t, l, &pconn.Options{Handler: pconn.HandlerFunc(echo), Logger: slog.New(slog.NewTextHandler(&log, nil))})
			nc, err := net.Dial("unix", l.Addr().String())
			require.NoError(t, err)
			defer nc.Close()
			_, err = nc.Read(make([]byte, 1))
			require.Error(t, err, "it was closed")
			require.Eventually(t, func() bool { return log.String() != "" }, 5*time.Second, time.Millisecond)
			require.Contains(t, log.String(), "the peer's user is "+strconv.Itoa(self)+" (process "+strconv.Itoa(os.Getpid())+"); allowed: 4321")
		})
	}
	childtest.NoLeaks(t)
	l := listen(t, "unix:"+filepath.Join(t.TempDir(), "s")+"#allow="+strconv.Itoa(self))
	serve(t, l, &pconn.Options{Handler: pconn.HandlerFunc(echo)})
	_, err := dial(t, l, nil).Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
	_, err = endpoint.Dial(t.Context(), "unix:"+l.Addr().String()+"#allow=4321", nil)
	var refused *endpoint.UserError
	require.ErrorAs(t, err, &refused, "the server is another than was asked for")
	require.Equal(t, self, refused.Peer.UID)
	require.Equal(t, []int{another}, refused.Allowed)
}

// A socket without a file is for its own user and root, unless it says otherwise. Another user can only be had by root;
// anybody else is refused where only another is let in.
func TestUnixAbstractOfAnotherUser(t *testing.T) {
	childtest.NoLeaks(t)
	isRoot := os.Getuid() == 0
	for params, lets := range map[string]struct{ self, other bool }{
		"":            {true, false},
		"#allow=4321": {false, true},
		"#allow=any":  {true, true},
	} {
		l := listen(t, "unix-abstract:"+t.Name()+params)
		stop := serve(t, l, &pconn.Options{Handler: pconn.HandlerFunc(echo)})
		cmd := childtest.Command("say hello", "unix-abstract:"+t.Name()+"#allow=any")
		want := lets.self
		if isRoot {
			want = lets.other
			exe := filepath.Join("/tmp", "endpoint-test-"+strconv.Itoa(os.Getpid())) // where that user may read
			copyFile(t, cmd.Path, exe)
			cmd.Path, cmd.Dir = exe, "/"
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: another, Gid: another}}
		}
		out, err := cmd.Output()
		require.Equal(t, want, err == nil, params)
		require.Equal(t, want, string(out) == "hello", params)
		require.NoError(t, stop())
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, b, 0o755))
	t.Cleanup(func() { os.Remove(to) })
}

func TestUnixAbstract(t *testing.T) {
	childtest.NoLeaks(t)
	l := listen(t, "unix-abstract:"+t.Name())
	serve(t, l, &pconn.Options{Handler: pconn.HandlerFunc(echo)})
	conn, err := endpoint.Dial(t.Context(), "unix-abstract:"+t.Name(), nil)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
	require.Equal(t, os.Getuid(), conn.Peer().UID)
	_, err = endpoint.Listen(t.Context(), "unix-abstract:"+t.Name())
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.ErrorContains(t, endpoint.UnixAbstract{}.Serve(t.Context(), nil), "a name is missing")
}
