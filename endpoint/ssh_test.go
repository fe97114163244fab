//go:build linux

package endpoint_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/endpoint"
	"github.com/packetstream/packetstream/internal/childtest"
	"github.com/packetstream/packetstream/internal/livepeer"
	"github.com/packetstream/packetstream/pconn"
)

// remote is a helper as a command for a shell elsewhere.
func remote(mode string) string {
	cmd := childtest.Command(mode)
	return strings.TrimPrefix(endpoint.Exec{Args: []string{"env", childtest.Variable + "=" + mode, "GORACE=atexit_sleep_ms=0", cmd.Path}}.String(), "exec:")
}

func TestLiveSSH(t *testing.T) {
	childtest.NoLeaks(t)
	livepeer.SSHD(t)
	conn, err := endpoint.Dial(t.Context(), "ssh:peer//"+remote("serve"), &pconn.Options{Handler: pconn.HandlerFunc(echo)})
	require.NoError(t, err)
	payload := make([]byte, 3<<20)
	for i := range payload {
		payload[i] = byte(i * 7)
	}
	for range 20 {
		resp, err := conn.Do(t.Context(), pconn.Request{Type: typeBack, Payload: payload[:200<<10]})
		require.NoError(t, err)
		require.Equal(t, payload[:200<<10], resp.Payload)
	}
	resp, err := conn.Do(t.Context(), pconn.Request{Payload: payload})
	require.NoError(t, err)
	require.Equal(t, payload, resp.Payload)
	require.NoError(t, conn.Shutdown(t.Context()))
	require.NoError(t, conn.Wait())

	// How the command at the other end ends is how ssh does.
	conn, err = endpoint.Dial(t.Context(), "ssh:peer//echo out of paper >&2; exit 7", nil)
	require.NoError(t, err)
	_, err = conn.Do(t.Context(), pconn.Request{})
	exit := childtest.ExitOf(t, err)
	require.Equal(t, 7, exit.Code)
	require.Contains(t, string(exit.Stderr), "out of paper")
	require.Error(t, conn.Close())

	// A port that is said counts before the one that is configured.
	conn, err = endpoint.Dial(t.Context(), "ssh:peer:1//true", nil)
	require.NoError(t, err)
	_, err = conn.Do(t.Context(), pconn.Request{})
	exit = childtest.ExitOf(t, err)
	require.Equal(t, 255, exit.Code)
	require.Contains(t, string(exit.Stderr), "port 1: Connection refused")
	require.Error(t, conn.Close())
}

// What ssh is given is the host and one command, whatever is in them.
func TestSSHCommand(t *testing.T) {
	childtest.NoLeaks(t)
	dir := t.TempDir()
	fake := "#!/bin/sh\nprintf '%s\\n' \"$@\" >" + dir + "/args\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ssh"), []byte(fake), 0o700))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	require.NoError(t, endpoint.Serve(t.Context(), "ssh:ada@host:2222//cmd 'a b' $HOME -- | x", nil))
	args, err := os.ReadFile(dir + "/args")
	require.NoError(t, err)
	require.Equal(t, "-T\n-p\n2222\n--\nada@host\ncmd 'a b' $HOME -- | x\n", string(args))

	for _, e := range []endpoint.SSH{{Host: "-oProxyCommand=touch x", Command: "c"}, {Host: "h"}, {Command: "c"}} {
		_, err := e.Dial(t.Context(), nil)
		var wrong *endpoint.SyntaxError
		require.ErrorAs(t, err, &wrong)
	}
	t.Setenv("PATH", t.TempDir())
	_, err = endpoint.Dial(t.Context(), "ssh:host//cmd", nil)
	require.ErrorContains(t, err, `"ssh": executable file not found`)
}
