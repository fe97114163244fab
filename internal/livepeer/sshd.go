//go:build unix

package livepeer

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/packetstream/packetstream/internal/syncbuf"
)

// sshdStart bounds how long OpenSSH's server takes to listen.
const sshdStart = 20 * time.Second

// SSHD starts OpenSSH's server, which lets this user in by a key, until the test ends, and puts before all others on
// the PATH an ssh whose configuration knows it as the host "peer". It skips the test if there is none.
func SSHD(t *testing.T) {
	t.Helper()
	programs := Dir(t, "sshd")
	self, err := user.Current()
	require.NoError(t, err)
	dir := t.TempDir()
	for _, name := range []string{"host", "user"} {
		out, err := exec.Command(filepath.Join(programs, "ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, name)).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	port := freePort(t)
	hostKey, err := os.ReadFile(filepath.Join(dir, "host.pub"))
	require.NoError(t, err)
	write(t, dir, "known_hosts", 0o600, fmt.Sprintf("[127.0.0.1]:%d %s", port, hostKey))
	write(t, dir, "sshd_config", 0o600, fmt.Sprintf(`
ListenAddress 127.0.0.1:%d
HostKey %s/host
AuthorizedKeysFile %[2]s/user.pub
AuthenticationMethods publickey
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile none
AcceptEnv *
`, port, dir))
	write(t, dir, "ssh_config", 0o600, fmt.Sprintf(`
Host peer
  HostName 127.0.0.1
  Port %d
  User %s
  IdentityFile %s/user
  IdentitiesOnly yes
  UserKnownHostsFile %[3]s/known_hosts
  SendEnv *
  BatchMode yes
`, port, self.Username, dir))
	write(t, dir, "bin/ssh", 0o700, fmt.Sprintf("#!/bin/sh\nexec %s -F %s/ssh_config \"$@\"\n", filepath.Join(programs, "ssh"), dir))
	t.Setenv("PATH", filepath.Join(dir, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
	startSSHD(t, programs, dir, port)
}

func startSSHD(t *testing.T, programs, dir string, port int) {
	t.Helper()
	// It insists on its own whole path.
	path, err := filepath.EvalSymlinks(filepath.Join(programs, "sshd"))
	require.NoError(t, err)
	cmd := exec.Command(path, "-D", "-e", "-f", filepath.Join(dir, "sshd_config"))
	var log syncbuf.Buffer
	cmd.Stderr = &log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "Server listening") }, sshdStart, 5*time.Millisecond,
		"sshd does not listen at port %d", port)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(log.String())
		}
	})
}

// freePort returns a port at which nobody listens.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func write(t *testing.T, dir, name string, mode os.FileMode, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(text), mode))
}
