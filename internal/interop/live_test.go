//go:build unix

package interop

import (
	"fmt"
	"os"
	"slices"
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
					withReference(t, release, func() error {
						p := start(t, args)
						err := p.finish()
						if err == nil {
							require.Contains(t, p.stdout.String(), release+": 0 failed\n")
						}
						return err
					})
				})
			}
		}
	}
	t.Run("our grace", func(t *testing.T) {
		t.Parallel()
		args := append(peer(t, releases[1], "client.py"), "--mode", "duplex", "--requests", "60", "--timeout", "60", "--",
			packetstream(t), "serve", "--handler", "test", "--grace", "10ms")
		withReference(t, releases[1], func() error { return start(t, args).finish() })
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
					check := []string{packetstream(t), "check", "--timeout", "0", "--mode", mode, "--requests", "200"}
					withReference(t, release, func() error { return connect(t, check, server) })
				})
			}
		}
		for _, ours := range []string{"0s", "10ms"} {
			t.Run(release+"/stdio/default grace, ours "+ours, func(t *testing.T) {
				t.Parallel()
				check := []string{packetstream(t), "check", "--mode", "duplex", "--requests", "60", "--grace", ours}
				server := append(peer(t, release, "server.py"), "--verbose")
				withReference(t, release, func() error { return overStdio(t, check, server) })
			})
		}
	}
}

// carriers connect a check and a server, and see both end well.
var carriers = map[string]func(t *testing.T, check, server []string) error{
	"stdio": overStdio,
	"pipes": overPipes,
	"pair":  overSocketPair,
	"unix":  overUnix,
	"tcp":   overTCP,
}

func overStdio(t *testing.T, check, server []string) error {
	return finishCheck(start(t, append(slices.Concat(check, []string{"--"}), server...)))
}

// finishCheck waits for a check and its server, and sees that the check has checked.
func finishCheck(check *process, servers ...*process) error {
	if err := check.finish(servers...); err != nil {
		return err
	}
	for _, s := range servers {
		if err := s.finish(); err != nil {
			return err
		}
	}
	text := check.stdout.String()
	if n := strings.Count(text, "ok "); n < 20 || strings.Contains(text, "FAIL") {
		return fmt.Errorf("%d good checks, in %s", n, text)
	}
	return nil
}

func overPipes(t *testing.T, check, server []string) error {
	toServer, fromCheck, err := os.Pipe()
	require.NoError(t, err)
	toCheck, fromServer, err := os.Pipe()
	require.NoError(t, err)
	s := start(t, slices.Concat(server, []string{"--fd-in", "3", "--fd-out", "4"}), toServer, fromServer)
	return finishCheck(start(t, slices.Concat(check, []string{"fd:3,4"}), toCheck, fromCheck), s)
}

func overSocketPair(t *testing.T, check, server []string) error {
	syscall.ForkLock.RLock() // no other child may inherit them
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	unix.CloseOnExec(fds[0])
	unix.CloseOnExec(fds[1])
	syscall.ForkLock.RUnlock()
	require.NoError(t, err)
	again, err := unix.FcntlInt(uintptr(fds[0]), unix.F_DUPFD_CLOEXEC, 0)
	require.NoError(t, err)
	file := func(fd int) *os.File { return os.NewFile(uintptr(fd), fmt.Sprint("socket ", fd)) }
	s := start(t, slices.Concat(server, []string{"--fd-in", "3", "--fd-out", "4"}), file(fds[0]), file(again))
	return finishCheck(start(t, slices.Concat(check, []string{"fd:3"}), file(fds[1])), s)
}

func overUnix(t *testing.T, check, server []string) error {
	dir, err := os.MkdirTemp("", "ps") // t.TempDir is too long for a socket's name
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	s := start(t, slices.Concat(server, []string{"--unix", dir + "/s"}))
	return finishCheck(start(t, slices.Concat(check, []string{"unix:" + s.listening(t)})), s)
}

func overTCP(t *testing.T, check, server []string) error {
	s := start(t, slices.Concat(server, []string{"--tcp", "127.0.0.1:0"}))
	return finishCheck(start(t, slices.Concat(check, []string{"tcp:" + s.listening(t)})), s)
}
