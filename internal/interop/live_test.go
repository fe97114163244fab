//go:build unix

package interop

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The reference calls us: its client drives our server over the server's standard input and output, and is
// called back.
func TestLiveReferenceCalls(t *testing.T) {
	for _, release := range releases {
		for _, mode := range modes {
			for _, grace := range []string{"default", "0"} {
				t.Run(release+"/"+mode+"/grace "+grace, func(t *testing.T) {
					t.Parallel()
					requests := "300"
					args := append(peer(t, release, "client.py"), "--mode", mode)
					if grace == "default" {
						requests = "60" // each waits for two graces
					} else {
						args = append(args, "--grace", grace)
					}
					args = append(args, "--requests", requests, "--timeout", "60", "--", packetstream(t), "serve", "--handler", "test")
					p := start(t, args)
					p.finish(t)
					require.Contains(t, p.stdout.String(), release+": 0 failed\n")
				})
			}
		}
	}
	t.Run("our grace", func(t *testing.T) {
		t.Parallel()
		args := append(peer(t, releases[1], "client.py"), "--mode", "duplex", "--requests", "60", "--timeout", "60", "--",
			packetstream(t), "serve", "--handler", "test", "--grace", "10ms")
		start(t, args).finish(t)
	})
}

// We call the reference: our checks against its server, which is called back, over everything that can
// carry a connection.
func TestLiveCallsReference(t *testing.T) {
	for _, release := range releases {
		for name, connect := range carriers {
			for _, mode := range modes {
				t.Run(release+"/"+name+"/"+mode, func(t *testing.T) {
					t.Parallel()
					server := append(peer(t, release, "server.py"), "--grace", "0", "--verbose")
					connect(t, []string{packetstream(t), "check", "--timeout", "0", "--mode", mode, "--requests", "200"}, server)
				})
			}
		}
		for _, ours := range []string{"0s", "10ms"} {
			t.Run(release+"/stdio/default grace, ours "+ours, func(t *testing.T) {
				t.Parallel()
				overStdio(t, []string{packetstream(t), "check", "--mode", "duplex", "--requests", "60", "--grace", ours}, peer(t, release, "server.py"))
			})
		}
	}
}

// carriers connect a check and a server, and see both end well.
var carriers = map[string]func(t *testing.T, check, server []string){
	"stdio": overStdio,
	"pipes": overPipes,
	"pair":  overSocketPair,
	"unix":  overUnix,
	"tcp":   overTCP,
}

func overStdio(t *testing.T, check, server []string) {
	finishCheck(t, start(t, append(append(check, "--"), server...)))
}

func finishCheck(t *testing.T, p *process, server ...*process) {
	t.Helper()
	p.finish(t, server...)
	require.NotContains(t, p.stdout.String(), "FAIL")
	require.Greater(t, strings.Count(p.stdout.String(), "ok "), 20, "%s", p.stdout)
}

func overPipes(t *testing.T, check, server []string) {
	toServer, fromCheck, err := os.Pipe()
	require.NoError(t, err)
	toCheck, fromServer, err := os.Pipe()
	require.NoError(t, err)
	s := start(t, append(server, "--fd-in", "3", "--fd-out", "4"), toServer, fromServer)
	finishCheck(t, start(t, append(check, "fd:3,4"), toCheck, fromCheck), s)
	s.finish(t)
}

func overSocketPair(t *testing.T, check, server []string) {
	syscall.ForkLock.RLock() // no other child may inherit them
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	unix.CloseOnExec(fds[0])
	unix.CloseOnExec(fds[1])
	syscall.ForkLock.RUnlock()
	require.NoError(t, err)
	again, err := unix.FcntlInt(uintptr(fds[0]), unix.F_DUPFD_CLOEXEC, 0)
	require.NoError(t, err)
	file := func(fd int) *os.File { return os.NewFile(uintptr(fd), fmt.Sprint("socket ", fd)) }
	s := start(t, append(server, "--fd-in", "3", "--fd-out", "4"), file(fds[0]), file(again))
	finishCheck(t, start(t, append(check, "fd:3"), file(fds[1])), s)
	s.finish(t)
}

func overUnix(t *testing.T, check, server []string) {
	dir, err := os.MkdirTemp("", "ps") // t.TempDir is too long for a socket's name
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	s := start(t, append(server, "--unix", dir+"/s"))
	finishCheck(t, start(t, append(check, "unix:"+s.listening(t))), s)
	s.finish(t)
}

func overTCP(t *testing.T, check, server []string) {
	s := start(t, append(server, "--tcp", "127.0.0.1:0"))
	finishCheck(t, start(t, append(check, "tcp:"+s.listening(t))), s)
	s.finish(t)
}
