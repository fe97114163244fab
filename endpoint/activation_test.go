//go:build linux

package endpoint_test

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/pconn"
)

// activated is a helper that is started as a service manager starts one.
func activated(at, names string, files ...*os.File) *exec.Cmd {
	cmd := childtest.Command("serve endpoint", at)
	cmd.Args = []string{"/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, cmd.Path, at}
	cmd.Path = "/bin/sh"
	cmd.Env = append(cmd.Env, "LISTEN_FDS="+string(rune('0'+len(files))), "LISTEN_FDNAMES="+names)
	cmd.ExtraFiles = files
	return cmd
}

// Sockets that listen are served, by name, number, or as the only one.
func TestActivationListens(t *testing.T) {
	for name, tc := range map[string]struct {
		at, names string
		n         int // the place of the one that is meant
	}{
		"the only one": {"activation:", "", 0},
		"by name":      {"activation:second", "first:second", 1},
		"by number":    {"activation:1", "unknown:unknown", 1},
	} {
		t.Run(name, func(t *testing.T) {
			childtest.NoLeaks(t)
			path := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", path)
			require.NoError(t, err)
			defer l.Close()
			file, err := l.(*net.UnixListener).File()
			require.NoError(t, err)
			defer file.Close()
			other, err := os.Open(os.DevNull)
			require.NoError(t, err)
			defer other.Close()
			files := []*os.File{other, other}[:len(strings.Split(tc.names, ":"))]
			files[tc.n] = file
			// Whoever connects before there is anybody waits.
			conn, err := endpoint.Dial(t.Context(), "unix:"+path, &pconn.Options{Handler: pconn.HandlerFunc(echo)})
			require.NoError(t, err)
			defer conn.Close()
			result, err := conn.Submit(t.Context(), pconn.Request{Type: typeBack, Payload: []byte("x")})
			require.NoError(t, err)
			cmd := activated(tc.at, tc.names, files...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			require.NoError(t, cmd.Start())
			resp, err := result.Wait(t.Context())
			require.NoError(t, err)
			require.Equal(t, "x", string(resp.Payload))
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
			require.NoError(t, cmd.Wait(), stderr.String())
			_, err = os.Lstat(path)
			require.NoError(t, err, "the socket is the manager's")
		})
	}
}

// A socket that is a connection is the one connection.
func TestActivationConnected(t *testing.T) {
	childtest.NoLeaks(t)
	ours, theirs := socketPair(t)
	defer ours.Close()
	cmd := activated("activation:", "connection", theirs)
	require.NoError(t, cmd.Start())
	require.NoError(t, theirs.Close())
	conn, err := endpoint.FD{R: int(ours.Fd()), W: int(ours.Fd())}.Dial(t.Context(), nil)
	require.NoError(t, err)
	_, err = conn.Do(t.Context(), pconn.Request{})
	require.NoError(t, err)
	require.NoError(t, conn.Shutdown(t.Context()))
	require.NoError(t, cmd.Wait())
}

func TestActivationWithout(t *testing.T) {
	childtest.NoLeaks(t)
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	for at, text := range map[string]string{
		"activation:":      "there are 2, and a name or number has to say which",
		"activation:third": `there are 2, named ["first" "second"]`,
		"activation:2":     `there are 2, named ["first" "second"]`,
		"activation:first": "socket operation on non-socket",
	} {
		cmd := activated(at, "first:second", null, null)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		require.Error(t, cmd.Run())
		require.Contains(t, stderr.String(), text)
	}
	t.Setenv("LISTEN_PID", "1")
	t.Setenv("LISTEN_FDS", "1")
	_, err = endpoint.Listen(t.Context(), "activation:")
	require.ErrorIs(t, err, endpoint.ErrNotActivated)
	require.ErrorContains(t, err, `LISTEN_PID is "1"`)
	require.ErrorIs(t, endpoint.Serve(t.Context(), "activation:", nil), endpoint.ErrNotActivated)
	_, err = endpoint.Dial(t.Context(), "activation:", nil)
	require.ErrorIs(t, err, endpoint.ErrNotActivated)
}
